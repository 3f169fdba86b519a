"""Who finds the candidates of a search, and how far the scores that it goes by may be off.

The one rule of who, as measured on two cores (256 queries of 384 and 2,048 dimensions, the best
116): up to 4,096 rows all scores in float64 cost no more than candidates and their second scores
(27 against 43 ms at 2,000 rows, 75 against 80 at 8,000); beyond, torch's product and top-k is 1.2
to 5 times as fast as faiss for one query and for 16 or more, and faiss three times as fast for
those between, up to some 10,000 rows. On a GPU it is torch: faiss-gpu's flat search is six times
slower (faiss issue 3045) and takes no depth above 2,048 (issue 4008).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import torch

from pipeline.mining.scores import Doubles, Rows, Vectors

DIRECT_ROWS = 4096
"""Up to here every score is computed in float64 at once."""

_FAISS_QUERIES = range(2, 16)
_FAISS_ROWS = 16_384
_SINGLE_ROUNDOFF = 2.0**-24
_TF32_ROUNDOFF = 2.0**-10
"""TF32 reads ten bits of a fraction; a tensor core may cut the others off instead of rounding."""

_GPU_TILE_BYTES = 4 * 2**30
"""A tile of scores on a GPU, where many small ones cost a top-k and a merge each. Ours."""
_GPU_TILE_SHARE = 8
"""And this part of what is free beside the pool, at most. Ours."""
_GROUP = 32
"""Columns whose maximum stands for them, where top-k first looks at maxima. Ours."""
_GROUPS_A_HIT = 4
"""So many groups for each score that is wanted, or looking at maxima spares too little. Ours."""

OnTile = Callable[[int, int], None]


@dataclass(frozen=True)
class Candidates:
    """What a backend found.

    Attributes:
        rows: (n, looked) row numbers of the pool, ascending.
        left_out: (n,) no row that was left out has a higher score by the backend's reckoning.
    """

    rows: Rows
    left_out: Doubles


class Backend(Protocol):
    """Finds candidates in a pool of vectors, and sums inner products with them in float64."""

    @property
    def spare(self) -> int:
        """How many times the depth to look at first: coarse scores need more room."""

    def error(self, dimension: int) -> float:
        """How far a score may be off, for vectors of length 1."""

    def candidates(self, queries: Vectors, looked: int, on_tile: OnTile) -> Candidates:
        """The `looked` best rows of each of (n, dimension) queries, `looked` below the pool's."""

    def sums(self, queries: Vectors, rows: Rows) -> Doubles:
        """(n, looked) inner products of each query with its own rows."""


class TorchBackend:
    """Matrix product and top-k, tile by tile: a pool on the disk or larger than a GPU streams.

    Args:
        pool: (rows, dimension), in memory or memory-mapped.
        device: `cpu` or `cuda`.
        tile_bytes: the most that a tile of scores, or a block of the pool, takes; a GPU takes more
            where it has it.
    """

    def __init__(self, pool: Vectors, device: str, tile_bytes: int) -> None:
        self._device = torch.device(device)
        self._tile_bytes = tile_bytes
        self._pool = torch.from_numpy(np.asarray(pool))
        self._resident: torch.Tensor | None = self._pool
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            fits = pool.nbytes <= free // 2
            self._resident = self._pool.to(self._device) if fits else None
            left = free - pool.nbytes if fits else free
            self._tile_bytes = max(tile_bytes, min(_GPU_TILE_BYTES, left // _GPU_TILE_SHARE))

    @property
    def spare(self) -> int:
        """See `Backend.spare`."""
        return 2 if self._device.type == "cuda" else 1

    def error(self, dimension: int) -> float:
        """See `Backend.error`."""
        return coarse_error(dimension, self._device.type)

    def candidates(self, queries: Vectors, looked: int, on_tile: OnTile) -> Candidates:
        """See `Backend.candidates`; each block of the pool is read once for all queries."""
        asked = torch.from_numpy(np.ascontiguousarray(queries)).to(self._device)
        tops: list[tuple[torch.Tensor, torch.Tensor]] = []
        blocks = list(self._blocks(len(queries), looked))
        with torch.inference_mode(), _tf32():
            for number, (start, end) in enumerate(blocks):
                scores, rows = self._best(asked @ self._block(start, end).T, looked)
                tops = [_merged([*tops, (scores, rows + start)], looked)]
                on_tile(number + 1, len(blocks))
            scores, rows = tops[0]
            return Candidates(
                rows.sort(dim=1).values.cpu().numpy(), scores.amin(dim=1).double().cpu().numpy()
            )

    def _best(self, scores: torch.Tensor, looked: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The best scores of a tile and their columns, in no order."""
        looked = min(looked, scores.shape[1])
        if self._device.type == "cuda":
            return best_by_groups(scores, looked)
        found = torch.topk(scores, looked, sorted=False)
        return found.values, found.indices

    def sums(self, queries: Vectors, rows: Rows) -> Doubles:
        """See `Backend.sums`; no more vectors at a time than a tile holds."""
        sums = np.zeros(rows.shape)
        vectors = max(1, self._tile_bytes // (12 * self._pool.shape[1]))
        width = max(1, min(vectors, rows.shape[1]))
        height = max(1, vectors // width)
        with torch.inference_mode():
            for top in range(0, rows.shape[0], height):
                for left in range(0, rows.shape[1], width):
                    tile = slice(top, top + height), slice(left, left + width)
                    sums[tile] = self._sums(queries[tile[0]], rows[tile])
        return sums

    def _sums(self, queries: Vectors, rows: Rows) -> Doubles:
        pool = self._pool if self._resident is None else self._resident
        chosen = torch.from_numpy(np.ascontiguousarray(rows)).to(pool.device)
        vectors = pool[chosen.reshape(-1)].view(*chosen.shape, -1).double()
        asked = torch.from_numpy(np.ascontiguousarray(queries)).to(pool.device).double()
        sums: Doubles = torch.bmm(vectors, asked[:, :, None])[:, :, 0].cpu().numpy()
        return sums

    def _block(self, start: int, end: int) -> torch.Tensor:
        if self._resident is not None:
            return self._resident[start:end]
        return self._pool[start:end].to(self._device, non_blocking=True)

    def _blocks(self, queries: int, looked: int) -> Iterator[tuple[int, int]]:
        """Rows whose scores for all queries, and whose vectors, are no more than a tile."""
        rows = self._tile_bytes // (4 * max(queries, self._pool.shape[1]))
        rows = max(rows, looked, 1)
        rows = rows // _GROUP * _GROUP or rows
        for start in range(0, len(self._pool), rows):
            yield start, min(start + rows, len(self._pool))


class FaissBackend(TorchBackend):
    """Exhaustive search by faiss, for a handful of queries."""

    def candidates(self, queries: Vectors, looked: int, on_tile: OnTile) -> Candidates:
        """See `Backend.candidates`."""
        import faiss

        pool = self._pool.numpy()
        scores, rows = faiss.knn(queries, pool, looked, metric=faiss.METRIC_INNER_PRODUCT)
        on_tile(1, 1)
        return Candidates(np.sort(rows, axis=1), scores[:, -1].astype(np.float64))


def coarse_error(dimension: int, device: str) -> float:
    """How far a product in float32, or on a GPU in TF32, may be off for vectors of length 1.

    Higham, Accuracy and Stability of Numerical Algorithms, 3.1. What a tensor core adds up may be
    cut off as well, which errs twice as far as rounding.
    """
    summed = 1.01 * dimension * _SINGLE_ROUNDOFF
    return 2 * summed + 2.01 * _TF32_ROUNDOFF if device == "cuda" else summed


def fastest(queries: int, rows: int, device: str) -> type[TorchBackend]:
    """Who is fastest for so many queries and rows; see the module's text for the measurements."""
    few = queries in _FAISS_QUERIES and rows <= _FAISS_ROWS
    return FaissBackend if device == "cpu" and few and find_spec("faiss") else TorchBackend


def best_by_groups(scores: torch.Tensor, looked: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best scores of each row and their columns, (n, looked) each, in no order.

    As many groups of neighbours as scores are wanted, those with the largest maxima, hold them all:
    another group has no score above the least of these maxima, and they are enough already. A
    GPU's top-k reads what it chooses from some six times, the maxima are read once.

    Args:
        scores: (n, m).
        looked: how many of each row, at most m.
    """
    n, columns = scores.shape
    groups = columns // _GROUP
    if columns % _GROUP or groups < _GROUPS_A_HIT * looked:
        found = torch.topk(scores, looked, sorted=False)
        return found.values, found.indices
    grouped = scores.view(n, groups, _GROUP)
    chosen = torch.topk(grouped.amax(dim=2), looked, sorted=False).indices
    members = grouped.gather(1, chosen[:, :, None].expand(-1, -1, _GROUP)).flatten(1)
    found = torch.topk(members, looked, sorted=False)
    first = chosen.gather(1, found.indices // _GROUP) * _GROUP
    return found.values, first + found.indices % _GROUP


def _merged(
    tops: list[tuple[torch.Tensor, torch.Tensor]], looked: int
) -> tuple[torch.Tensor, torch.Tensor]:
    if len(tops) == 1:
        return tops[0]
    scores = torch.cat([values for values, _ in tops], dim=1)
    rows = torch.cat([rows for _, rows in tops], dim=1)
    best = torch.topk(scores, min(looked, scores.shape[1]), sorted=False)
    return best.values, rows.gather(1, best.indices)


@contextmanager
def _tf32() -> Iterator[None]:
    """TF32 products on a GPU, six times as fast; `error` knows, and the way back is certain."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
