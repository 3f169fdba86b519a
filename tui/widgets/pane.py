"""Panes of rows: text that a function builds for the width at hand, and a list with a cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.glyphs import ascii_only
from tui.keys import bindings
from tui.look import CURSOR
from tui.rows import Row, fit

if TYPE_CHECKING:
    from tui.app import Wizard

Build = Callable[[int, int], Sequence[Row]]
"""Makes the rows of a pane for its width and height in cells."""


PLACED_SECONDS = 0.2
"""When a pane that has just been shown has its place for sure."""


class _Rows(ScrollView):
    """What both panes share: tones become the theme's styles."""

    _ground: Style | None = None

    def render_lines(self, crop: Region) -> list[Strip]:
        """Lines as they are painted; their common style, the slowest part, is found once."""
        self._ground = self.rich_style
        return super().render_lines(crop)

    def strip_of(self, cells: Row, selected: bool = False) -> Strip:
        """A row as Textual paints it, in the whole width."""
        width = self.scrollable_content_region.width
        wizard = cast("Wizard", self.app)
        styles, ground = wizard.tone_styles(), self._ground or self.rich_style
        # A terminal without Unicode can't show every word of a document.
        shown = ascii_only if wizard.opening.ascii else str
        cursor = styles[CURSOR] if selected else Style.null()
        segments = [
            Segment(shown(text), ground + styles[tone] + cursor) for text, tone in fit(cells, width)
        ]
        return Strip(segments, width)


class Pane(_Rows, can_focus=False):
    """Rows that are built again when the width or what they tell of changes."""

    def __init__(self, build: Build | None = None, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._build: Build = build or (lambda _width, _height: ())
        self._rows: Sequence[Row] = ()

    @property
    def rows(self) -> Sequence[Row]:
        """What is shown."""
        return self._rows

    def show(self, build: Build) -> None:
        """Show what another function builds."""
        self._build = build
        self.update()

    def update(self, *, later: bool = True) -> None:
        """Build the rows again; nothing is painted when they are the same.

        Args:
            later: whether a pane that has no place yet, because it was shown a moment ago, tries
                again when it has.
        """
        if self._is_leaving():
            return
        region = self.scrollable_content_region
        if not region.width:
            if later and self.is_attached:
                self.set_timer(PLACED_SECONDS, lambda: self.update(later=False))
            elif self._is_meant_to_show():
                self.refresh(layout=True)
            return
        rows = list(self._build(region.width, region.height))
        if rows == self._rows:
            return
        before, self._rows = self._rows, rows
        if len(before) != len(rows):
            self.virtual_size = Size(region.width, len(rows))
            self.refresh()
            return
        for y, (was, now) in enumerate(zip(before, rows, strict=True)):
            if was != now:
                self.refresh_line(y)

    def _is_leaving(self) -> bool:
        """Whether the pane goes with its screen: the widgets it tells of may be gone already."""
        return self._pruning or self._closing

    def _is_meant_to_show(self) -> bool:
        return all(node.display for node in self.ancestors_with_self if isinstance(node, Widget))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """How many rows there are. Without rows a pane gets no place, and without a place it can't
        build any: then they are built for the width that it would have."""
        if self._rows or self.scrollable_content_region.width:
            return super().get_content_height(container, viewport, width)
        return len(self._build(width, container.height))

    def _size_updated(
        self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True
    ) -> bool:
        """Another width breaks lines elsewhere. A pane that is shown late may get no `Resize`."""
        changed = super()._size_updated(size, virtual_size, container_size, layout)
        if changed:
            self.call_later(self._arrange)
        return changed

    def _arrange(self) -> None:
        self._rows = ()
        self.update()

    def render_line(self, y: int) -> Strip:
        """One line of the pane."""
        index = y + self.scroll_offset.y
        return self.strip_of(self._rows[index] if index < len(self._rows) else ())

    def page(self, pages: int) -> None:
        """Scroll by so many pages; negative goes up."""
        self.scroll_relative(y=pages * max(self.size.height - 1, 1), animate=False)


class ListPane(_Rows, can_focus=True):
    """A list of any length with a cursor: rows are built when they come into view."""

    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("list"))

    class Moved(Message):
        """The cursor went to another row.

        Attributes:
            pane: the list.
            index: the row's number, from 0; -1 in an empty list.
        """

        def __init__(self, pane: ListPane, index: int) -> None:
            super().__init__()
            self.pane = pane
            self.index = index

        @property
        def control(self) -> ListPane:
            """The list, for selectors."""
            return self.pane

    class Chosen(Moved):
        """Enter or a click on the row under the cursor."""

    def __init__(
        self,
        row_at: Callable[[int, int], Row] | None = None,
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id)
        self._row_at: Callable[[int, int], Row] = row_at or (lambda _index, _width: ())
        self._count = 0
        self._cursor = 0

    @property
    def cursor(self) -> int:
        """The selected row, from 0; -1 in an empty list."""
        return self._cursor if self._count else -1

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._count

    def show(self, count: int, row_at: Callable[[int, int], Row] | None = None) -> None:
        """Show another list; the cursor stays where it is, as far as rows are there.

        Args:
            count: how many rows there are.
            row_at: makes the row of an index for a width; None keeps the function.
        """
        if row_at is not None:
            self._row_at = row_at
        if count != self._count:
            self._count = count
            self._cursor = max(0, min(self._cursor, count - 1))
            self.virtual_size = Size(self.scrollable_content_region.width, count)
        self.refresh()

    def move_to(self, index: int, *, tell: bool = True) -> None:
        """Put the cursor on a row and bring it into view."""
        if not self._count:
            return
        index = max(0, min(index, self._count - 1))
        before, top = self._cursor, self.scroll_offset.y
        self._cursor = index
        self._into_view()
        if self.scroll_offset.y == top:
            self.refresh_line(before)
            self.refresh_line(index)
        else:
            self.refresh()
        if before != index and tell:
            self.post_message(self.Moved(self, index))

    def _into_view(self) -> None:
        height = max(self.scrollable_content_region.height, 1)
        top = round(self.scroll_offset.y)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True, force=True)
        elif self._cursor >= top + height:
            self.scroll_to(y=self._cursor - height + 1, animate=False, immediate=True, force=True)

    def render_line(self, y: int) -> Strip:
        """One line of the list."""
        index = y + self.scroll_offset.y
        if index >= self._count:
            return self.strip_of(())
        width = self.scrollable_content_region.width
        return self.strip_of(self._row_at(index, width), selected=index == self._cursor)

    def on_resize(self, event: Resize) -> None:
        """The cursor stays in view."""
        self.virtual_size = Size(self.scrollable_content_region.width, self._count)
        self._into_view()

    def on_click(self, event: Click) -> None:
        """A click selects; a click on the selected row chooses it."""
        index = event.y + round(self.scroll_offset.y)
        if index >= self._count:
            return
        if index == self._cursor:
            self.action_choose()
        else:
            self.move_to(index)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An empty list leaves enter to its screen."""
        return self._count > 0 if action == "choose" else True

    def action_next(self) -> None:
        """One row down."""
        self.move_to(self._cursor + 1)

    def action_previous(self) -> None:
        """One row up."""
        self.move_to(self._cursor - 1)

    def action_next_page(self) -> None:
        """A page down."""
        self.move_to(self._cursor + max(self.size.height - 1, 1))

    def action_previous_page(self) -> None:
        """A page up."""
        self.move_to(self._cursor - max(self.size.height - 1, 1))

    def action_first(self) -> None:
        """The first row."""
        self.move_to(0)

    def action_last(self) -> None:
        """The last row."""
        self.move_to(self._count - 1)

    def action_choose(self) -> None:
        """Choose the row under the cursor."""
        if self._count:
            self.post_message(self.Chosen(self, self._cursor))
