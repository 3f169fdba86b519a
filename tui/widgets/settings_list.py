"""A list of a recipe's settings to walk through and change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pipeline.recipe import flatten
from tui.choices import Choice, choice_row
from tui.rows import Row, row, wrap
from tui.settings import setting_words, stale_sentence
from tui.widgets.pane import ListPane

if TYPE_CHECKING:
    from tui.screens.step import StepScreen


class SettingsList(ListPane):
    """Settings with their values and hints; `edit` changes the one under the cursor."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own word
        super().__init__(self._choice_at, id=id)
        self._choices: Sequence[Choice] = ()

    @property
    def step_screen(self) -> StepScreen:
        """The step that it belongs to."""
        return cast("StepScreen", self.screen)

    @property
    def current(self) -> Choice | None:
        """The setting under the cursor."""
        return self._choices[self.cursor] if 0 <= self.cursor < len(self._choices) else None

    def show_settings(self, choices: Sequence[Choice]) -> None:
        """Show these settings; nothing is painted when they are the same."""
        if list(choices) != list(self._choices):
            self._choices = choices
            self.show(len(choices))

    def about_rows(self, width: int, lines: int) -> list[Row]:
        """What the setting under the cursor does, and what a change of it makes stale.

        Args:
            width: columns.
            lines: rows at most; what gets stale comes first.
        """
        choice = self.current
        if choice is None or lines <= 0:
            return []
        consequence = self._consequence(choice)
        stale = wrap(consequence, width - 2) if consequence else []
        about = wrap(choice.about, width - 2)[: max(lines - len(stale), 0)]
        rows = [row((" " + line, "muted")) for line in about]
        return [*rows, *(row((" " + line, "warn")) for line in stale)]

    async def edit(self) -> bool:
        """Ask for another value of the setting under the cursor; returns whether it changed.

        What gets stale is said before anything is typed. Call it in a worker.
        """
        choice, wizard, snapshot = self.current, self.step_screen.wizard, self.step_screen.snapshot
        if choice is None or snapshot is None:
            return False
        wizard.say(self._consequence(choice), "warn")
        before = flatten(snapshot.recipe)[choice.setting]
        if isinstance(before, bool):
            changed = wizard.change_settings({choice.setting: not before})
        else:
            changed = await self.step_screen.ask_setting(choice.setting, choice.label)
        after = flatten(snapshot.run.recipe(snapshot.variant))[choice.setting]
        changed = changed and after != before
        wizard.say(f"{choice.label}: {setting_words(after)}" if changed else "")
        return changed

    def _consequence(self, choice: Choice) -> str:
        snapshot = self.step_screen.snapshot
        return stale_sentence(choice.setting, snapshot.stages if snapshot else {})

    def _choice_at(self, index: int, width: int) -> Row:
        return choice_row(self._choices, index, width, self.step_screen.glyphs.ellipsis)
