"""How far a served model may lie from the measured one, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.beir import Metrics
from pipeline.settings import VerifySettings

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
RowState = Literal["within", "outside", "too few queries"]

Vectors = NDArray[np.float32]

COMPARED = ("ndcg", "recall")
"""The measures that the published recipe's tolerance is about."""

CANARY_COSINE_MIN = 0.999
"""fp32 and fp16 lie above it; another prefix, pooling or mask lies far below."""

MEAN_COSINE_MIN = 0.9999
LOW_COSINE_MIN = 0.999
"""Vectors pass with this mean, and this first percentile. In a simulation over 4,000 passages,
independent drift of 0.9999 moves a metric of 200 queries beyond 0.01 in 3 % of trials, and of
0.999 in half of them."""

_EPSILON = 1e-9
"""What floating point may add to a difference that is exactly the tolerance."""

_WORST = 5

_SAME_COSINE = 1 - 1e-6
"""Canaries that fine-tuning didn't move can't tell the two models apart."""


@dataclass(frozen=True)
class Row:
    """One metric of one set.

    Attributes:
        metric: such as `ndcg@10`.
        stored: what evaluation measured.
        served: what the endpoint gives.
        tolerance: how far they may differ.
        state: `too few queries` when one query could move it by more than the tolerance.
    """

    metric: str
    stored: float
    served: float
    tolerance: float
    state: RowState

    @property
    def difference(self) -> float:
        """Served minus stored."""
        return self.served - self.stored


@dataclass(frozen=True)
class Worst:
    """A text whose served vector lies far from the stored one."""

    id: str
    cosine: float
    characters: int


@dataclass(frozen=True)
class Drift:
    """Cosines of served to stored vectors, over all queries or passages of a set.

    Attributes:
        texts: how many.
        mean: their mean.
        low: their first percentile.
        min: the smallest.
        worst: the texts that drift most; if only long ones do, it is truncation.
    """

    texts: int
    mean: float
    low: float
    min: float
    worst: tuple[Worst, ...]

    @property
    def passes(self) -> bool:
        """Whether the vectors are close enough to stand in for metrics of too few queries."""
        return self.mean >= MEAN_COSINE_MIN and self.low >= LOW_COSINE_MIN


@dataclass(frozen=True)
class Identity:
    """Whether the endpoint serves the fine-tuned model.

    Attributes:
        cosine: smallest cosine of a canary to the fine-tuned model's vector.
        nearer_to_base: canaries that lie nearer to the base model than to the fine-tuned one.
        telling: canaries that tell the two models apart.
    """

    cosine: float
    nearer_to_base: int
    telling: int

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in words."""
        faults = []
        if self.nearer_to_base:
            faults.append(
                f"{self.nearer_to_base} of {self.telling} canaries lie nearer to the base model "
                "than to the fine-tuned one"
            )
        if self.cosine < CANARY_COSINE_MIN:
            faults.append(f"a canary's cosine is {self.cosine:.4f} < {CANARY_COSINE_MIN}")
        return tuple(faults)


@dataclass(frozen=True)
class SetCheck:
    """One eval set through the endpoint.

    Attributes:
        name: the set's.
        queries: how many.
        rows: its metrics.
        query_drift: how far the queries' vectors moved.
        passage_drift: how far the passages' vectors moved.
        flipped: queries whose compared metrics changed, with both values.
    """

    name: str
    queries: int
    rows: tuple[Row, ...]
    query_drift: Drift
    passage_drift: Drift
    flipped: Mapping[str, Mapping[str, tuple[float, float]]]

    @property
    def vectors_pass(self) -> bool:
        """Whether both kinds of vectors are close to the stored ones."""
        return self.query_drift.passes and self.passage_drift.passes


def compare_metrics(
    stored: Metrics, served: Metrics, queries: int, settings: VerifySettings
) -> tuple[Row, ...]:
    """Every compared metric, not rounded; the published rule is looser for small k."""
    rows = []
    for metric, value in stored.items():
        measure, _, k = metric.partition("@")
        if measure not in COMPARED:
            continue
        tolerance = settings.tolerance_low_k if int(k) < settings.low_k else settings.tolerance
        within = abs(served[metric] - value) <= tolerance + _EPSILON
        state: RowState = "within" if within else "outside"
        if 1 / queries > tolerance + _EPSILON:
            state = "too few queries"
        rows.append(Row(metric, value, served[metric], tolerance, state))
    return tuple(rows)


def measure_drift(
    stored: Vectors, served: Vectors, ids: Sequence[str], texts: Sequence[str]
) -> Drift:
    """Cosines of served to stored vectors, `[texts, dimension]` each."""
    cosines = cosine_rows(stored, served)
    worst = np.argsort(cosines, kind="stable")[:_WORST]
    return Drift(
        texts=len(cosines),
        mean=float(cosines.mean()),
        low=float(np.percentile(cosines, 1)),
        min=float(cosines.min()),
        worst=tuple(Worst(ids[row], float(cosines[row]), len(texts[row])) for row in worst),
    )


def identify(served: Vectors, finetuned: Vectors, base: Vectors) -> Identity:
    """Compare the canaries' served vectors with both models' stored ones."""
    to_finetuned, to_base = cosine_rows(finetuned, served), cosine_rows(base, served)
    telling = cosine_rows(finetuned, base) < _SAME_COSINE
    return Identity(
        cosine=float(to_finetuned.min()),
        nearer_to_base=int((to_base > to_finetuned)[telling].sum()),
        telling=int(telling.sum()),
    )


def flipped_queries(
    stored: Mapping[str, Metrics], served: Mapping[str, Metrics]
) -> dict[str, dict[str, tuple[float, float]]]:
    """Queries whose compared metrics changed, with the stored and the served value of each."""
    flipped = {}
    for query, before in stored.items():
        changed = {
            metric: (value, served[query][metric])
            for metric, value in before.items()
            if metric.partition("@")[0] in COMPARED
            and abs(served[query][metric] - value) > _EPSILON
        }
        if changed:
            flipped[query] = changed
    return flipped


def judge(faults: Sequence[str], sets: Sequence[SetCheck]) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and its reasons.

    Args:
        faults: of identity and contract; any of them fails.
        sets: every eval set.
    """
    reasons = list(faults)
    for each in sets:
        outside = [row for row in each.rows if row.state == "outside"]
        if outside:
            worst = max(outside, key=lambda row: abs(row.difference))
            reasons.append(
                f"{each.name}: {worst.metric} moved by {worst.difference:+.4f}, more than "
                f"{worst.tolerance:g}"
            )
        if any(row.state == "too few queries" for row in each.rows) and not each.vectors_pass:
            lowest = min(each.query_drift.low, each.passage_drift.low)
            reasons.append(
                f"{each.name}: {each.queries} queries are too few for the metrics, and vectors "
                f"drift: 1 % lie below a cosine of {lowest:.4f}"
            )
    if reasons:
        return "FAIL", tuple(reasons)
    few = [each for each in sets if any(row.state == "too few queries" for row in each.rows)]
    if few:
        return "INCONCLUSIVE", tuple(
            f"{each.name}: one of {each.queries} queries moves a metric by {1 / each.queries:.4f}, "
            "more than the tolerance; the vectors are the stored ones"
            for each in few
        )
    return "PASS", ()


def cosine_rows(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """Cosine of each row with its counterpart; 0 where a vector has no length."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: NDArray[np.float64] = (a * b).sum(axis=1)
    cosines = np.zeros_like(products)
    np.divide(products, lengths, out=cosines, where=lengths > 0)
    return cosines
