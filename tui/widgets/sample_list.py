"""The list of samples: it pages rather than creeps, and a click never goes on."""

from __future__ import annotations

from textual.events import Click
from textual.strip import Strip

from tui.rows import Row, fit
from tui.widgets.pane import ListPane

_LIT = 10
"""Columns of the selected row that are lit: its state. What is sent for moving on stays
little when not the whole of two rows changes its colour."""


class SampleList(ListPane):
    """A list that scrolls seldom: a row that comes into view brings a page with it."""

    def strip_of(self, cells: Row, selected: bool = False) -> Strip:
        """A row as Textual paints it; of the selected one the beginning is lit."""
        strip = super().strip_of(cells)
        if not selected:
            return strip
        return Strip([*super().strip_of(fit(cells, _LIT), True).crop(0, _LIT), *strip.crop(_LIT)])

    def _into_view(self) -> None:
        height = self.scrollable_content_region.height
        if not height:
            return  # hidden: what was in view stays so
        top = round(self.scroll_offset.y)
        if top <= self._cursor < top + height:
            return
        # One row of where one came from stays in sight.
        kept = min(1, height - 1)
        below = self._cursor >= top + height
        wanted = self._cursor - kept if below else self._cursor - height + 1 + kept
        wanted = max(0, min(wanted, self._count - height))
        self.scroll_to(y=wanted, animate=False, immediate=True, force=True)

    def on_click(self, event: Click) -> None:
        """A click selects."""
        event.prevent_default()
        index = event.y + round(self.scroll_offset.y)
        if index < self.count:
            self.move_to(index)
