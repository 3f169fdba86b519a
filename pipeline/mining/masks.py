"""What keeps a passage from being a negative whatever it scores: its text, source and near copies.

All is asked for candidates alone, so that nothing here grows with queries times passages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from pipeline.mining.rules import NUMBERS, Reasons
from pipeline.mining.scores import SCORE_DECIMALS, Rows, Vectors, norms_of, scores_of
from pipeline.texts import text_key

_COPIES_A_LOOK = 128
"""Candidates that are held against the positives at once: most queries need the first few alone."""

_ELSEWHERE = -1
"""The number of words that aren't in the pool."""

Mask = NDArray[np.bool_]


class Masks:
    """Tells by text and source.

    Args:
        texts: (m) those of the pool.
        sources: (m) what they come from, or empty where that doesn't matter.
    """

    def __init__(self, texts: Sequence[str], sources: Sequence[str]) -> None:
        self._texts = _Numbered(texts, text_key)
        self._sources = _Numbered(sources, str) if sources else None

    def known(
        self, rows: Rows, texts: Sequence[Sequence[str]], sources: Sequence[Sequence[str]]
    ) -> Reasons:
        """Why the candidates of some queries are no negatives.

        Args:
            rows: (n, depth) theirs.
            texts: (n) texts that answer each query.
            sources: (n) what each one's positives come from.

        Returns:
            (n, depth).
        """
        known = np.zeros(rows.shape, dtype=np.uint8)
        if self._sources is not None:
            known[self._sources.among(rows, sources)] = NUMBERS["same_document"]
        known[self._texts.among(rows, texts)] = NUMBERS["answers"]
        return known


class _Numbered:
    """The words of a pool as numbers, which are compared many at a time.

    Args:
        words: (m) one for each row.
        identity: equal for words that count as the same.
    """

    def __init__(self, words: Sequence[str], identity: Callable[[str], Hashable]) -> None:
        self._identity = identity
        self._numbers: dict[Hashable, int] = {}
        # By the word as it stands: most that are asked for stand in the pool, and a look is cheap.
        self._found: dict[str, int] = {}
        for word in words:
            if word not in self._found:
                number = self._numbers.setdefault(identity(word), len(self._numbers))
                self._found[word] = number
        self._of_rows = np.array([self._found[word] for word in words], dtype=np.int32)

    def among(self, rows: Rows, words: Sequence[Sequence[str]]) -> Mask:
        """Whether the word of each row, (n, depth), is among the words of its line, (n) any."""
        asked = [[self._number(word) for word in some] for some in words]
        own = self._of_rows[rows]
        among = np.zeros(rows.shape, dtype=bool)
        for column in zip_longest(*asked, fillvalue=_ELSEWHERE):
            among |= own == np.array(column, dtype=np.int32)[:, None]
        return among

    def _number(self, word: str) -> int:
        found = self._found.get(word)
        return self._numbers.get(self._identity(word), _ELSEWHERE) if found is None else found


def near_copies(
    positives: Vectors, pool: Vectors, rows: Rows, least: float, could: Mask, wanted: int
) -> Mask:
    """Which candidates nearly repeat a positive, as far as it takes to find enough that don't.

    All of them at once would be a copy of the whole pool where a query searches so deep.

    Args:
        positives: (p, dimension).
        pool: (m, dimension), in memory or memory-mapped.
        rows: (n,) the candidates' rows, best first.
        least: the cosine from which on a candidate is a near copy.
        could: (n,) which of them could be negatives otherwise.
        wanted: how many such are enough.
    """
    lengths = norms_of(positives)
    near = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), _COPIES_A_LOOK):
        if (could[:start] & ~near[:start]).sum() >= wanted:
            break
        some = slice(start, start + _COPIES_A_LOOK)
        vectors = pool[rows[some]]
        norms = norms_of(vectors)
        for positive, length in zip(positives, lengths, strict=True):
            cosine_least = np.round(least * norms * length, SCORE_DECIMALS)
            near[some] |= scores_of(positive, vectors) >= cosine_least
    return near
