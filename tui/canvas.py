"""The screen as the terminal has it: only cells that changed are sent.

Textual repaints a widget's whole region on every refresh. Over SSH that is what makes an app
slow, so the wizard keeps the cells that it sent last and writes the difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from rich.cells import split_graphemes
from rich.color import Color, ColorSystem, ColorType
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

Cell = tuple[str, Style | None]
"""A character with what combines with it, and its style; empty text is the second half of a
wide character."""

_GAP = 4
"""Unchanged cells that are no dearer to write again than to jump over."""

_BLANKS = 6
"""Blanks in a row that are cheaper to erase than to write."""

_RESET = "\x1b[m"
_UNKNOWN: Cell = ("\0", None)

_SORTED_RUNS = 200
"""More runs than that are a new screen: their order is left as it is."""
_CHANGE_BYTES = 11
"""What another colour takes, about: with it a run elsewhere in the same style is cheaper."""


class Canvas:
    """What the terminal shows, cell by cell, as far as is known."""

    def __init__(self, *, erases: bool = True) -> None:
        """Nothing is known yet.

        Args:
            erases: whether erased cells take the background colour; GNU screen's don't.
        """
        self._rows: dict[int, list[Cell]] = {}
        self._erases = erases

    def forget(self) -> None:
        """Nothing is known any more: after a resize, a suspension or a redraw by key."""
        self._rows.clear()

    def paint(self, update: CompositorUpdate, console: Console) -> str:
        """Escape sequences that bring the terminal from what it shows to `update`."""
        pen = _Pen(console._color_system or ColorSystem.TRUECOLOR, self._erases)
        runs: list[_Run] = []
        for y, x, cells in _spans(update):
            row = self._rows.setdefault(y, [])
            if len(row) < x + len(cells):
                row.extend([_UNKNOWN] * (x + len(cells) - len(row)))
            runs += (_Run(y, x + a, cells[a:b]) for a, b in _changed(row, x, cells))
            row[x : x + len(cells)] = cells
        # Nobody sees in which order a frame is painted: runs of one style follow each other.
        for run in _ordered(runs) if len(runs) <= _SORTED_RUNS else runs:
            pen.write(*run)
        return pen.finish()


_NONE = Style(meta={"pen": "nothing written yet"})


class _Pen:
    """Writes runs of cells; it remembers the style that it writes in, and where it is."""

    def __init__(self, system: ColorSystem, erases: bool) -> None:
        self._system = system
        self._erases = erases
        self._parts: list[str] = []
        self._style: _Codes | None = None
        self._last: Style | None = _NONE
        self._line = self._column = -1

    def write(self, y: int, x: int, cells: list[Cell]) -> None:
        """Write cells at a place."""
        self._parts.append(self._move(y, x))
        # A terminal that sees another width in some character has wrapped perhaps: then the
        # line is told again.
        self._line = y if all(text.isascii() for text, _ in cells) else -1
        self._column = x + len(cells)
        for style, text in _pieces(cells, self._last):
            self._last = style
            self._use(_codes(style, self._system))
            self._text(text, style)
        if passed := _PASSES.fullmatch(self._parts[-1]):
            self._parts.pop()  # nothing follows what was erased: no need to go past it
            self._column -= int(passed[1])

    def _move(self, y: int, x: int) -> str:
        """How the cursor gets there, in the fewest bytes."""
        if y != self._line:
            return f"\x1b[{y + 1};{x + 1}H"
        ahead = x - self._column
        return f"\x1b[{ahead}C" if 0 < ahead < 10 else f"\x1b[{x + 1}G"

    def finish(self) -> str:
        """Everything that was written; empty for nothing."""
        return "".join((*self._parts, _RESET)) if self._parts else ""

    def _text(self, text: str, style: Style | None) -> None:
        if not (self._erases and _erasable(style)) or " " * _BLANKS not in text:
            self._parts.append(text)
            return
        for part in _BLANK_RUN.split(text):
            if len(part) >= _BLANKS and part.isspace():
                self._parts += [f"\x1b[{len(part)}X", f"\x1b[{len(part)}C"]
            elif part:
                self._parts.append(part)

    def _use(self, codes: _Codes) -> None:
        """Change to a style by what differs."""
        before = self._style
        if codes == before:
            return
        self._style = codes
        gone = before.attributes - codes.attributes if before else frozenset()
        if before is None or gone - _WEIGHTS or _loses_colour(before, codes):
            whole = (*sorted(codes.attributes), codes.fore, codes.back)
            self._parts.append(f"\x1b[{';'.join(('0', *filter(None, whole)))}m")
            return
        added = codes.attributes if gone else codes.attributes - before.attributes
        changed = (
            _NORMAL_WEIGHT if gone else "",
            *sorted(added),
            codes.fore if codes.fore != before.fore else "",
            codes.back if codes.back != before.back else "",
        )
        self._parts.append(f"\x1b[{';'.join(filter(None, changed))}m")


class _Codes(NamedTuple):
    """A style as a terminal takes it: attributes, foreground and background; empty for none."""

    attributes: frozenset[str]
    fore: str
    back: str


class _Run(NamedTuple):
    """Cells that are written at a place."""

    y: int
    x: int
    cells: list[Cell]


_WEIGHTS = frozenset({"1", "2"})
_NORMAL_WEIGHT = "22"
_BLANK_RUN = re.compile(f"( {{{_BLANKS},}})")
_PASSES = re.compile(r"\x1b\[(\d+)C")
_SHOWN_ON_BLANKS = ("underline", "underline2", "reverse", "strike", "overline", "blink")


def _loses_colour(before: _Codes, after: _Codes) -> bool:
    """Whether a colour goes back to the terminal's own, which takes a reset."""
    return bool((before.fore and not after.fore) or (before.back and not after.back))


@lru_cache(maxsize=1024)
def _codes(style: Style | None, system: ColorSystem) -> _Codes:
    if style is None:
        return _Codes(frozenset(), "", "")
    attributes = Style.from_color() + style.without_color
    codes = Strip.render_ansi(attributes, system)
    return _Codes(
        frozenset(codes.split(";")) - {""},
        _colour(style.color, system, True),
        _colour(style.bgcolor, system, False),
    )


def _colour(colour: Color | None, system: ColorSystem, foreground: bool) -> str:
    """A colour's codes, by its number in the palette where that is the very colour."""
    if colour is None:
        return ""
    if system is ColorSystem.TRUECOLOR and colour.triplet is not None:
        number = _PALETTE.get(tuple(colour.triplet))
        if colour.type is ColorType.TRUECOLOR and number is not None:
            return f"{38 if foreground else 48};5;{number}"
    return ";".join(colour.downgrade(system).get_ansi_codes(foreground))


_STEPS = (0, 95, 135, 175, 215, 255)
_PALETTE: dict[tuple[int, ...], int] = {
    **{(8 + 10 * n,) * 3: 232 + n for n in range(24)},
    **{
        (_STEPS[red], _STEPS[green], _STEPS[blue]): 16 + 36 * red + 6 * green + blue
        for red in range(6)
        for green in range(6)
        for blue in range(6)
        # 16 to 21 are what palettes of the user's own (base16) put other colours in.
        if red or green
    },
}
"""Numbers of xterm's 256 colours that every terminal shows alike."""


def _ordered(runs: list[_Run]) -> Iterator[_Run]:
    """Runs so that colours change seldom: after each the next one below that begins in the style
    in which it ended, where that is cheaper than going on in the line."""
    left = list(runs)
    end: Style | None = None
    line = -1
    while left:
        costs = (
            (0 if _begins(run.cells, end) else _CHANGE_BYTES) + (5 if run.y == line else 8)
            for run in left
        )
        _, number = min((cost, number) for number, cost in enumerate(costs))
        run = left.pop(number)
        yield run
        line = run.y
        end = _pieces(run.cells, end)[-1][0]


def _begins(cells: list[Cell], end: Style | None) -> bool:
    """Whether a run begins in the style in which the one before ended."""
    return _pieces(cells, end)[0][0] == end


def _pieces(cells: list[Cell], before: Style | None) -> list[tuple[Style | None, str]]:
    """Texts with the style to write each in: blanks take that of their neighbours, where they
    look alike in it."""
    groups = [
        (style, "".join(text for text, _ in same)) for style, same in groupby(cells, itemgetter(1))
    ]
    pieces: list[tuple[Style | None, str]] = []
    for number, (style, text) in enumerate(groups):
        drawn = style
        if text.isspace():
            after = groups[number + 1][0] if number + 1 < len(groups) else style
            drawn = next((s for s in (before, after) if _ground(s) == style), style)
        if pieces and pieces[-1][0] == drawn:
            pieces[-1] = (drawn, pieces[-1][1] + text)
        else:
            pieces.append((drawn, text))
        before = drawn
    return pieces


@lru_cache(maxsize=1024)
def _ground(style: Style | None) -> Style | None:
    """What of a style shows on a blank."""
    if style is None or not _erasable(style):
        return style
    return Style(bgcolor=style.bgcolor) if style.bgcolor else Style.null()


@lru_cache(maxsize=1024)
def _erasable(style: Style | None) -> bool:
    """Whether an erased cell looks like a blank of this style."""
    return style is None or not any(getattr(style, name) for name in _SHOWN_ON_BLANKS)


class Painted(CompositorUpdate):
    """Escape sequences in an update's place."""

    def __init__(self, sequences: str) -> None:
        self._sequences = sequences

    def render_segments(self, console: Console) -> str:
        """The escape sequences."""
        return self._sequences


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
            blank = (" ", _ground(style))
            cells += [blank if char == " " else (char, style) for char in text]
            continue
        for start, end, width in split_graphemes(text)[0]:
            if width:
                char = text[start:end]
                cells.append((char, _ground(style) if char == " " else style))
                cells += [("", style)] * (width - 1)
    return cells


def _changed(row: list[Cell], x: int, cells: list[Cell]) -> Iterator[tuple[int, int]]:
    """Runs of cells that differ from what is shown, short gaps included."""
    start = end = -1
    for index, cell in enumerate(cells):
        if cell == row[x + index]:
            continue
        if start >= 0 and not _bridged(cells, end, index):
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


def _bridged(cells: list[Cell], end: int, index: int) -> bool:
    """Whether unchanged cells are written again: few, and without a style of their own."""
    if index - end > _GAP:
        return False
    around = (cells[end - 1][1], cells[index][1])
    alike = (*around, *map(_ground, around))
    return all(style in alike for _, style in cells[end:index])
