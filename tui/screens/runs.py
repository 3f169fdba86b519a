"""The list of runs: open one, or start another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from pipeline.errors import Failure
from pipeline.profiles import find_profile
from pipeline.run import Run, home, last_activity, list_runs
from tui.keys import bindings, keys_of
from tui.off_loop import off_loop
from tui.rows import Row, Span, cut, pad, row
from tui.screens.step import footer_row
from tui.watch import working
from tui.widgets.pane import ListPane, Pane

if TYPE_CHECKING:
    from tui.app import Wizard

LOOK_SECONDS = 2.0
"""How often the list is read again while it is shown."""


class RunsScreen(Screen[None]):
    """Every run with its kind, what works on it, and when it was last touched."""

    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("runs"))

    def __init__(self) -> None:
        super().__init__()
        self._found: list[tuple[Run, Row]] = []

    @property
    def wizard(self) -> Wizard:
        """The app."""
        return cast("Wizard", self.app)

    def compose(self) -> ComposeResult:
        """Title, list, keys."""
        yield Pane(self._title_rows, id="header")
        yield ListPane(id="runs")
        yield Pane(self._key_rows, id="keys")

    def on_mount(self) -> None:
        """Runs come and go, and so do their workers."""
        self.set_interval(LOOK_SECONDS, self._look)

    def on_screen_resume(self) -> None:
        """Shown again: as they are now."""
        self._show(read_runs())
        self.query_one("#runs", ListPane).focus()

    def _look(self) -> None:
        """Read the list in a thread, while it is shown."""
        if self.is_current:
            self.run_worker(self._read(), group="runs", exclusive=True, exit_on_error=False)

    async def _read(self) -> None:
        try:
            found = await off_loop(lambda _stopped: read_runs())
        except OSError:
            return  # a run that is being removed; the next look sees it gone
        if self.is_current:
            self._show(found)

    def _show(self, found: Sequence[tuple[Run, Row]]) -> None:
        """Show the list; the cursor stays on its run."""
        if list(found) == self._found:
            return
        pane = self.query_one("#runs", ListPane)
        here = self._found[pane.cursor][0] if pane.cursor >= 0 and self._found else None
        self._found = list(found)
        pane.show(len(found), lambda index, _width: self._found[index][1])
        place = next((place for place, (run, _) in enumerate(found) if run == here), None)
        if place is not None and place != pane.cursor:
            pane.move_to(place, tell=False)
        self.query_one("#header", Pane).update()
        self.query_one("#keys", Pane).update()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Open it."""
        self.wizard.open_run(self._found[event.index][0])

    def action_new(self) -> None:
        """Start another run, from the first step."""
        self.wizard.new_run()

    def _title_rows(self, _width: int, _height: int) -> list[Row]:
        count = len(self._found)
        many = f"  {count} run{'' if count == 1 else 's'} in "
        return [row(" ", ("embedsmith", "title"), many, (str(home()), "muted"))]

    def _key_rows(self, width: int, _height: int) -> list[Row]:
        entries = [("enter", "Open")] if self._found else []
        last = [
            (self.wizard.key_of(key.id), key.label)
            for key in (*keys_of("runs"), *keys_of("everywhere"))
            if key.shown
        ]
        return [footer_row(entries, last, width)]


def read_runs() -> list[tuple[Run, Row]]:
    """Every run with its line, the one that was touched last first."""
    runs = sorted(list_runs(home()), key=last_activity, reverse=True)
    return [(run, run_row(run)) for run in runs]


def run_row(run: Run) -> Row:
    """One run in a line."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last_activity(run)))
    try:
        profile = find_profile(run.recipe().profile)
    except Failure as failure:
        return row(" ", pad(run.name, 30), f" {when}  ", (cut(failure.happened, 60), "bad"))
    busy = [folder.parent.name for folder in working(run)]
    kind: Span = Span("rehearsal", "warn") if profile.rehearsal else Span(cut(profile.title, 24))
    state = Span(f"running {busy[0]}", "accent") if busy else Span("")
    return row(" ", pad(run.name, 30), f" {when}  ", kind, "  ", state)
