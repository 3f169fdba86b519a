"""How sure a difference between two systems on the same queries is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.beir import Metrics
from pipeline.eval.records import QUERIES_MIN, Difference, Verdict

RESAMPLES = 10_000
"""Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), ask for 1,000 and more for a
percentile interval; ten times as many make its ends steady to the third decimal."""

SEED = 0
"""Of the resampling; its own, since the recipe's seed doesn't identify a measurement."""

_CELLS = 4_000_000
"""Resampled query indices held at once: 32 MB."""


def paired_differences(ours: Sequence[Metrics], theirs: Sequence[Metrics]) -> dict[str, Difference]:
    """The mean difference of every metric with its 95 % percentile bootstrap interval.

    Queries are drawn with replacement, both systems' values together (the paired bootstrap:
    Sakai, "Evaluating evaluation metrics based on the bootstrap", SIGIR 2006). All metrics share
    one draw.

    Args:
        ours: metrics of each query.
        theirs: the other system's, of the same queries in the same order.
    """
    names = list(ours[0])
    values = np.array(
        [[a[name] - b[name] for name in names] for a, b in zip(ours, theirs, strict=True)]
    )
    queries = len(values)
    generator = np.random.default_rng(SEED)
    block = max(1, _CELLS // queries)
    means = []
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        drawn = generator.integers(0, queries, (rows, queries))
        cells = drawn + queries * np.arange(rows)[:, None]
        counts = np.bincount(cells.ravel(), minlength=rows * queries).reshape(rows, queries)
        means.append(counts.astype(np.float64) @ values / queries)
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975), axis=0)
    middle = values.mean(axis=0)
    return {
        name: Difference(float(middle[column]), float(low[column]), float(high[column]))
        for column, name in enumerate(names)
    }


def verdict_of(difference: Difference, queries: int) -> Verdict:
    """A difference in words: clear when its interval lies on one side of 0."""
    if queries < QUERIES_MIN:
        return "too few queries"
    if difference.low > 0:
        return "better"
    if difference.high < 0:
        return "worse"
    return "no clear difference"


def headline_metric(names: Iterable[str]) -> str:
    """nDCG at the rank nearest to 10: what a set is judged by."""
    ranks = [int(name.removeprefix("ndcg@")) for name in names if name.startswith("ndcg@")]
    return f"ndcg@{min(ranks, key=lambda k: (abs(k - 10), k))}"
