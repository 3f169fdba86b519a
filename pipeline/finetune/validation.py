"""Dev nDCG@10 in training: exact where the dev passages are few, on a fixed pool where not.

The pool is the base model's `POOL_DEPTH` best passages for each dev query, and all relevant
ones. On it the base scores exactly as on all passages. A trained model can only gain from
what is left out, so its figure is an upper bound; it serves to choose the best checkpoint, and
`eval` measures the test set on everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.beir import EvalSet, Ranking
from pipeline.metrics import evaluate
from pipeline.rankings import rank_vectors

CUTOFF = 10
"""The rank at which nDCG is cut."""

WHOLE_UP_TO = 500
"""So many passages are all searched at every validation."""

POOL_DEPTH = 20
"""Of the base's ranking, for each query of a larger set."""

Vectors = npt.NDArray[np.float32]
Scores = tuple[float, ...]
"""nDCG@10 of each query, in their order."""
Embed = Callable[[Sequence[str], Literal["query", "passage"]], Vectors]


@dataclass(frozen=True)
class Validation:
    """The dev queries and the passages that they are searched in.

    Attributes:
        dev: queries, passages and relevance; passages outside the pool left out.
        base: nDCG@10 of the base model, by query.
        pooled: whether passages were left out.
    """

    dev: EvalSet
    base: Scores
    pooled: bool

    @property
    def base_score(self) -> float:
        """Mean nDCG@10 of the base model."""
        return mean(self.base)


def prepare(dev: EvalSet, embed_base: Embed) -> Validation:
    """Measure the base, and choose the pool from its rankings."""
    ranked = rankings(dev, embed_base, POOL_DEPTH)
    base = ndcg(dev, ranked)
    if len(dev.passages) <= WHOLE_UP_TO:
        return Validation(dev, base, pooled=False)
    pool = {passage for ranking in ranked.values() for passage, _ in ranking}
    pool.update(passage for relevant in dev.qrels.values() for passage in relevant)
    passages = {key: text for key, text in dev.passages.items() if key in pool}
    return Validation(EvalSet(dev.queries, passages, dev.qrels), base, pooled=True)


def measure(dev: EvalSet, embed: Embed) -> Scores:
    """nDCG@10 of a model on a dev set, or on the pool of one, by query."""
    return ndcg(dev, rankings(dev, embed, CUTOFF))


def rankings(dev: EvalSet, embed: Embed, depth: int) -> dict[str, Ranking]:
    """The best `depth` passages of every query, by exact search."""
    passages = embed(list(dev.passages.values()), "passage")
    queries = embed(list(dev.queries.values()), "query")
    ranked = rank_vectors(queries, passages, list(dev.passages), depth)
    return dict(zip(dev.queries, ranked, strict=True))


def ndcg(dev: EvalSet, ranked: Mapping[str, Ranking]) -> Scores:
    """nDCG@10 by query, in the order of `dev.queries`."""
    found = evaluate(dev.qrels, ranked, (CUTOFF,))
    return tuple(found[query][f"ndcg@{CUTOFF}"] for query in dev.queries)


def mean(scores: Scores) -> float:
    """The mean over the queries, not rounded."""
    return math.fsum(scores) / len(scores)
