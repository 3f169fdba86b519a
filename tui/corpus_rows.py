"""The Corpus step in rows: what is chosen, and what became of every document. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.records import ROLES, FileReport, Finding
from tui.glyphs import Glyphs
from tui.keys import key_of
from tui.rows import Row, Span, Tone, aligned, cut, cut_left, pad, pad_left, row, width_of, wrap
from tui.watch import Job, Snapshot
from tui.working import progress_rows

OUTSIDE = "outside"
"""The word for a usable document that the pilot slice leaves out."""

_ABOUT = (
    "A folder of documents (text, Markdown, HTML, PDF, Word, rst), ready passages (CSV, TSV, JSON, "
    "JSONL, Parquet), a BEIR folder, NVIDIA SDG output, or a Hugging Face dataset (p and "
    "hf://owner/name). Every document is read on this machine; nothing leaves it here."
)
_STATES: Mapping[str, tuple[str, str, Tone]] = {
    "done": ("done", "scanned", "good"),
    "stale": ("stale", "changed", "warn"),
    "running": ("running", "scanning", "accent"),
    "vanished": ("stale", "stopped", "warn"),
    "stopped": ("stale", "stopped", "warn"),
    "failed": ("failed", "failed", "bad"),
}
_LABEL = 12
_FIXED = 33
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


def choice_rows(lines: Sequence[tuple[str, str, Tone]], busy: str, width: int) -> list[Row]:
    """What a new run would be made of, and what may be chosen.

    Args:
        lines: label, value and tone.
        busy: what is being done with it now; empty for nothing.
        width: columns.
    """
    rows: list[Row] = [()]
    for label, value, tone in lines:
        parts = wrap(value, width - _LABEL - 2) or [""]
        rows.append(row(" ", (pad(label, _LABEL), "muted"), (parts[0], tone)))
        rows += [row(" " * (_LABEL + 1), (part, tone)) for part in parts[1:]]
    rows.append(())
    if busy:
        return [*rows, row((f" {busy}", "accent"))]
    return [*rows, *(row(" ", (line, "muted")) for line in wrap(_ABOUT, width - 2))]


def state_rows(
    snapshot: Snapshot, job: Job | None, scanning: bool, busy: str, glyphs: Glyphs, width: int
) -> list[Row]:
    """The documents of a run, and how their scan stands.

    Args:
        snapshot: the run.
        job: the scan's journal, where there is one.
        scanning: whether a worker is on it.
        busy: what this window does with the documents now; empty for nothing.
        glyphs: the signs.
        width: columns.
    """
    state = snapshot.state("corpus")
    glyph, word, tone = _STATES.get(state, ("waiting", "not scanned", "muted"))
    if scanning:
        glyph, word, tone = "running", "scanning", "accent"
    right = row((f"  {getattr(glyphs, glyph)} {word} ", tone))
    room = max(width - 1 - width_of(right), 12)
    source = cut_left(snapshot.recipe.corpus.source, room, glyphs.ellipsis)
    rows = [aligned(row(" ", (source, "strong")), right, width)]
    if busy:
        return [*rows, row((f" {busy}", "accent"))]
    if scanning:
        return rows + _progress_rows(job, glyphs, width)
    trouble = _trouble(snapshot, job)
    return rows + [row((f" {line}", "warn")) for line in wrap(trouble, width - 2) if line]


def _progress_rows(job: Job | None, glyphs: Glyphs, width: int) -> list[Row]:
    """The bar of what is done now, and what was done before it."""
    if job is None:
        return [row((" starting ...", "muted"))]
    before = [
        f"{event.data['done']:,} {what}"
        for what, event in job.counted.items()
        if what != job.view.what
    ]
    rows = progress_rows(job.view, job.paused, glyphs, width)
    return [*rows, row((" " + "   ".join(before), "muted"))] if before else rows


def _trouble(snapshot: Snapshot, job: Job | None) -> str:
    """Why there is no scan of the documents as they are; empty when all is well."""
    if snapshot.failure:
        path, scan = key_of("corpus.path"), key_of("corpus.scan")
        return f"{snapshot.failure.happened} {path} chooses other documents; {scan} looks again."
    state = snapshot.state("corpus")
    if state == "failed" and job and job.ending and job.ending.type == "failed":
        data = job.ending.data
        return f"{data['happened']} {data['safe']} {data['next']}"
    reason = snapshot.stages["corpus"].reason if "corpus" in snapshot.stages else ""
    if state == "done":
        return f"{reason}." if reason.startswith("kept as made") else ""
    return f"{reason}; enter scans them." if state != "new" else "enter scans them."


def document_header(width: int) -> Row:
    """The columns' names over `document_row`."""
    path, kind, reason = _widths(width)
    return row(
        (" " + pad("status", 11) + " " + pad("document", path), "muted"),
        (" " + pad("kind", _KIND - 1) if kind else "", "muted"),
        ("     chars passages", "muted"),
        ("  why" if reason else "", "muted"),
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
        f" {pad_left(size, 9)} {pad_left(cuts, 8)}",
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
    path = cut_left(entry.path, width - 2, glyphs.ellipsis)
    lines = wrap(entry.reason or "no remark", width - 2)
    return [row(" ", (path, "strong")), *(row(" ", (line, "muted")) for line in lines)]


def finding_rows(findings: Sequence[Finding], glyphs: Glyphs, width: int) -> list[Row]:
    """Suspected secrets, then personal data: kind, masked excerpt, file and line."""
    rows: list[Row] = []
    for group, title in (("secret", "Suspected secrets"), ("personal", "Personal data")):
        found = [each for each in findings if each.group == group]
        rows += [row((f"{title}: {len(found):,}", "strong"))] if found else []
        for each in found:
            place = f":{each.line}"
            head = f" {pad(cut(each.kind, 24, glyphs.ellipsis), 24)} "
            head += f"{pad(cut(each.excerpt, 20, glyphs.ellipsis), 20)} "
            room = max(width - len(head) - len(place) - 1, 8)
            rows.append(row(head, (cut_left(each.path, room, glyphs.ellipsis) + place, "muted")))
    return rows


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
    found = summary.get("findings", {})
    if found.get("secrets") or found.get("personal"):
        words = f"suspected: {found['secrets']:,} secrets, {found['personal']:,} personal data"
        rows.append(
            row((f" {glyphs.warned} {words}; {key_of('corpus.findings')} lists them", "warn"))
        )
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


def slice_words(documents: int, seed: int, dealt: bool = True) -> str:
    """The pilot slice in a line.

    Args:
        documents: how many it takes; 0 takes all.
        seed: of the deal.
        dealt: whether there is a run, so that others can be dealt.
    """
    if not documents:
        return f"all documents; 50-100 are usual for a pilot ({key_of('corpus.slice')})"
    others = f" ({key_of('corpus.seed')} deals others)" if dealt else ""
    return f"{documents:,} documents, dealt by seed {seed}{others}"


def sets_words(sets: Sequence[tuple[str, int]]) -> str:
    """The user's own eval sets in a line."""
    if not sets:
        key = key_of("corpus.eval_set")
        return f"none; {key} takes a BEIR folder of your own, and it leads the metrics"
    return ", ".join(f"{name} ({count:,} queries)" for name, count in sets)
