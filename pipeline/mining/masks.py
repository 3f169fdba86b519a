"""What keeps a passage from being a negative whatever it scores: its text, source and near copies.

All is asked for a candidate at a time, so that nothing here grows with queries times passages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.mining.rules import Reason
from pipeline.mining.scores import SCORE_DECIMALS, Rows, Vectors, norms_of, scores_of
from pipeline.texts import text_key

_COPIES_A_LOOK = 128
"""Candidates that are held against the positives at once: most queries need the first few alone."""


class Masks:
    """Tells by text and source.

    Args:
        texts: (m) those of the pool.
        sources: (m) what they come from, or empty where that doesn't matter.
    """

    def __init__(self, texts: Sequence[str], sources: Sequence[str]) -> None:
        self._texts = [text_key(text) for text in texts]
        self._sources = sources

    def against(
        self, positive_texts: Sequence[str], positive_sources: Sequence[str]
    ) -> Callable[[int], Reason | None]:
        """Why the passage in a row is no negative of a query, or None.

        Args:
            positive_texts: texts that answer the query.
            positive_sources: what its positives come from.
        """
        answers = {text_key(text) for text in positive_texts}
        sources = frozenset(positive_sources if self._sources else ())

        def reason(row: int) -> Reason | None:
            if self._texts[row] in answers:
                return "answers"
            return "same_document" if sources and self._sources[row] in sources else None

        return reason


class NearCopies:
    """Which candidates nearly repeat a positive, found as far as it is asked for.

    All of them at once would be a copy of the whole pool where a query searches so deep.

    Args:
        positives: (p, dimension).
        pool: (m, dimension), in memory or memory-mapped.
        rows: (n,) the candidates' rows, best first.
        least: the cosine from which on a candidate is a near copy.
    """

    def __init__(self, positives: Vectors, pool: Vectors, rows: Rows, least: float) -> None:
        self._positives, self._pool, self._rows, self._least = positives, pool, rows, least
        self._lengths = norms_of(positives)
        self._known: list[bool] = []

    def at(self, place: int) -> bool:
        """Whether the candidate at a place is one."""
        while place >= len(self._known):
            start = len(self._known)
            self._known += self._looked_at(self._rows[start : start + _COPIES_A_LOOK])
        return self._known[place]

    def _looked_at(self, rows: Rows) -> list[bool]:
        vectors = self._pool[rows]
        lengths = norms_of(vectors)
        near = np.zeros(len(rows), dtype=bool)
        for positive, length in zip(self._positives, self._lengths, strict=True):
            least = np.round(self._least * lengths * length, SCORE_DECIMALS)
            near |= scores_of(positive, vectors) >= least
        return [bool(one) for one in near]
