"""What a score is, to the last bit, and how to have many of them fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCORE_DECIMALS = 6
"""Scores that are equal to six decimals are ties: float32 vectors carry no more."""

UNITS = 10.0**SCORE_DECIMALS
"""A score times this is a whole number."""

_SINGLE_ROUNDOFF = 2.0**-24
_DOUBLE_ROUNDOFF = 2.0**-53
_ROWS_A_BLOCK = 4096
_KEYS_MAX = 2.0**62

Vectors = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """The best rows of queries, best first; ties in the order of the rows.

    Attributes:
        rows: (n, depth) row numbers of the pool; (depth,) of a query alone.
        scores: as many inner products, rounded to `SCORE_DECIMALS`.
    """

    rows: Rows
    scores: Doubles

    def __getitem__(self, queries: int | slice | NDArray[np.generic]) -> Hits:
        """Those of one query, or of some."""
        return Hits(self.rows[queries], self.scores[queries])

    def __iter__(self) -> Iterator[Hits]:
        """Query by query."""
        return map(Hits, self.rows, self.scores)


def scores_of(query: Vectors, vectors: Vectors) -> Doubles:
    """The definition of a score: the inner product in float64, rounded to `SCORE_DECIMALS`.

    Summed row by row, so that it doesn't depend on what else is scored.

    Args:
        query: (dimension,).
        vectors: (n, dimension).

    Returns:
        (n,).
    """
    return row_scores(np.broadcast_to(query, vectors.shape), vectors)


def row_scores(queries: Vectors, vectors: Vectors) -> Doubles:
    """The scores of as many pairs, (n,), by the definition of `scores_of`.

    Args:
        queries: (n, dimension).
        vectors: (n, dimension); row i is scored for query i.
    """
    scores = np.zeros(len(vectors))
    for start in range(0, len(vectors), _ROWS_A_BLOCK):
        block = slice(start, start + _ROWS_A_BLOCK)
        products = np.multiply(vectors[block], queries[block], dtype=np.float64)
        scores[block] = products.sum(axis=1).round(SCORE_DECIMALS)
    return scores + 0.0  # no negative zero


def norms_of(vectors: Vectors) -> Doubles:
    """(n,) lengths, in blocks: vectors may lie on the disk."""
    norms = np.zeros(len(vectors))
    for start in range(0, len(vectors), _ROWS_A_BLOCK):
        block = vectors[start : start + _ROWS_A_BLOCK]
        norms[start : start + _ROWS_A_BLOCK] = np.sqrt(
            np.einsum("ij,ij->i", block, block, dtype=np.float64)
        )
    return norms


def longest_of(vectors: Vectors) -> float:
    """At least the length of the longest vector, by sums in float32: a twelfth of the time.

    Not finite where one of the numbers isn't, or where float32 can't hold a square.
    """
    starts = range(0, len(vectors), _ROWS_A_BLOCK)
    blocks = (vectors[start : start + _ROWS_A_BLOCK] for start in starts)
    squares = [np.einsum("ij,ij->i", block, block).max() for block in blocks]
    # A sum of n squares may have lost n u of itself: Higham, section 3.1.
    return float(np.sqrt(np.max(squares, initial=0.0)) * (1 + vectors.shape[1] * _SINGLE_ROUNDOFF))


def certified(
    sums: Doubles, longest: Doubles, dimension: int, again: Callable[[Rows, Rows], Doubles]
) -> Doubles:
    """Inner products that were summed in any order in float64, as the definition rounds them.

    Two such sums differ by at most twice n u |q| |p|, u = 2**-53 (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1). Only a sum that lies so near to where rounding turns could
    round otherwise, and is computed again by the definition: one in a million.

    Args:
        sums: (n, m) inner products, overwritten.
        longest: (n,) for each query, its length times that of the longest vector.
        dimension: of the vectors.
        again: the scores by definition of (query numbers, columns).

    Returns:
        (n, m) scores in whole `1 / UNITS`.
    """
    sums *= UNITS
    whole: Doubles = np.rint(sums)
    off = np.abs(np.subtract(sums, whole, out=sums), out=sums)
    # The product with UNITS rounds, too.
    error = (2.02 * dimension + 2) * _DOUBLE_ROUNDOFF * longest * UNITS
    # The same for two dimensions takes ten times as long.
    near = np.flatnonzero(off >= 0.5 - error[:, None])
    if len(near):
        queries, columns = np.divmod(near, whole.shape[1])
        whole[queries, columns] = np.rint(again(queries, columns) * UNITS)
    return whole


def best_rows(whole: Doubles, depth: int) -> tuple[Rows, Doubles]:
    """The best columns of each row, best first, ties in the order of the columns.

    Args:
        whole: (n, m) scores in whole units.
        depth: how many, at most m.

    Returns:
        (n, depth) columns and (n, depth) scores, rounded to `SCORE_DECIMALS`.
    """
    columns = whole.shape[1]
    if not whole.size or not depth:
        return np.zeros((len(whole), 0), np.int64), np.zeros((len(whole), 0))
    if max(whole.max(), -whole.min()) < _KEYS_MAX / columns:
        # One whole number holds score and column, so that nothing is left to chance.
        keys = whole.astype(np.int64)
        keys *= columns
        keys += np.arange(columns - 1, -1, -1)
        if depth < columns:
            keys.partition(columns - depth, axis=1)
            keys = keys[:, columns - depth :]
        keys = np.sort(keys, axis=1)[:, ::-1]
        units, places = np.divmod(keys, columns)
        return columns - 1 - places, units / UNITS + 0.0
    order = np.argsort(-whole, axis=1, kind="stable")[:, :depth]
    return order, np.take_along_axis(whole, order, axis=1) / UNITS + 0.0
