"""What the Metrics step shows: the table, the verdict, the misses. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.eval.misses import Miss, Misses
from pipeline.eval.records import SYSTEMS
from pipeline.eval.tables import MetricRow
from tui.glyphs import Glyphs
from tui.rows import Row, Span, Tone, cut, pad, pad_left, row, wrap

MEASURES = ("ndcg", "recall", "precision", "map")

_COLUMNS = (("metric", 14), ("base", 8), ("fine-tuned", 11), ("difference", 11))
_INTERVAL = 20


def ordered_rows(rows: Sequence[MetricRow], first: str) -> list[MetricRow]:
    """The rows with one measure's in front, the others in their order."""
    return sorted(rows, key=lambda each: each.metric != first)


def header_row() -> Row:
    """The table's columns."""
    cells = [Span(pad_left(name, width), "muted") for name, width in _COLUMNS[1:]]
    first = Span(" " + pad(*_COLUMNS[0]), "muted")
    interval = Span("  " + pad("95 % interval", _INTERVAL), "muted")
    return (first, *cells, interval, Span(pad_left("BM25", 7), "muted"))


def metric_line(metric: MetricRow) -> Row:
    """One metric by every system, the difference in words of colour and sign."""
    sure = metric.low > 0 or metric.high < 0
    tone: Tone = "text" if not sure else "good" if metric.difference > 0 else "bad"
    interval = f"{metric.low:+.3f} to {metric.high:+.3f}"
    return row(
        " " + pad(metric.title, _COLUMNS[0][1]),
        pad_left(f"{metric.base:.4f}", _COLUMNS[1][1]),
        (pad_left(f"{metric.finetuned:.4f}", _COLUMNS[2][1]), "strong"),
        (pad_left(f"{metric.difference:+.4f}", _COLUMNS[3][1]), tone),
        ("  " + pad(interval, _INTERVAL), "muted"),
        pad_left(f"{metric.bm25:.4f}", 7),
    )


def miss_line(miss: Miss, width: int) -> Row:
    """One query and where each system found its first relevant passage."""
    ranks = " ".join(pad_left(_rank(miss.ranks[system]), 6) for system in SYSTEMS)
    word: Span = Span(" worse ", "bad") if miss.worse else Span("       ")
    room = max(width - len(ranks) - 10, 10)
    return row(" ", pad(cut(miss.text, room), room), word, (ranks, "muted"), " ")


def misses_header(misses: Misses, what: str, width: int) -> Row:
    """What the list of misses holds."""
    found = misses.misses if what == "misses" else misses.wins
    verb = "missed by the fine-tuned model" if what == "misses" else "won over the base"
    left = f" {len(found)} of {misses.queries} queries {verb} at {misses.k}"
    right = "  base  tuned   BM25 "
    return row((pad(left, max(width - len(right), 0)), "muted"), (right, "muted"))


def miss_rows(miss: Miss, glyphs: Glyphs, width: int, height: int) -> list[Row]:
    """One query with what should have won and what did, so that both are seen at once."""
    lines = 4 if height >= 18 else 2
    rows: list[Row] = [row((" " + part, "strong")) for part in wrap(miss.text, width - 2)]
    for passage in miss.relevant[: 2 if height >= 18 else 1]:
        rows += [row((" should be found  ", "good"), (passage.id, "muted"))]
        rows += [row("   ", part) for part in wrap(passage.text, width - 4)[:lines]]
    if not miss.winners:
        rows += [(), row((" nothing stands before it: it is missing from the list", "muted"))]
    for winner in miss.winners:
        where = f" {glyphs.arrow} rank {winner.rank} instead  "
        rows += [row((where, "bad"), (f"{winner.score:.3f}  {winner.id}", "muted"))]
        rows += [row("   ", part) for part in wrap(winner.text, width - 4)[:lines]]
    return rows


def _rank(rank: int | None) -> str:
    return "none" if rank is None else str(rank)
