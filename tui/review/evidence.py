"""A passage with its quotes lit: all of it, or what stands around them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.sdg.records import Quote
from pipeline.sdg.sentences import sentences
from tui.glyphs import Glyphs
from tui.rows import Row, Span, wrapped

_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Evidence:
    """One passage that a sample cites.

    Attributes:
        passage: its id.
        path: its document's path.
        headings: above it, outermost first.
        text: the passage's.
        start: where it begins in its document, in characters; -1 while the passage is unknown.
        quotes: where the quotes stand in `text`, without overlaps, in order.
    """

    passage: str
    path: str
    headings: tuple[str, ...]
    text: str
    start: int
    quotes: tuple[tuple[int, int], ...]


class Piece(NamedTuple):
    """Some characters of a passage, and whether they are quoted."""

    text: str
    quoted: bool


def joined(quotes: Iterable[Quote], passage: str) -> tuple[tuple[int, int], ...]:
    """Where a passage is quoted; quotes that touch or overlap count as one."""
    spans: list[tuple[int, int]] = []
    for quote in sorted(quotes, key=lambda quote: quote.start):
        if quote.passage != passage:
            continue
        if spans and quote.start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], quote.end))
        else:
            spans.append((quote.start, quote.end))
    return tuple(spans)


def windows(
    text: str, quotes: Sequence[tuple[int, int]], context: int | None
) -> tuple[tuple[int, int], ...]:
    """The parts of a passage that are shown: around its quotes, cut at sentence ends.

    Args:
        text: the passage's.
        quotes: see `Evidence.quotes`; without any, the passage's beginning is shown.
        context: about how many characters stand on either side; None shows all.
    """
    if context is None:
        return ((0, len(text)),)
    found = sentences(text)
    spans: list[tuple[int, int]] = []
    for first, last in quotes or ((0, 0),):
        # The sentences that the quote cuts stand whole, unless they are long.
        inside = [each for each in found if each.end > first and each.start < max(last, 1)]
        start, end = min([first, *(s.start for s in inside)]), max([last, *(s.end for s in inside)])
        start, end = max(start, first - 3 * context), min(end, max(last + 3 * context, 1))
        start = min([start, *(s.start for s in found if first - context <= s.start < start)])
        end = max([end, *(s.end for s in found if end < s.end <= last + context)])
        if spans and start <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return tuple(spans)


def pieces(text: str, quotes: Sequence[tuple[int, int]], start: int, end: int) -> list[Piece]:
    """`text[start:end]`, divided where quotes begin and end."""
    divided: list[Piece] = []
    at = start
    for first, last in quotes:
        first, last = max(first, start), min(last, end)
        if first < last:
            divided += [Piece(text[at:first], False), Piece(text[first:last], True)]
            at = last
    return [piece for piece in (*divided, Piece(text[at:end], False)) if piece.text]


def window_rows(evidence: Evidence, glyphs: Glyphs, width: int, context: int | None) -> list[Row]:
    """What stands around the quotes, as running text."""
    spans: list[Span] = []
    shown = windows(evidence.text, evidence.quotes, context)
    for place, (start, end) in enumerate(shown):
        if start > 0 and place == 0:
            spans.append(Span(f"{glyphs.ellipsis} ", "muted"))
        spans += _spans(pieces(evidence.text, evidence.quotes, start, end), glyphs)
        if end < len(evidence.text):
            spans.append(Span(f" {glyphs.ellipsis} ", "muted"))
    return wrapped(spans, width)


def whole_rows(evidence: Evidence, glyphs: Glyphs, width: int) -> list[Row]:
    """The whole passage, line by line as it was written."""
    rows: list[Row] = []
    line: list[Span] = []
    text = evidence.text
    for piece in pieces(text, evidence.quotes, 0, len(text)):
        spans = [Span(piece.text)]
        if piece.quoted:
            spans = [Span(f"{glyphs.quote_open}{piece.text}{glyphs.quote_close}", "quote")]
        for span in spans:
            first, *others = span.text.split("\n")
            line.append(Span(first, span.tone))
            for other in others:
                rows += wrapped(line, width)
                line = [Span(other, span.tone)]
    return [*rows, *wrapped(line, width)]


def _spans(divided: Iterable[Piece], glyphs: Glyphs) -> list[Span]:
    spans = []
    for text, quoted in divided:
        flat = _BLANKS.sub(" ", text)
        if quoted:
            flat = f"{glyphs.quote_open}{flat}{glyphs.quote_close}"
        spans.append(Span(flat, "quote" if quoted else "text"))
    return spans
