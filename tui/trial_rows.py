"""What the Generate step shows of its tries on a few documents, one or two side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.sdg.records import Sample
from pipeline.sdg.writer import OFFLINE
from tui.generate_rows import said
from tui.generating import Try
from tui.glyphs import Glyphs
from tui.rows import Row, Span, cut, cut_left, fit, pad, pad_left, row, wrap

_TITLE = 26
_WIDE = 90
"""Columns from which two tries stand side by side."""


def try_rows(
    now: Try,
    before: Try | None,
    threshold: float,
    current: bool,
    glyphs: Glyphs,
    width: int,
) -> list[Row]:
    """A try's questions, document by document; with `before`, both.

    Args:
        now: the try.
        before: another one to compare it with, or None.
        threshold: the recipe's.
        current: whether `now` was made with the settings as they are.
        glyphs: the signs.
        width: columns; from `_WIDE` on two tries stand side by side.
    """
    tries = [("now", now), *([("before", before)] if before else [])]
    wide = before is not None and width >= _WIDE
    rows: list[Row] = []
    if not current:
        rows += said("This try had other settings: t tries the present ones.", width, "warn")
    rows += _side_by_side(
        [_head(*each, _column(width, wide)) for each in tries], wide, glyphs, width
    )
    for document in now.documents:
        rows.append(())
        path = cut_left(document.path, max(width - _TITLE - 4, 12), glyphs.ellipsis)
        rows.append(row((f" {path}", "title"), (f"  {cut(document.title, _TITLE)}", "muted")))
        columns = [
            _samples(
                "" if wide or before is None else word,
                each.samples.get(document.id, ()),
                threshold,
                glyphs,
                _column(width, wide),
            )
            for word, each in tries
        ]
        rows += _side_by_side(columns, wide, glyphs, width)
    rows.append(())
    text = "The full run with the same settings takes these answers over: they aren't paid again."
    if now.model == OFFLINE:
        text = "Rehearsal: the offline writer cut these out of the passages; no LLM wrote them."
    return rows + said(text, width, "warn" if now.model == OFFLINE else "muted")


def _column(width: int, wide: bool) -> int:
    return (width - 3) // 2 if wide else width


def _head(word: str, tried: Try, width: int) -> list[Row]:
    lines = wrap(tried.guidance or "no guidance", max(width - 9, 8))
    rows = [
        row((f" {pad(word if number == 0 else '', 7)}{line}", "accent"))
        for number, line in enumerate(lines)
    ]
    return [*rows, row((" " * 8 + cut(tried.model, max(width - 9, 8)), "muted"))]


def _samples(
    word: str, samples: Sequence[Sample], threshold: float, glyphs: Glyphs, width: int
) -> list[Row]:
    rows: list[Row] = [row((f" {word}", "accent"))] if word else []
    if not samples:
        rows.append(row(("  no question came of this document", "muted")))
    for sample in samples:
        rows += _sample(sample, threshold, glyphs, width)
    return rows


def _sample(sample: Sample, threshold: float, glyphs: Glyphs, width: int) -> list[Row]:
    room = max(width - 8, 16)
    question, *more = wrap(sample.question, room)
    rows = [row(" ", score_span(sample, threshold), "  ", (question, "strong"))]
    rows += [row(" " * 7, (line, "strong")) for line in more]
    indent = Span(" " * 7)
    if sample.answer:
        rows += [row(indent, line) for line in wrap(sample.answer, room)]
    for quote in sample.quotes:
        words = f"{glyphs.quote_open}{' '.join(quote.text.split())}{glyphs.quote_close}"
        rows += [row(indent, (line, "quote")) for line in wrap(words, room)]
    for flag in sample.flags:
        said = f"{flag.name}: {flag.reason}" + (" (blocks it)" if flag.blocking else "")
        rows += [row(indent, (line, "warn")) for line in wrap(said, room)]
    return rows


def score_span(sample: Sample, threshold: float) -> Span:
    """A sample's score in four columns; a dash where it has none."""
    if sample.score is None:
        return Span("  - ", "muted")
    return Span(pad_left(f"{sample.score:.1f}", 4), "good" if sample.score >= threshold else "warn")


def _side_by_side(
    columns: Sequence[list[Row]], wide: bool, glyphs: Glyphs, width: int
) -> list[Row]:
    """Columns beside each other with a line between them, or one below the other."""
    if not wide:
        return [cells for column in columns for cells in column]
    left, right = columns
    room = _column(width, wide)
    rows: list[Row] = []
    for index in range(max(len(left), len(right))):
        here, there = (side[index] if index < len(side) else () for side in (left, right))
        rows.append((*fit(here, room), Span(f" {glyphs.threshold} ", "border"), *fit(there, room)))
    return rows
