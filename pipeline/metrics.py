"""nDCG, Recall, Precision and MAP at every rank, computed by trec_eval itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytrec_eval

from pipeline.beir import Metrics, Ranking

_MEASURES = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "map": "map_cut"}
"""Our names and trec_eval's, which are those that BEIR reports."""


def evaluate(
    qrels: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Ranking], ks: Sequence[int]
) -> dict[str, Metrics]:
    """Every metric of every query.

    A query without a ranking, or with an empty one, counts as 0: BEIR would leave it out of the
    mean, which flatters a system that finds nothing.

    Args:
        qrels: relevance (0 or more) by query id, then passage id.
        rankings: by query id.
        ks: the ranks to cut at.

    Returns:
        Metrics by query id, in the order of `qrels`.
    """
    # One string a measure: of several with the same name trec_eval may keep only one.
    cuts = ",".join(str(k) for k in sorted(set(ks)))
    evaluator = pytrec_eval.RelevanceEvaluator(
        {query: dict(relevant) for query, relevant in qrels.items()},
        {f"{theirs}.{cuts}" for theirs in _MEASURES.values()},
    )
    found = evaluator.evaluate({query: dict(rankings.get(query, ())) for query in qrels})
    return {
        query: {
            f"{ours}@{k}": float(found.get(query, {}).get(f"{theirs}_{k}", 0.0))
            for ours, theirs in _MEASURES.items()
            for k in sorted(set(ks))
        }
        for query in qrels
    }


def mean_metrics(per_query: Mapping[str, Metrics]) -> Metrics:
    """The mean of every metric over the queries, not rounded."""
    rows = list(per_query.values())
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def first_relevant(ranking: Ranking, relevant: Mapping[str, int]) -> int | None:
    """The rank, from 1, of the first relevant passage, or None when it is not in the ranking."""
    ranks = (
        rank for rank, (passage, _) in enumerate(ranking, start=1) if relevant.get(passage, 0) > 0
    )
    return next(ranks, None)
