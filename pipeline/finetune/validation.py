"""Dev nDCG@10 in training: exact where the dev passages are few, on a fixed pool where not.

The pool is the base model's `POOL_DEPTH` best passages for each dev query, and all relevant
ones. On it the base scores exactly as on all passages. A trained model can only gain from
what is left out, so its figure is an upper bound; it serves to choose the best checkpoint, and
`eval` measures the test set on everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytrec_eval

from pipeline.beir import EvalSet

CUTOFF = 10
"""The rank at which nDCG is cut."""

WHOLE_UP_TO = 500
"""So many passages are all searched at every validation."""

POOL_DEPTH = 20
"""Of the base's ranking, for each query of a larger set."""

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str], Literal["query", "passage"]], Vectors]

_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Validation:
    """The dev queries and the passages that they are searched in.

    Attributes:
        dev: queries, passages and relevance; passages outside the pool left out.
        base_score: nDCG@10 of the base model.
        pooled: whether passages were left out.
    """

    dev: EvalSet
    base_score: float
    pooled: bool


def prepare(dev: EvalSet, embed_base: Embed) -> Validation:
    """Measure the base, and choose the pool from its rankings."""
    ranked = rankings(dev, embed_base, POOL_DEPTH)
    score = ndcg(dev, ranked)
    if len(dev.passages) <= WHOLE_UP_TO:
        return Validation(dev, score, pooled=False)
    pool = {passage for ranking in ranked.values() for passage in ranking}
    pool.update(passage for relevant in dev.qrels.values() for passage in relevant)
    passages = {key: text for key, text in dev.passages.items() if key in pool}
    return Validation(EvalSet(dev.queries, passages, dev.qrels), score, pooled=True)


def score(validation: Validation, embed: Embed) -> float:
    """nDCG@10 of another model, in the same pool."""
    return ndcg(validation.dev, rankings(validation.dev, embed, CUTOFF))


def rankings(dev: EvalSet, embed: Embed, depth: int) -> dict[str, dict[str, float]]:
    """The best `depth` passages of every query with their scores, by exact search.

    Equal scores are ordered by passage id, the greater first, as trec_eval does.
    """
    # Sorted so that a stable sort by score alone breaks ties the right way.
    keys = sorted(dev.passages, reverse=True)
    passages = embed([dev.passages[key] for key in keys], "passage")
    queries = embed(list(dev.queries.values()), "query")
    names = list(dev.queries)
    ranked: dict[str, dict[str, float]] = {}
    for start in range(0, len(names), _QUERIES_AT_ONCE):
        similarity = queries[start : start + _QUERIES_AT_ONCE] @ passages.T
        best = np.argsort(-similarity, axis=1, kind="stable")[:, :depth]
        for name, scores, row in zip(names[start:], similarity, best, strict=False):
            ranked[name] = {keys[column]: float(scores[column]) for column in row}
    return ranked


def ndcg(dev: EvalSet, ranked: dict[str, dict[str, float]]) -> float:
    """Mean nDCG@10 over the dev queries, by trec_eval."""
    measure = f"ndcg_cut_{CUTOFF}"
    evaluator = pytrec_eval.RelevanceEvaluator(
        {query: dict(relevant) for query, relevant in dev.qrels.items()},
        {f"ndcg_cut.{CUTOFF}"},
    )
    found = evaluator.evaluate(ranked)
    return float(np.mean([found[query][measure] for query in dev.queries]))
