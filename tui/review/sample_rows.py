"""One sample with everything that is needed to judge it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.review.decisions import REASONS
from pipeline.sdg.records import Sample
from pipeline.sdg.scoring import LEVEL_MAX
from tui.glyphs import Glyphs
from tui.review.desk import SampleView
from tui.review.evidence import Evidence, whole_rows, window_rows
from tui.review.rows import score_text, state_of
from tui.rows import Row, Span, Tone, aligned, cut, cut_left, plain, row, width_of, wrap, wrapped

CONTEXTS = (120, 60, 0)
"""Characters on either side of a quote that are tried at first sight, the most first."""


@dataclass(frozen=True)
class _Room:
    """Lines of the first sight, so that its parts stand where they stood for the last sample.

    Attributes:
        question, answer: for either; longer ones are cut.
        points: for what the judge and the checks found.
    """

    question: int
    answer: int
    points: int


def _room(height: int) -> _Room:
    if height >= 20:
        return _Room(3, 4, 3)
    return _Room(2, 2, 1) if height >= 10 else _Room(1, 1, 0)


def sample_pages(view: SampleView, glyphs: Glyphs, width: int, height: int) -> list[list[Row]]:
    """A sample page by page: the first sight, and everything in full where that cuts something."""
    first, whole = _first_sight(view, glyphs, width, height - 1)
    sheets = [first]
    if not whole:
        rows, step = _in_full(view, glyphs, width), max(height - 1, 1)
        sheets += [rows[start : start + step] for start in range(0, len(rows), step)]
    return [
        [_header(view, glyphs, width, page, len(sheets)), *rows]
        for page, rows in enumerate(sheets, start=1)
    ]


def evidence_rows(view: SampleView, glyphs: Glyphs, width: int, height: int) -> list[Row]:
    """The evidence alone, for beside the fields of an edit."""
    return _evidence(view.evidence, glyphs, width, height)[0]


def _header(view: SampleView, glyphs: Glyphs, width: int, page: int, pages: int) -> Row:
    state = state_of(view.decision, view.skipped, view.kept, glyphs)
    words, score = state.text.rstrip(), view.entry.score
    if view.decision and view.decision.reason:
        words += f": {REASONS[view.decision.reason]}"
    if view.decision and view.decision.source == "bulk":
        words += " (in bulk)"
    sign = "" if score is None else f" {'<' if score < view.threshold else '>='} "
    said = "no score" if score is None else f"score {score_text(score)}{sign}{view.threshold:.1f}"
    facts = [said, view.entry.role]
    if view.entry.complexity:
        facts.append(f"complexity {view.entry.complexity}")
    facts.append(f"{view.entry.hops} hop{'s' if view.entry.hops > 1 else ''}")
    facts.append(view.entry.kind)
    left = row(" ", (words, state.tone), ("  " + "  ".join(facts), "muted"))
    right = row((f"  space {page}/{pages} ", "muted")) if pages > 1 else ()
    return aligned(left, right, width)


def _first_sight(
    view: SampleView, glyphs: Glyphs, width: int, height: int
) -> tuple[list[Row], bool]:
    """Rows, at most `height`, and whether they hold everything."""
    room = _room(height)
    question = _labelled("Q", view.words.question, "strong", width)
    answer = _labelled("A", view.words.answer, "text", width)
    points = _points(view, width)
    rows: list[Row] = []
    whole = True
    for part, lines in ((question, room.question), (answer, room.answer), (points, room.points)):
        whole = whole and len(part) <= lines
        rows += [*_cut_to(part, lines, glyphs, width), *[()] * (lines - len(part))]
    evidence, all_shown = _evidence(view.evidence, glyphs, width, height - len(rows))
    return [*rows, *evidence], whole and all_shown


def _evidence(
    cited: Sequence[Evidence], glyphs: Glyphs, width: int, height: int
) -> tuple[list[Row], bool]:
    """Every hop with as much around its quotes as fits; the first quote is always there."""
    rows: list[Row] = []
    for context in CONTEXTS:
        rows = []
        for number, each in enumerate(cited, start=1):
            rows.append(_hop(each, number, len(cited), width))
            rows += [(Span(" "), *cells) for cells in window_rows(each, glyphs, width - 2, context)]
        if len(rows) <= height:
            break
    heads = [_hop(each, n, len(cited), width) for n, each in enumerate(cited, start=1)]
    while len(rows) > height and height and rows[height - 1] in heads:
        height -= 1  # a place without its passage tells nothing
    shown = [] if len(rows) > height else [each for each in cited if _seen_whole(each, rows)]
    return _cut_to(rows, height, glyphs, width), len(shown) == len(cited)


def _seen_whole(evidence: Evidence, rows: Sequence[Row]) -> bool:
    """Whether nothing of a passage was left out."""
    seen = sum(len(plain(cells).split()) for cells in rows)
    return seen >= len(evidence.text.split())


def _in_full(view: SampleView, glyphs: Glyphs, width: int) -> list[Row]:
    """Words, points and passages without a cut."""
    rows = _labelled("Q", view.words.question, "strong", width)
    rows += _labelled("A", view.words.answer, "text", width)
    sample, words = view.sample, view.words
    for label, before, now in (
        ("question", sample.question, words.question),
        ("answer", sample.answer, words.answer),
    ):
        if before != now:
            rows += _indented(f"{label} as written: {before}", width)
    rows += _points(view, width)
    for number, each in enumerate(view.evidence, start=1):
        rows += [(), _hop(each, number, len(view.evidence), width)]
        end = each.start + len(each.text)
        place = f"characters {each.start} to {end} of the document; " if each.start >= 0 else ""
        rows += _indented(f"{place}passage {each.passage}", width)
        rows += [(Span(" "), *cells) for cells in whole_rows(each, glyphs, width - 2)]
    writer = f"{sample.id}, written by {sample.writer}" if sample.writer else sample.id
    return [*rows, (), row((f" {writer}", "muted"))]


def _labelled(label: str, text: str, tone: Tone, width: int) -> list[Row]:
    lines = wrap(text, max(width - 4, 1)) if text else ["(empty)"]
    heads = [f" {label} ", *["   "] * (len(lines) - 1)]
    return [
        row((head, "muted"), (line, tone if text else "muted"))
        for head, line in zip(heads, lines, strict=True)
    ]


def _indented(text: str, width: int) -> list[Row]:
    return [row(("   " + line, "muted")) for line in wrap(text, max(width - 4, 1))]


def _points(view: SampleView, width: int) -> list[Row]:
    """Where points were lost, and what the checks found; one row where both fit."""
    lost = [
        f"{name} {level:g}/{LEVEL_MAX}"
        for name, level in view.sample.levels.items()
        if level < LEVEL_MAX
    ]
    spans: list[Span] = []
    if lost:
        spans += [Span("lost on ", "muted"), Span(", ".join(lost), "warn")]
    elif view.sample.levels:
        spans.append(Span("full marks on every criterion", "muted"))
    for flag in view.sample.flags:
        if spans:
            spans.append(Span("  "))
        tone = Span("blocked, ", "bad") if flag.blocking else Span("! ", "warn")
        spans += [tone, Span(f"{flag.name}: ", tone.tone), Span(flag.reason, "text")]
    if about := asked_as(view.sample):
        spans.append(Span(("  " if spans else "") + about, "muted"))
    return [(Span("   "), *cells) for cells in wrapped(spans, max(width - 4, 1))] if spans else []


def asked_as(sample: Sample) -> str:
    """Style and language that were asked for, and where the retrievers have the evidence."""
    ranks = [
        f"{title} rank {sample.ranks[name]:,}"
        for name, title in (("base", "base"), ("bm25", "BM25"))
        if name in sample.ranks
    ]
    return ", ".join(part for part in (sample.style, sample.language, *ranks) if part)


def _hop(evidence: Evidence, number: int, hops: int, width: int) -> Row:
    """A passage's place: which of how many, its document, the headings above it."""
    count = f" {number}/{hops} "
    room = width - len(count) - 1
    path = evidence.path or evidence.passage
    headings = " > ".join(evidence.headings)
    if evidence.start < 0:
        headings = "this passage is not in the corpus"
    path = cut_left(path, max(room - len(headings) - 3, room // 2))
    spans = [Span(count, "muted"), Span(path, "accent")]
    if headings:
        left = max(room - width_of(row(path)) - 3, 0)
        spans.append(Span(" > " + cut_left(headings, left), "muted"))
    return row(*spans)


def _cut_to(rows: list[Row], lines: int, glyphs: Glyphs, width: int) -> list[Row]:
    """The first so many rows; an ellipsis says that there are more."""
    if len(rows) <= lines or lines <= 0:
        return rows[: max(lines, 0)]
    last = row(*rows[lines - 1])
    if plain(last).rstrip().endswith(glyphs.ellipsis):
        return rows[:lines]
    mark = Span(f" {glyphs.ellipsis}", "muted")
    if width_of(last) + 2 <= width - 1:
        return [*rows[: lines - 1], (*last, mark)]
    end = last[-1]
    kept = cut(end.text, max(len(end.text) - 3, 1), "")
    return [*rows[: lines - 1], (*last[:-1], Span(kept, end.tone), mark)]
