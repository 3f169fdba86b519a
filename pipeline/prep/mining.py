"""Hard negatives by the published rule (TopK-PercPos of NV-Retriever, arXiv 2407.15831).

A candidate that scores above a share of the lowest positive's score is taken for an unlabelled
positive and excluded. Excluded and masked candidates never come back: where too few are left,
the query simply has fewer negatives, and says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.prep.search import SCORE_DECIMALS, ExactSearch, Hits, Vectors, scores_of
from pipeline.recipe import PrepSettings
from pipeline.texts import normalised

_QUERIES_A_CALL = 256
_DEEPER = 8


@dataclass(frozen=True)
class Pool:
    """The passages that may become negatives, sorted by id, so that ties go by id.

    Attributes:
        ids: (m) passage ids, ascending.
        texts: (m) their texts.
        vectors: (m, dimension) float32.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    vectors: Vectors


@dataclass(frozen=True)
class Wanted:
    """One query that needs negatives.

    Attributes:
        vector: (dimension,) float32.
        positives: (p, dimension) float32, p >= 1; they need not be in the pool.
        positive_texts: texts that answer it: its positives', and those of the same question.
    """

    vector: Vectors
    positives: Vectors
    positive_texts: tuple[str, ...]


@dataclass(frozen=True)
class Mined:
    """What was found for one query.

    Attributes:
        negatives: (passage id, score), highest score first, ties by id.
        positive_scores: the score of each positive, in the order given.
        shortfall: why there are fewer negatives than asked for, or empty.
    """

    negatives: tuple[tuple[str, float], ...]
    positive_scores: tuple[float, ...]
    shortfall: str


def ceiling(lowest: float, percentage: float) -> float:
    """The score above which a candidate is excluded, given the lowest positive's score.

    `percentage * lowest` for a positive score. For a negative one that product would lie above
    the score itself, so the margin is taken off there too.
    """
    return lowest - (1.0 - percentage) * abs(lowest)


def mine(
    queries: Sequence[Wanted],
    pool: Pool,
    settings: PrepSettings,
    on_queries: Callable[[int, int], None] | None = None,
) -> list[Mined]:
    """The hard negatives of each query, in the order given.

    Args:
        queries: what needs negatives.
        pool: where they come from.
        settings: how many, the percentage, and how deep to search at first.
        on_queries: called with (done, total) now and then; it may raise to stop.
    """
    search = ExactSearch(pool.vectors)
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(pool.texts):
        rows_of[normalised(text)].append(row)
    mined: list[Mined] = []
    for start in range(0, len(queries), _QUERIES_A_CALL):
        mined += _mine_some(
            queries[start : start + _QUERIES_A_CALL], pool, settings, search, rows_of
        )
        if on_queries is not None:
            on_queries(len(mined), len(queries))
    return mined


def _mine_some(
    queries: Sequence[Wanted],
    pool: Pool,
    settings: PrepSettings,
    search: ExactSearch,
    rows_of: Mapping[str, list[int]],
) -> list[Mined]:
    """Search deeper, up to the whole pool, for the queries whose negatives are too few."""
    masks = [
        {row for text in query.positive_texts for row in rows_of.get(normalised(text), ())}
        for query in queries
    ]
    found: dict[int, Mined] = {}
    pending = list(range(len(queries)))
    depth = min(settings.search_depth, len(pool.ids))
    while pending:
        hits = search.search(np.stack([queries[index].vector for index in pending]), depth)
        for index, hit in zip(pending, hits, strict=True):
            one = _select(queries[index], hit, masks[index], pool, settings)
            if not one.shortfall or depth == len(pool.ids):
                found[index] = one
        pending = [index for index in pending if index not in found]
        depth = min(depth * _DEEPER, len(pool.ids))
    return [found[index] for index in range(len(queries))]


def _select(
    query: Wanted, hits: Hits, masked: set[int], pool: Pool, settings: PrepSettings
) -> Mined:
    """Apply the rule to the best rows of one query."""
    positive_scores = scores_of(query.vector, query.positives)
    limit = ceiling(float(positive_scores.min()), settings.positive_percentage)
    negatives: list[tuple[str, float]] = []
    excluded = 0
    for row, score in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True):
        if len(negatives) == settings.hard_negatives:
            break
        if row in masked:
            continue
        if score > limit:
            excluded += 1
            continue
        negatives.append((pool.ids[row], score))
    shortfall = ""
    if len(negatives) < settings.hard_negatives:
        shortfall = (
            f"{len(negatives)} of {settings.hard_negatives}: of {len(pool.ids)} training "
            f"passages, {len(masked)} answer it and {excluded} score above "
            f"{round(limit, SCORE_DECIMALS)}"
        )
    return Mined(tuple(negatives), tuple(positive_scores.tolist()), shortfall)
