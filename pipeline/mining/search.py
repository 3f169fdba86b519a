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
"""Candidates that are scored again together: a processor's cache holds what comes of them. Ours;
measured, ranking 15,000 queries takes a third of the time it takes at once."""
_WHOLE_SHARE = 8
"""From this share of the pool on, scoring all of it in order is cheaper than rows out of order."""


class ExactSearch:
    """Searches a pool of vectors.

    Args:
        pool: (passages, dimension) float32, in memory or memory-mapped; never copied on a CPU.
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
        self._direct = backend is None and len(pool) <= DIRECT_ROWS
        self._longest = longest_of(self._pool)
        if not np.isfinite(self._longest):
            norms = norms_of(self._pool)
            if not np.isfinite(norms).all():
                raise _not_finite(norms)
            self._longest = float(norms.max())

    def search(
        self, queries: Vectors, depth: int, on_tile: OnTile = lambda done, total: None
    ) -> list[Hits]:
        """The best `depth` rows of each query; fewer only where the pool is smaller.

        Args:
            queries: (n, dimension).
            depth: rows wanted a query.
            on_tile: called with (done, total) as the pool is read; it may raise to stop.
        """
        depth = min(depth, len(self._pool))
        if self._direct:
            return self._all_scored(queries, depth, on_tile)
        backend = self._backend(len(queries))
        found: list[Hits | None] = [None] * len(queries)
        pending: Rows = np.arange(len(queries))
        looked = depth * backend.spare + _MARGIN
        while len(pending) and looked * _WHOLE_SHARE <= len(self._pool):
            asked = queries if len(pending) == len(queries) else queries[pending]
            ranked, proven = self._ranked(backend, asked, depth, looked, on_tile)
            for place in np.flatnonzero(proven).tolist():
                found[pending[place]] = ranked[place]
            pending = pending[~proven]
            looked *= _LOOKED_DEEPER
        scored = self._all_scored(queries[pending], depth, on_tile)
        for place, hits in zip(pending.tolist(), scored, strict=True):
            found[place] = hits
        return [hits for hits in found if hits is not None]

    def next_depth(self, depth: int) -> int:
        """How deep to search after a depth that was not enough.

        The whole pool, as soon as all of it would be scored for less of it.
        """
        whole = len(self._pool)
        scored = self._direct or depth * _DEEPER * _WHOLE_SHARE > whole
        return whole if scored else depth * _DEEPER

    def _ranked(
        self, backend: Backend, queries: Vectors, depth: int, looked: int, on_tile: OnTile
    ) -> tuple[list[Hits], NDArray[np.bool_]]:
        """The best of the candidates, and whether every row left out is certainly below them.

        A backend's score errs by at most `error` times the lengths of both vectors.
        """
        candidates = backend.candidates(queries, looked, on_tile)
        lengths = norms_of(queries) * self._longest
        hits: list[Hits] = []
        step = max(1, _SCORES_AT_ONCE // looked)
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            rows = candidates.rows[some]
            hits += self._ranked_again(backend, queries[some], rows, lengths[some], depth)
        if not depth:
            return hits, np.ones(len(queries), dtype=bool)
        error = backend.error(queries.shape[1]) * lengths
        lowest = np.array([one.scores[-1] for one in hits])
        return hits, lowest > candidates.left_out + error + _ROUNDING

    def _ranked_again(
        self, backend: Backend, queries: Vectors, rows: Rows, lengths: Doubles, depth: int
    ) -> list[Hits]:
        """The best of some candidates by the definition."""
        whole = certified(
            backend.sums(queries, rows),
            lengths,
            queries.shape[1],
            lambda q, place: row_scores(queries[q], self._pool[rows[q, place]]),
        )
        places, scores = best_rows(whole, depth)
        rows = np.take_along_axis(rows, places, axis=1)
        return [Hits(*one) for one in zip(rows, scores, strict=True)]

    def _all_scored(self, queries: Vectors, depth: int, on_tile: OnTile) -> list[Hits]:
        """Every score in float64, some queries at a time."""
        hits: list[Hits] = []
        step = max(1, self._tile_bytes // (32 * max(1, len(self._pool))))
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            whole = np.concatenate([*self._blocks_scored(some)], axis=1)
            rows, scores = best_rows(whole, depth)
            hits += [Hits(*one) for one in zip(rows, scores, strict=True)]
            on_tile(len(hits), len(queries))
        return hits

    def _blocks_scored(self, queries: Vectors) -> list[Doubles]:
        lengths = norms_of(queries) * self._longest
        asked = queries.astype(np.float64)

        def scored(start: int) -> Doubles:
            block = self._pool[start : start + DIRECT_ROWS]

            def again(query: Rows, column: Rows) -> Doubles:
                return row_scores(queries[query], block[column])

            sums = asked @ block.astype(np.float64).T
            return certified(sums, lengths, queries.shape[1], again)

        starts = range(0, max(1, len(self._pool)), DIRECT_ROWS)
        return [scored(start) for start in starts]

    def _backend(self, queries: int) -> Backend:
        """The fastest for so many queries; kept, since it may hold the pool on a GPU."""
        kind = self._forced or fastest(queries, len(self._pool), self._device)
        if kind not in self._made:
            self._made[kind] = kind(self._pool, self._device, self._tile_bytes)
        return self._made[kind]


def _not_finite(norms: Doubles) -> StageFailure:
    bad = np.flatnonzero(~np.isfinite(norms))
    return StageFailure(
        f"Of {len(norms)} passages' vectors {len(bad)} are not finite, the first is number "
        f"{bad[0] + 1}.",
        safe="Nothing was written from them.",
        next_step="The weights that made them are damaged: get them again.",
    )
