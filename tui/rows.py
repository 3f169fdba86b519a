"""Rows of text with tones: what every screen is made of. Pure, without Textual.

A tone is a meaning (`good`, `muted`, `quote`); a theme gives it a colour. Text that comes from
documents and models passes through `printable`, so it can't move the cursor or style a screen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from rich.cells import cell_len, set_cell_size, split_graphemes

Tone = Literal[
    "text",
    "muted",
    "strong",
    "title",
    "accent",
    "good",
    "warn",
    "bad",
    "quote",
    "key",
    "border",
    "series_1",
    "series_2",
    "series_3",
]
TONES: tuple[Tone, ...] = get_args(Tone)


class Span(NamedTuple):
    """Some text of one tone."""

    text: str
    tone: Tone = "text"


Row = tuple[Span, ...]
"""One line of a screen."""


def row(*parts: str | Span | tuple[str, Tone]) -> Row:
    """A row of strings and (string, tone) pairs, without control characters."""
    spans = (Span(part) if isinstance(part, str) else Span(*part) for part in parts)
    return tuple(Span(printable(text), tone) for text, tone in spans if text)


def printable(text: str) -> str:
    """`text` in one line, without control, bidirectional and private characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        " " if char in "\n\t\r" else char for char in text if char in "\n\t\r\u200d" or _plain(char)
    )


def _plain(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def width_of(cells: Row) -> int:
    """How many columns a row takes."""
    return sum(cell_len(span.text) for span in cells)


def plain(cells: Row) -> str:
    """A row's text."""
    return "".join(span.text for span in cells)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in at most `width` columns, the ellipsis at its end where something is missing."""
    text = printable(text)
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    room = max(width - cell_len(ellipsis), 0)
    return (set_cell_size(text, room) + ellipsis)[:width]


def cut_left(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in at most `width` columns, its beginning missing: of a path the end tells more."""
    text = printable(text)
    if cell_len(text) <= width:
        return text
    kept, used = len(text), cell_len(ellipsis)
    for start, _end, size in reversed(split_graphemes(text)[0]):
        if used + size > width:
            break
        kept, used = start, used + size
    return ellipsis + text[kept:]


def pad(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in exactly `width` columns."""
    return set_cell_size(cut(text, width, ellipsis), max(width, 0))


def pad_left(text: str, width: int) -> str:
    """`text` at the right end of `width` columns, as numbers stand."""
    return " " * max(width - cell_len(text), 0) + text


def fit(cells: Row, width: int) -> Row:
    """A row in exactly `width` columns: cut, or filled with blanks."""
    fitted: list[Span] = []
    room = width
    for text, tone in cells:
        size = cell_len(text)
        if size >= room:
            fitted.append(Span(set_cell_size(text, room), tone))
            return tuple(fitted)
        fitted.append(Span(text, tone))
        room -= size
    return (*fitted, Span(" " * room)) if room else tuple(fitted)


def aligned(left: Row, right: Row, width: int) -> Row:
    """`left` at the left and `right` at the right end; the left one gives way."""
    room = width - width_of(right)
    return (*fit(left, room), *right) if room > 0 else fit(right, width)


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken at spaces where there are any."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in printable(paragraph).split():
            while cell_len(word) > width > 0:
                if line:
                    lines.append(line)
                    line = ""
                head = set_cell_size(word, width).rstrip()
                lines.append(head)
                word = word[len(head) :]
            joined = f"{line} {word}" if line else word
            if cell_len(joined) > width and line:
                lines.append(line)
                line = word
            else:
                line = joined
        lines.append(line)
    return lines


def wrapped(parts: Iterable[Span], width: int) -> list[Row]:
    """Spans as rows of at most `width` columns, broken at spaces; tones stay."""
    rows: list[Row] = []
    current: list[Span] = []
    used = 0
    for text, tone in parts:
        for word in _words(printable(text)):
            size = cell_len(word)
            if used and used + size - (1 if word.endswith(" ") else 0) > width:
                rows.append(tuple(current))
                current, used = [], 0
                if word.isspace():
                    continue
            while size > width > 0:
                head = set_cell_size(word, width).rstrip()
                rows.append((*current, Span(head, tone)))
                current, used, word = [], 0, word[len(head) :]
                size = cell_len(word)
            if word:
                current.append(Span(word, tone))
                used += size
    return [*rows, tuple(current)] if current or not rows else rows


def _words(text: str) -> list[str]:
    """Words with the blanks behind them, so that joining them gives the text again."""
    words: list[str] = []
    start = 0
    for index in range(1, len(text)):
        if text[index - 1] == " " and text[index] != " ":
            words.append(text[start:index])
            start = index
    return [*words, text[start:]] if text else []


def table(
    header: Sequence[str], lines: Sequence[Sequence[str | Span]], right: Iterable[int] = ()
) -> list[Row]:
    """Columns as wide as their widest cell, two blanks between them.

    Args:
        header: the columns' names.
        lines: a cell a column.
        right: numbers of the columns whose cells stand at the right.
    """
    numbers = set(right)
    cells = [
        [Span(*cell) if isinstance(cell, tuple) else Span(cell) for cell in line] for line in lines
    ]
    widths = [
        max(cell_len(name), *(cell_len(printable(line[column].text)) for line in cells), 0)
        if cells
        else cell_len(name)
        for column, name in enumerate(header)
    ]

    def one(line: Sequence[Span]) -> Row:
        spans: list[Span] = []
        for column, (text, tone) in enumerate(line):
            place = pad_left if column in numbers else pad
            spans += [Span(place(printable(text), widths[column]), tone), Span("  ")]
        return tuple(spans[:-1])

    return [one([Span(name, "muted") for name in header]), *(one(line) for line in cells)]
