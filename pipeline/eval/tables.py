"""The table of metrics: its rows once, as Markdown, CSV and JSON; the verdict in words. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.eval.records import QUERIES_MIN, SYNTHETIC, EvalResult, SetResult
from pipeline.measures import metric_order, metric_title

COLUMNS = (
    *("set", "metric", "k", "base", "finetuned", "bm25"),
    *("difference", "low", "high", "queries"),
)
"""Of the CSV, in order."""

_BETTER = {"better": "Better", "worse": "Worse", "no clear difference": "No clear difference"}


@dataclass(frozen=True)
class MetricRow:
    """One metric of one set, by every system.

    Attributes:
        set: the set's name.
        metric: the measure, such as `ndcg`.
        k: the rank that it is cut at.
        base: mean of the base model over the queries, 0 to 1.
        finetuned: of the fine-tuned model.
        bm25: of BM25.
        difference: fine-tuned minus base.
        low: lower end of the difference's 95 % interval.
        high: upper end.
        queries: how many.
    """

    set: str
    metric: str
    k: int
    base: float
    finetuned: float
    bm25: float
    difference: float
    low: float
    high: float
    queries: int

    @property
    def name(self) -> str:
        """The metric with its rank: `ndcg@10`."""
        return f"{self.metric}@{self.k}"

    @property
    def title(self) -> str:
        """The metric for people: `nDCG@10`."""
        return metric_title(self.name)


def ordered_sets(result: EvalResult) -> tuple[SetResult, ...]:
    """The user's own sets first, in their order, the synthetic one last."""
    return tuple(sorted(result.sets, key=lambda each: each.name == SYNTHETIC))


def metric_rows(result: SetResult) -> tuple[MetricRow, ...]:
    """Every metric of one set: nDCG, Recall, Precision, MAP, each by rank."""
    base, tuned, bm25 = (result.systems[system] for system in ("base", "finetuned", "bm25"))
    rows = []
    for name in sorted(base, key=metric_order):
        measure, _, k = name.partition("@")
        difference = result.difference[name]
        rows.append(
            MetricRow(
                set=result.name,
                metric=measure,
                k=int(k),
                base=base[name],
                finetuned=tuned[name],
                bm25=bm25[name],
                difference=difference.mean,
                low=difference.low,
                high=difference.high,
                queries=result.queries,
            )
        )
    return tuple(rows)


def verdict_sentence(result: SetResult) -> str:
    """What a set says, in plain words: the headline's difference, and where BM25 stands."""
    name, difference = result.headline, result.difference[result.headline]
    base, tuned, bm25 = (
        f"{result.systems[system][name]:.3f}" for system in ("base", "finetuned", "bm25")
    )
    moved = (
        f"{metric_title(name)} {base} -> {tuned}, {difference.mean:+.3f} "
        f"(95 % interval {difference.low:+.3f} to {difference.high:+.3f}) "
        f"on {result.queries} queries"
    )
    if result.verdict == "too few queries":
        said = f"Too few queries for a verdict, {QUERIES_MIN} are the least: {moved}."
    else:
        said = f"{_BETTER[result.verdict]}: {moved}."
    gap = result.systems["bm25"][name] - result.systems["finetuned"][name]
    if gap > 0:
        return f"{said} BM25 beats the fine-tuned model with {bm25}."
    return f"{said} BM25 reaches {bm25}" + (", the same." if gap == 0 else ", which is less.")


def markdown_table(result: SetResult) -> str:
    """One set's table in Markdown, four decimals."""
    lines = [
        "| metric | base | fine-tuned | difference (95 % interval) | BM25 |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.title} | {row.base:.4f} | {row.finetuned:.4f} | {row.difference:+.4f} "
        f"({row.low:+.4f} to {row.high:+.4f}) | {row.bm25:.4f} |"
        for row in metric_rows(result)
    ]
    return "\n".join(lines)


def markdown_block(result: SetResult) -> str:
    """One set with its heading, table and verdict."""
    heading = f"## Metrics on {result.name}: {result.queries} queries, {result.passages} passages"
    return "\n\n".join([heading, markdown_table(result), verdict_sentence(result)])


def to_markdown(sets: Sequence[SetResult]) -> str:
    """Every set in Markdown, in the order given."""
    return "\n\n".join(markdown_block(each) for each in sets)


def to_csv(sets: Sequence[SetResult]) -> str:
    """Every set as CSV with a header line; values are not rounded."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for each in sets for row in metric_rows(each))
    return stream.getvalue().rstrip("\n")


def table_row(result: SetResult) -> dict[str, Any]:
    """One set as a JSON object; values are not rounded."""
    return {
        "name": result.name,
        "queries": result.queries,
        "passages": result.passages,
        "headline": result.headline,
        "verdict": result.verdict,
        "sentence": verdict_sentence(result),
        "rows": [asdict(row) for row in metric_rows(result)],
    }


def to_json(sets: Sequence[SetResult]) -> str:
    """Every set as one JSON document."""
    return json.dumps({"sets": [table_row(each) for each in sets]}, indent=2, allow_nan=False)
