"""Exact inner-product search with deterministic ties.

faiss finds candidates in float32; their scores are then computed again by one definition, and
a bound on faiss's rounding shows that nothing it left out could belong among the best. Where
that cannot be shown, the search goes deeper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MissingPart

SCORE_DECIMALS = 6
"""Scores that are equal to six decimals are ties: float32 vectors carry no more."""

_ROUNDING = 10.0**-SCORE_DECIMALS
_UNIT_ROUNDOFF = 2.0**-24
_MARGIN = 16
_DEEPER = 4
_ROWS_A_BLOCK = 4096

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Hits:
    """The best rows of one query, best first; ties in the order of the rows.

    Attributes:
        rows: (depth,) row numbers of the pool.
        scores: (depth,) inner products, rounded to `SCORE_DECIMALS`.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def scores_of(query: Vectors, vectors: Vectors) -> NDArray[np.float64]:
    """The definition of a score: the inner product in float64, rounded to `SCORE_DECIMALS`.

    Summed row by row, so that it doesn't depend on what else is scored.

    Args:
        query: (dimension,).
        vectors: (n, dimension).

    Returns:
        (n,).
    """
    scores = np.zeros(len(vectors))
    for start in range(0, len(vectors), _ROWS_A_BLOCK):
        block = slice(start, start + _ROWS_A_BLOCK)
        products = vectors[block].astype(np.float64) * query.astype(np.float64)
        scores[block] = products.sum(axis=1).round(SCORE_DECIMALS)
    return scores + 0.0  # no negative zero


class ExactSearch:
    """Searches a pool of vectors, (passages, dimension) float32.

    Raises:
        MissingPart: faiss is not installed.
    """

    def __init__(self, pool: Vectors) -> None:
        try:
            import faiss
        except ImportError as error:
            raise MissingPart(
                "The package faiss is not installed, and mining searches with it.",
                safe="The run is as it was.",
                next_step='Install embedsmith with its extra: `pip install "embedsmith[cpu]"`.',
            ) from error
        self._pool = np.ascontiguousarray(pool, dtype=np.float32)
        self._index = faiss.IndexFlatIP(pool.shape[1])
        self._index.add(self._pool)
        norms = np.linalg.norm(self._pool.astype(np.float64), axis=1)
        self._longest = float(norms.max(initial=0.0))

    def search(self, queries: Vectors, depth: int) -> list[Hits]:
        """The best `depth` rows of each query; fewer only where the pool is smaller.

        Args:
            queries: (n, dimension).
            depth: rows wanted a query.
        """
        depth = min(depth, len(self._pool))
        found: list[Hits | None] = [None] * len(queries)
        pending = list(range(len(queries)))
        looked = depth + _MARGIN
        while pending:
            candidates, approximate = self._candidates(queries[pending], looked)
            for place, query in enumerate(pending):
                hits = self._ranked(queries[query], candidates[place])
                if len(candidates[place]) == len(self._pool) or self._complete(
                    hits, depth, approximate[place], queries[query]
                ):
                    found[query] = Hits(hits.rows[:depth], hits.scores[:depth])
            pending = [query for query in pending if found[query] is None]
            looked *= _DEEPER
        return [hits for hits in found if hits is not None]

    def _candidates(
        self, queries: Vectors, looked: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if looked >= len(self._pool):
            rows = np.broadcast_to(np.arange(len(self._pool)), (len(queries), len(self._pool)))
            return rows, np.zeros((len(queries), 0), dtype=np.float32)
        scores, rows = self._index.search(np.ascontiguousarray(queries), looked)
        return rows, scores

    def _ranked(self, query: Vectors, rows: NDArray[np.int64]) -> Hits:
        scores = scores_of(query, self._pool[rows])
        order = np.lexsort((rows, -scores))
        return Hits(rows[order], scores[order])

    def _complete(
        self, hits: Hits, depth: int, approximate: NDArray[np.float32], query: Vectors
    ) -> bool:
        """Whether every row that faiss left out is certainly below the last one kept.

        Whatever the order of summation, a float32 inner product of n terms errs by at most
        about n * u * |q| * |p|, u = 2**-24 (Higham, Accuracy and Stability of Numerical
        Algorithms, section 3.1).
        """
        if depth == 0:
            return True
        norm = float(np.linalg.norm(query.astype(np.float64)))
        error = 1.01 * len(query) * _UNIT_ROUNDOFF * norm * self._longest
        return float(hits.scores[depth - 1]) > float(approximate[-1]) + error + _ROUNDING
