"""The command palette: every key of the screen, every step, every theme, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.keys import keys_of
from tui.steps import STEPS

if TYPE_CHECKING:
    from tui.app import Wizard


class WizardCommands(Provider):
    """What the palette finds."""

    def _entries(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Name, help and what to do, of everything that may be done now."""
        wizard = cast("Wizard", self.app)
        scope = getattr(self.screen, "STEP", "")
        for key in keys_of(scope) if scope else ():
            if self.screen.check_action(key.action, ()) is not False:
                yield _sentence(key.help), key.label, self._action(f"screen.{key.action}")
        for key in keys_of("everywhere"):
            if key.action != "command_palette":
                yield _sentence(key.help), key.label, self._action(f"app.{key.action}")
        for step in STEPS:
            yield f"Go to {step.title}", step.about, partial(wizard.open_step, step.name)
        for name in wizard.opening.themes:
            yield f"Theme {name}", "colours", partial(wizard.use_theme, name)

    def _action(self, action: str) -> Callable[[], Any]:
        async def run() -> None:
            await self.app.run_action(action, self.screen)

        return run

    async def discover(self) -> Hits:
        """Everything, before anything is typed."""
        for name, about, run in self._entries():
            yield DiscoveryHit(name, run, help=about)

    async def search(self, query: str) -> Hits:
        """What matches."""
        matcher = self.matcher(query)
        for name, about, run in self._entries():
            if (score := matcher.match(name)) > 0:
                yield Hit(score, matcher.highlight(name), run, help=about)


def _sentence(text: str) -> str:
    """A text with its first letter large; abbreviations in it stay."""
    return text[:1].upper() + text[1:]
