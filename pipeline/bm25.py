"""BM25: lexical ranking of passages, with no model and no training."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.texts import terms

K1 = 1.2
"""How fast a repeated term stops counting. Robertson and Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond" (2009), section 3.5.1, find 1.2 < k1 < 2 and 0.5 < b < 0.8 good; 1.2 and
0.75 are Lucene's defaults."""
B = 0.75
"""How much a long passage is held against itself; see `K1`."""


class Bm25:
    """An index over texts, addressed by their position.

    The weight of a term is ln(1 + (N - df + 0.5) / (df + 0.5)), never negative; the rest is
    the formula of Robertson and Zaragoza (2009), equation 3.15.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        lengths = np.zeros(len(texts))
        for position, text in enumerate(texts):
            counts = Counter(terms(text))
            lengths[position] = counts.total()
            for term, count in counts.items():
                postings[term].append((position, count))
        self._size = len(texts)
        mean = float(lengths.mean()) if lengths.any() else 1.0
        penalty = K1 * (1 - B + B * lengths / mean)
        self._postings = {
            term: _weighted(entries, self._size, penalty) for term, entries in postings.items()
        }

    def search(
        self, queries: Sequence[str], k: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The best `k` texts for each query, best first.

        Texts that share no term with the query are never hits. Equal scores come in the order of
        their positions; an evaluation that breaks ties by id ranks again.

        Returns:
            Positions and scores, both `[len(queries), k]`; rows with fewer hits end in position
            -1 and score 0.
        """
        positions = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.zeros((len(queries), k))
        for row, query in enumerate(queries):
            found = self.scores(query)
            hits = np.flatnonzero(found)
            if len(hits) > k:
                # Keep everything as good as the k-th, so that ties fall by position below.
                hits = hits[found[hits] >= np.partition(found[hits], -k)[-k]]
            best = hits[np.lexsort((hits, -found[hits]))][:k]
            positions[row, : len(best)] = best
            scores[row, : len(best)] = found[best]
        return positions, scores

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        """The score of every text for one query, `[texts]`; 0 where no term is shared."""
        found = np.zeros(self._size)
        for term, count in Counter(terms(query)).items():
            if term in self._postings:
                where, weights = self._postings[term]
                found[where] += count * weights
        return found


def _weighted(
    entries: Sequence[tuple[int, int]], size: int, penalty: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    where = np.array([position for position, _ in entries], dtype=np.int64)
    counts = np.array([count for _, count in entries], dtype=np.float64)
    idf = math.log(1 + (size - len(entries) + 0.5) / (len(entries) + 0.5))
    return where, idf * counts * (K1 + 1) / (counts + penalty[where])
