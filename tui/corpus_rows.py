"""The Corpus step in rows: what is chosen, what became of every document, what it leads to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.records import ROLES, FileReport
from tui.glyphs import Glyphs
from tui.rows import Row, Span, Tone, aligned, cut, cut_left, pad, pad_left, row, width_of, wrap

OUTSIDE = "outside"
"""The word for a usable document that the pilot slice leaves out."""

_LABEL = 12
_FIXED = 31
"""Columns of a document's row beside its path, its kind and its reason."""
_KIND = 9


def status_of(entry: FileReport) -> str:
    """What became of a file, in a word: `used`, `skipped`, `duplicate` or `outside`."""
    return OUTSIDE if entry.status == "skipped" and entry.document else entry.status


@dataclass(frozen=True)
class Table:
    """The documents of a corpus in two orders.

    Attributes:
        by_name: sorted by path.
        skipped_first: the skipped ones, duplicates, those outside of the slice, then the used.
        counts: how many of each status, by its word.
    """

    by_name: Sequence[FileReport]
    skipped_first: Sequence[FileReport]
    counts: Mapping[str, int]


def table_of(report: Iterable[FileReport]) -> Table:
    """Both orders of a corpus's report; a remark makes a used document come before the others."""
    by_name = tuple(report)
    order = {"skipped": 0, "duplicate": 1, OUTSIDE: 2, "used": 4}

    def rank(entry: FileReport) -> int:
        status = status_of(entry)
        return order[status] - (status == "used" and bool(entry.reason))

    return Table(by_name, sorted(by_name, key=rank), Counter(map(status_of, by_name)))


def choice_rows(
    lines: Sequence[tuple[str, str, Tone]], about: Sequence[str], width: int, height: int
) -> list[Row]:
    """What a new run would be made of, and how to change that.

    Args:
        lines: label, value and tone.
        about: sentences beneath.
        width: columns.
        height: rows there are; sentences give way.
    """
    rows: list[Row] = [()]
    for label, value, tone in lines:
        parts = wrap(value, width - _LABEL - 2) if value else [""]
        rows.append(row(" ", (pad(label, _LABEL), "muted"), (parts[0], tone)))
        rows += [row(" " * (_LABEL + 1), (part, tone)) for part in parts[1:]]
    rows.append(())
    for sentence in about:
        rows += [row(" ", (part, "muted")) for part in wrap(sentence, width - 2)]
    return rows[:height] if height else rows


def document_header(width: int) -> Row:
    """The columns' names over `document_row`."""
    path, kind, reason = _widths(width)
    return row(
        (" " + pad("status", 11) + " " + pad("document", path), "muted"),
        (" " + pad("kind", _KIND - 1) if kind else "", "muted"),
        (" characters  cuts", "muted"),
        ("  why, or a remark" if reason else "", "muted"),
    )


def document_row(entry: FileReport, glyphs: Glyphs, width: int) -> Row:
    """One file in a line: status, path (cut at its left), kind, size, passages, reason."""
    status = status_of(entry)
    glyph, tone = _sign(entry, glyphs)
    path, kind, reason = _widths(width)
    name = cut_left(entry.path, path, glyphs.ellipsis)
    size = f"{entry.characters:,}" if entry.characters else ""
    cuts = f"{entry.passages:,}" if entry.passages else ""
    return row(
        " ",
        (pad(f"{glyph} {status}", 11), tone),
        " ",
        (pad(name, path), "text" if status == "used" else "muted"),
        (" " + pad(entry.kind, _KIND - 1) if kind else "", "muted"),
        f" {pad_left(size, 10)} {pad_left(cuts, 5)}",
        ("  " + cut(entry.reason, reason, glyphs.ellipsis) if reason else "", "muted"),
    )


def _widths(width: int) -> tuple[int, int, int]:
    """Columns of path, kind and reason; the last two are 0 where there is no room."""
    kind = _KIND if width >= 70 else 0
    room = width - _FIXED - kind
    if width < 70:
        return max(room, 12), kind, 0
    path = max(24, room * 5 // 9)
    return path, kind, max(room - path - 2, 0)


def _sign(entry: FileReport, glyphs: Glyphs) -> tuple[str, Tone]:
    status = status_of(entry)
    if status == "used":
        return (glyphs.warned, "warn") if entry.reason else (glyphs.done, "good")
    if status == "skipped":
        return glyphs.refused, "bad"
    return (glyphs.blocked, "muted") if status == "duplicate" else (glyphs.waiting, "muted")


def detail_rows(entry: FileReport, glyphs: Glyphs, width: int) -> list[Row]:
    """The document under the cursor: its whole path, and what the list has no room for."""
    reason = entry.reason or "no remark"
    lines = wrap(reason, width - 2)
    last = lines[1:] and cut(" ".join(lines), width - 2, glyphs.ellipsis)
    path = cut_left(entry.path, width - 2, glyphs.ellipsis)
    return [row(" ", (path, "strong")), row(" ", (last or lines[0], "muted"))]


def totals_rows(
    summary: Mapping[str, Any], counts: Mapping[str, int], glyphs: Glyphs, width: int
) -> list[Row]:
    """The corpus in numbers, and what a person should know of it.

    Args:
        summary: the result's own.
        counts: how many files of each status.
        glyphs: the signs.
        width: columns.
    """
    spans = [Span(f" {counts.get('used', 0):,} used", "good")]
    for status, word, tone in (
        ("skipped", "skipped", "bad"),
        ("duplicate", "duplicates", "muted"),
        (OUTSIDE, "outside the slice", "muted"),
    ):
        if count := counts.get(status, 0):
            spans += [Span("   "), Span(f"{count:,} {word}", tone)]  # type: ignore[arg-type]
    roles = summary["roles"]
    dealt = "  ".join(f"{role} {roles[role]:,}" for role in ROLES)
    right = row((f"{summary['passages']:,} passages   {dealt} ", "text"))
    left = row(*spans)
    if width_of(left) + width_of(right) < width:
        rows = [aligned(left, right, width)]
    else:
        rows = [left, row(" ", *right)]
    for warning in summary["warnings"]:
        lines = wrap(str(warning), width - 4)
        rows.append(row((f" {glyphs.warned} ", "warn"), lines[0]))
        rows += [row("   ", line) for line in lines[1:]]
    return rows


def foot_rows(lines: Sequence[tuple[str, str, Tone]], width: int) -> list[Row]:
    """Slice, the user's queries and the estimate, a label before each."""
    rows: list[Row] = []
    for label, value, tone in lines:
        parts = wrap(value, width - 10)
        rows.append(row(" ", (pad(label, 8), "muted"), (parts[0], tone)))
        rows += [row(" " * 9, (part, tone)) for part in parts[1:]]
    return rows


def slice_words(documents: int, seed: int) -> str:
    """The pilot slice in a line."""
    if not documents:
        return "all documents; 50-100 are usual for a pilot (s)"
    return f"{documents:,} documents, dealt by seed {seed} (d deals others)"


def sets_words(sets: Sequence[tuple[str, int]]) -> str:
    """The user's own eval sets in a line."""
    if not sets:
        return "none; v takes a BEIR folder of your own, and it leads the metrics"
    return ", ".join(f"{name} ({count:,} queries)" for name, count in sets)
