"""The list of runs: open one, or start another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from pipeline.errors import Failure
from pipeline.profiles import find_profile
from pipeline.run import Run, home, last_activity, list_runs
from tui.keys import bindings, keys_of
from tui.rows import Row, Span, cut, pad, row
from tui.screens.step import footer_row
from tui.watch import working
from tui.widgets.pane import ListPane, Pane

if TYPE_CHECKING:
    from tui.app import Wizard


class RunsScreen(Screen[None]):
    """Every run with its kind, what works on it, and when it was last touched."""

    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("runs"))

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[Run] = []

    @property
    def wizard(self) -> Wizard:
        """The app."""
        return cast("Wizard", self.app)

    def compose(self) -> ComposeResult:
        """Title, list, keys."""
        yield Pane(self._title_rows, id="header")
        yield ListPane(id="runs")
        yield Pane(self._key_rows, id="keys")

    def on_screen_resume(self) -> None:
        """Runs come and go."""
        self._runs = sorted(list_runs(home()), key=last_activity, reverse=True)
        rows = [run_row(run) for run in self._runs]
        pane = self.query_one("#runs", ListPane)
        pane.show(len(rows), lambda index, _width: rows[index])
        pane.focus()
        self.query_one("#header", Pane).update()
        self.query_one("#keys", Pane).update()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Open it."""
        self.wizard.open_run(self._runs[event.index])

    def action_new(self) -> None:
        """Start another run, from the first step."""
        self.wizard.new_run()

    def _title_rows(self, _width: int, _height: int) -> list[Row]:
        count = len(self._runs)
        many = f"  {count} run{'' if count == 1 else 's'} in "
        return [row(" ", ("embedsmith", "title"), many, (str(home()), "muted"))]

    def _key_rows(self, width: int, _height: int) -> list[Row]:
        entries = [("enter", "Open")] if self._runs else []
        last = [
            (self.wizard.key_of(key.id), key.label)
            for key in (*keys_of("runs"), *keys_of("everywhere"))
            if key.shown
        ]
        return [footer_row(entries, last, width)]


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
