"""The Review step's head and list: counts, histogram, when it is enough, one row a sample. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.corpus.records import ROLES
from pipeline.review.decisions import Decision
from pipeline.review.filters import Filter
from pipeline.review.index import Entry
from pipeline.review.progress import ReviewProgress
from pipeline.review.queue import Order
from pipeline.review.tally import BIN, BINS, Bin, Counts, Histogram
from tui.glyphs import Glyphs
from tui.rows import Row, Span, Tone, aligned, cut, pad, pad_left, plain, row, width_of

BARS_HEIGHT = 4
"""Lines of the taller histogram, without its axis."""

_NARROW = 56
"""Columns of a list below which complexity and hops are left to the sample beside it."""


def head_rows(
    counts: Counts, histogram: Histogram, glyphs: Glyphs, width: int, height: int
) -> list[Row]:
    """Threshold, histogram and counts: in one row, or with taller bars above an axis."""
    if height <= 1:
        return [_one_row(counts, histogram, glyphs, width)]
    return [_one_row(counts, None, glyphs, width), *_bars(counts, histogram, glyphs, width)]


def _one_row(counts: Counts, histogram: Histogram | None, glyphs: Glyphs, width: int) -> Row:
    left = row(" threshold ", (pad_left(f"{counts.threshold:.1f}", 4), "strong"), " ")
    digits = len(str(counts.total))
    # Numbers of one tone: what changes together is sent together.
    kept = row(
        ("keep ", "good"),
        pad_left(str(counts.kept), digits),
        (" drop ", "bad"),
        pad_left(str(counts.dropped), digits),
    )
    hand = row(f" by hand {pad_left(str(counts.decided), digits)}")
    override = row(f" ({counts.overrides} override)")
    for right in ((*kept, *hand, *override), (*kept, *hand), kept):
        room = width - width_of(left) - width_of(right) - 1
        if histogram is None:
            if room >= 0:
                return (*left, *right)
        elif room >= BINS + 1:
            return (*left, *_sparkline(histogram.bins, counts.threshold, glyphs), Span(" "), *right)
    pairs = _paired(histogram.bins) if histogram else ()
    return (*left, *_sparkline(pairs, counts.threshold, glyphs), Span(" "), *kept)


def _paired(bins: Sequence[Bin]) -> tuple[Bin, ...]:
    """Half as many bins, twice as wide."""
    return tuple(
        Bin(one.low, one.count + two.count, 0, 0)
        for one, two in zip(bins[::2], bins[1::2], strict=True)
    )


def _sparkline(bins: Sequence[Bin], threshold: float, glyphs: Glyphs) -> list[Span]:
    """One column a bin; the threshold stands at the edge that is nearest to it."""
    most = max((bar.count for bar in bins), default=0)
    levels = len(glyphs.bars) - 1
    drawn = "".join(glyphs.bars[_level(bar.count, most, levels)] for bar in bins)
    edge = round(threshold / 10 * len(bins))
    return [
        Span(drawn[:edge], "muted"),
        Span(glyphs.threshold, "accent"),
        Span(drawn[edge:], "series_1"),
    ]


def _level(count: int, most: int, levels: int) -> int:
    """How full a bar is; what isn't empty shows."""
    return max(1, round(levels * count / most)) if count else 0


def _bars(counts: Counts, histogram: Histogram, glyphs: Glyphs, width: int) -> list[Row]:
    """Bars of `BARS_HEIGHT` lines, and the scores below them."""
    broad = max(1, min(3, (width - 3) // BINS))
    bins, levels = histogram.bins, len(glyphs.bars) - 1
    most = max(bar.count for bar in bins)
    edge = round(counts.threshold / BIN)
    rows: list[Row] = []
    for line in reversed(range(BARS_HEIGHT)):
        cells = ""
        for bar in bins:
            level = _level(bar.count, most, levels * BARS_HEIGHT) - line * levels
            cells += glyphs.bars[max(0, min(levels, level))] * broad
        rows.append(_marked(cells, edge * broad, glyphs))
    axis = "".join(f"{place:<{broad * 4}d}" for place in range(0, 10, 2)) + "10"
    # The threshold's own column shifts what is right of it.
    axis = axis[: edge * broad] + " " + axis[edge * broad :] if edge < BINS else axis
    unscored = f"   {histogram.unscored} without a score" if histogram.unscored else ""
    return [*rows, row((" " + axis + unscored, "muted"))]


def _marked(cells: str, edge: int, glyphs: Glyphs) -> Row:
    return (
        Span(" " + cells[:edge], "muted"),
        Span(glyphs.threshold, "accent"),
        Span(cells[edge:], "series_1"),
    )


def enough_rows(progress: ReviewProgress, counts: Counts, width: int) -> list[Row]:
    """The line that says when it is enough, and what each role keeps."""
    tone: Tone = "good" if progress.enough else "warn"
    whole, short = (
        row((f" {text}", tone)) for text in (progress.sentence, progress.short_sentence)
    )
    words = "  ".join(f"{role} {counts.by_role[role].kept}" for role in ROLES)
    kept, bare = row((f"kept: {words} ", "muted")), row((f"{words} ", "muted"))
    for left, right in ((whole, kept), (short, kept), (short, bare)):
        if width_of(left) + width_of(right) + 2 <= width:
            return [aligned(left, right, width)]
    return [row((cut(plain(short), width), tone))]


def place_row(
    cursor: int, listed: int, total: int, order: Order, wanted: Filter, more: str, width: int
) -> Row:
    """Where the cursor is, in which order and by which filter, and whether more comes."""
    digits = len(str(total))
    place = f"{pad_left(str(cursor + 1), digits)} of {listed}"
    parts: list[Span] = [Span(f" {place}", "muted"), Span(f"  order {order}", "muted")]
    if not wanted.everything:
        parts.append(Span(f"  filter {wanted.text} ({listed} of {total})", "accent"))
    if more:
        parts.append(Span(f"  {more}", "warn"))
    return row(*parts)


def state_of(decision: Decision | None, skipped: bool, kept: bool, glyphs: Glyphs) -> Span:
    """A sample's state by sign and word: what a person said, else what its score says."""
    if decision is None:
        word = "skip" if skipped else "keep" if kept else "drop"
        return Span(f"{glyphs.undecided} {word:<6}", "muted")
    if decision.verdict == "reject":
        return Span(f"{glyphs.rejected} {'reject':<6}", "bad")
    if decision.question is not None or decision.answer is not None:
        return Span(f"{glyphs.edited} {'edited':<6}", "good")
    return Span(f"{glyphs.accepted} {'accept':<6}", "good")


def score_text(score: float | None) -> str:
    """A score with its two decimals, for 6.96 is below 7.0."""
    return "-" if score is None else f"{score:.2f}"


def sample_row(
    entry: Entry,
    decision: Decision | None,
    skipped: bool,
    kept: bool,
    glyphs: Glyphs,
    width: int,
    selected: bool,
) -> Row:
    """One sample of the list, in columns that stay where they are."""
    question = entry.question
    if decision is not None and decision.question is not None:
        question = decision.question
    state = state_of(decision, skipped, kept, glyphs)
    cells: list[str | Span] = [
        Span(glyphs.cursor if selected else " ", "accent" if selected else state.tone),
        state,
        pad_left(score_text(entry.score), 6),
        Span(f" {pad(entry.role, 5)} ", "muted"),
    ]
    if width >= _NARROW:
        level = str(entry.complexity) if entry.complexity else "-"
        cells.append(Span(f"c{level} h{entry.hops} ", "muted"))
        flag = "!" if entry.flags else " "
        cells.append(Span(f"{flag} ", "warn"))
    room = width - width_of(row(*cells)) - 1
    return row(*cells, cut(question, room, glyphs.ellipsis))
