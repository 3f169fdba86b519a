"""What stands on the screen while a run is being read."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.screen import Screen

from tui.rows import row
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from tui.app import Wizard


class OpeningScreen(Screen[None]):
    """One line: the run's name."""

    def compose(self) -> ComposeResult:
        """The line."""
        wizard = cast("Wizard", self.app)
        name = wizard.current.name if wizard.current else ""
        yield Pane(
            lambda _w, _h: [(), row(" ", ("embedsmith", "title"), f"  reading {name} ...")],
            id="opening",
        )
