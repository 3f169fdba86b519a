"""Exact inner-product search with deterministic ties, whoever computes it.

A backend finds candidates by coarse scores; those are then computed again by one definition, and
a bound on the coarse scores' rounding shows that nothing that was left out could belong among the
best. Where that cannot be shown, the search goes deeper. So every backend, every tile size and
every device give the same hits, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageFailure
from pipeline.mining.backends import DIRECT_ROWS, Backend, OnTile, TorchBackend, fastest
from pipeline.mining.scores import (
    SCORE_DECIMALS,
    Doubles,
    Hits,
    Rows,
    Vectors,
    best_rows,
    certified,
    longest_of,
    norms_of,
    row_scores,
)

TILE_BYTES = 256 * 2**20
"""What a tile of scores, or a block of vectors that is worked on, may take; ours. A million
passages at 2,048 dimensions are 8.4 GB, which may stay on the disk."""

_ROUNDING = 10.0**-SCORE_DECIMALS
_MARGIN = 16
"""Candidates beyond the depth: a tie or two at the cut still leave room for a proof. Ours."""
_LOOKED_DEEPER = 4
"""So many times the candidates where a proof failed: it fails for a few queries only. Ours."""
_DEEPER = 8
"""So many times the depth where it was not enough. Ours."""
_SCORES_AT_ONCE = 2**18
"""Scores that are ranked together: a processor's cache holds what comes of them. Ours; measured,
ranking 15,000 queries takes a third of the time it takes at once."""
_WHOLE_SHARE = 8
"""From this share of the pool on, scoring all of it in order is cheaper than rows out of order."""


class ExactSearch:
    """Searches a pool of vectors.

    Args:
        pool: (passages, dimension) float32, in memory or memory-mapped; never copied on a CPU, if
            it has more than `DIRECT_ROWS`.
        device: where to compute, `cpu` or `cuda`.
        tile_bytes: memory that a tile may take.
        backend: who finds candidates; without it, the fastest does.

    Raises:
        StageFailure: a vector of the pool is not finite: no bound holds for it, and no rule.
    """

    def __init__(
        self,
        pool: Vectors,
        device: str = "cpu",
        tile_bytes: int = TILE_BYTES,
        backend: type[TorchBackend] | None = None,
    ) -> None:
        # A view of a memory-mapped file stays one.
        self._pool = np.require(pool, np.float32, ["C_CONTIGUOUS"])
        self._tile_bytes = tile_bytes
        self._device = device
        self._forced = backend
        self._made: dict[type[TorchBackend], Backend] = {}
        direct = backend is None and len(pool) <= DIRECT_ROWS
        self._doubles = self._pool.astype(np.float64) if direct else None
        self._longest = longest_of(self._pool)
        if not np.isfinite(self._longest):
            norms = norms_of(self._pool)
            if not np.isfinite(norms).all():
                raise _not_finite(norms)
            self._longest = float(norms.max())

    def search(
        self, queries: Vectors, depth: int, on_tile: OnTile = lambda done, total: None
    ) -> Hits:
        """The best `depth` rows of each query; fewer only where the pool is smaller.

        Args:
            queries: (n, dimension).
            depth: rows wanted a query.
            on_tile: called with (done, total) as the pool is read; it may raise to stop.
        """
        depth = min(depth, len(self._pool))
        if self._doubles is not None:
            return self._all_scored(queries, depth, on_tile)
        backend = self._backend(len(queries))
        found = _no_hits(len(queries), depth)
        pending: Rows = np.arange(len(queries))
        looked = depth * backend.spare + _MARGIN
        while len(pending) and looked * _WHOLE_SHARE <= len(self._pool):
            asked = queries if len(pending) == len(queries) else queries[pending]
            ranked, proven = self._ranked(backend, asked, depth, looked, on_tile)
            _put(found, pending[proven], ranked[proven])
            pending = pending[~proven]
            looked *= _LOOKED_DEEPER
        _put(found, pending, self._all_scored(queries[pending], depth, on_tile))
        return found

    def next_depth(self, depth: int) -> int:
        """How deep to search after a depth that was not enough.

        The whole pool, as soon as all of it would be scored for less of it.
        """
        whole = len(self._pool)
        scored = self._doubles is not None or depth * _DEEPER * _WHOLE_SHARE > whole
        return whole if scored else depth * _DEEPER

    def _ranked(
        self, backend: Backend, queries: Vectors, depth: int, looked: int, on_tile: OnTile
    ) -> tuple[Hits, NDArray[np.bool_]]:
        """The best of the candidates, and whether every row left out is certainly below them.

        A backend's score errs by at most `error` times the lengths of both vectors.
        """
        candidates = backend.candidates(queries, looked, on_tile)
        lengths = norms_of(queries) * self._longest
        hits = _no_hits(len(queries), depth)
        step = max(1, _SCORES_AT_ONCE // looked)
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            rows = candidates.rows[some]
            best = self._ranked_again(backend, queries[some], rows, lengths[some], depth)
            _put(hits, some, best)
        if not depth:
            return hits, np.ones(len(queries), dtype=bool)
        error = backend.error(queries.shape[1]) * lengths
        return hits, hits.scores[:, -1] > candidates.left_out + error + _ROUNDING

    def _ranked_again(
        self, backend: Backend, queries: Vectors, rows: Rows, lengths: Doubles, depth: int
    ) -> Hits:
        """The best of some candidates by the definition."""
        whole = certified(
            backend.sums(queries, rows),
            lengths,
            queries.shape[1],
            lambda q, place: row_scores(queries[q], self._pool[rows[q, place]]),
        )
        places, scores = best_rows(whole, depth)
        return Hits(np.take_along_axis(rows, places, axis=1), scores)

    def _all_scored(self, queries: Vectors, depth: int, on_tile: OnTile) -> Hits:
        """Every score in float64, some queries at a time."""
        hits = _no_hits(len(queries), depth)
        # A pool that isn't held in float64 is read again for each tile, so those are large.
        scores = self._tile_bytes // 32 if self._doubles is None else _SCORES_AT_ONCE
        step = max(1, scores // max(1, len(self._pool)))
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            _put(hits, some, Hits(*best_rows(self._scored(queries[some]), depth)))
            on_tile(min(start + step, len(queries)), len(queries))
        return hits

    def _scored(self, queries: Vectors) -> Doubles:
        """The scores of the whole pool, (n, passages), in whole units."""
        if self._doubles is not None:
            return self._block_scored(queries, self._pool, self._doubles)
        starts = range(0, max(1, len(self._pool)), DIRECT_ROWS)
        blocks = (self._pool[start : start + DIRECT_ROWS] for start in starts)
        scored = [self._block_scored(queries, one, one.astype(np.float64)) for one in blocks]
        return np.concatenate(scored, axis=1)

    def _block_scored(self, queries: Vectors, block: Vectors, doubles: Doubles) -> Doubles:
        def again(query: Rows, column: Rows) -> Doubles:
            return row_scores(queries[query], block[column])

        sums = queries.astype(np.float64) @ doubles.T
        return certified(sums, norms_of(queries) * self._longest, queries.shape[1], again)

    def _backend(self, queries: int) -> Backend:
        """The fastest for so many queries; kept, since it may hold the pool on a GPU."""
        kind = self._forced or fastest(queries, len(self._pool), self._device)
        if kind not in self._made:
            self._made[kind] = kind(self._pool, self._device, self._tile_bytes)
        return self._made[kind]


def _no_hits(queries: int, depth: int) -> Hits:
    """Room for those of so many queries."""
    return Hits(np.zeros((queries, depth), np.int64), np.zeros((queries, depth)))


def _put(hits: Hits, queries: slice | Rows, found: Hits) -> None:
    """Write what was found for some queries in its place."""
    hits.rows[queries], hits.scores[queries] = found.rows, found.scores


def _not_finite(norms: Doubles) -> StageFailure:
    bad = np.flatnonzero(~np.isfinite(norms))
    return StageFailure(
        f"Of {len(norms)} passages' vectors {len(bad)} are not finite, the first is number "
        f"{bad[0] + 1}.",
        safe="Nothing was written from them.",
        next_step="The weights that made them are damaged: get them again.",
    )
