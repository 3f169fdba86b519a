"""The screen as the terminal has it: only cells that changed are sent.

Textual repaints a widget's whole region on every refresh. Over SSH that is what makes an app
slow, so the wizard keeps the cells that it sent last and writes the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.cells import split_graphemes
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

Cell = tuple[str, Style | None]
"""A character with what combines with it, and its style; empty text is the second half of a
wide character."""

_GAP = 6
"""Unchanged cells that are cheaper to write again than to jump over."""

_RESET = "\x1b[0m"
_UNKNOWN: Cell = ("\0", None)


class Canvas:
    """What the terminal shows, cell by cell, as far as is known."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell]] = {}

    def forget(self) -> None:
        """Nothing is known any more: after a resize, a suspension or a redraw by key."""
        self._rows.clear()

    def paint(self, update: CompositorUpdate, console: Console) -> str:
        """Escape sequences that bring the terminal from what it shows to `update`."""
        system = console._color_system or ColorSystem.TRUECOLOR
        parts: list[str] = []
        for y, x, cells in _spans(update):
            parts += self._difference(y, x, cells, system)
        if parts:
            parts.append(_RESET)
        return "".join(parts)

    def _difference(self, y: int, x: int, cells: list[Cell], system: ColorSystem) -> Iterator[str]:
        row = self._rows.setdefault(y, [])
        if len(row) < x + len(cells):
            row.extend([_UNKNOWN] * (x + len(cells) - len(row)))
        for start, end in _changed(row, x, cells):
            yield f"\x1b[{y + 1};{x + start + 1}H"
            yield from _written(cells[start:end], system)
        row[x : x + len(cells)] = cells


class Difference(CompositorUpdate):
    """An update that is compared with the canvas at the moment when it is written."""

    def __init__(self, update: CompositorUpdate, canvas: Canvas) -> None:
        self._update = update
        self._canvas = canvas

    def render_segments(self, console: Console) -> str:
        """The escape sequences for what changed."""
        return self._canvas.paint(self._update, console)


def _spans(update: CompositorUpdate) -> Iterator[tuple[int, int, list[Cell]]]:
    """Row, first column and cells of everything that an update paints."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            yield y, update.region.x, _cells(s for strip in strips for s in strip)
    elif isinstance(update, ChopsUpdate):
        for y, first, last in update.spans:
            for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if strip is None or x > last or end <= first:
                    continue
                cells = _cells(strip)
                left, right = max(first - x, 0), min(last, end) - x
                # Half of a wide character is never painted alone.
                if 0 < left < len(cells) and not cells[left][0]:
                    left -= 1
                if right < len(cells) and not cells[right][0]:
                    right += 1
                yield y, x + left, cells[left:right]


def _cells(segments: Iterable[Segment]) -> list[Cell]:
    cells: list[Cell] = []
    for text, style, control in segments:
        if control:
            continue
        if text.isascii():
            cells += [(char, style) for char in text]
            continue
        for start, end, width in split_graphemes(text)[0]:
            if width:
                cells.append((text[start:end], style))
                cells += [("", style)] * (width - 1)
    return cells


def _changed(row: list[Cell], x: int, cells: list[Cell]) -> Iterator[tuple[int, int]]:
    """Runs of cells that differ from what is shown, short gaps included."""
    start = end = -1
    for index, cell in enumerate(cells):
        if cell == row[x + index]:
            continue
        if start >= 0 and index - end > _GAP:
            yield start, end
            start = index
        elif start < 0:
            start = index
        end = index + 1
    if start < 0:
        return
    while start > 0 and not cells[start][0]:
        start -= 1
    while end < len(cells) and not cells[end][0]:
        end += 1
    yield start, end


def _written(cells: list[Cell], system: ColorSystem) -> Iterator[str]:
    current: Style | None = None
    started = False
    for text, style in cells:
        if not started or style is not current:
            codes = _codes(style, system)
            if not started or codes != _codes(current, system):
                yield f"\x1b[0;{codes}m" if codes else _RESET
            current, started = style, True
        yield text


def _codes(style: Style | None, system: ColorSystem) -> str:
    return "" if style is None else Strip.render_ansi(style, system)
