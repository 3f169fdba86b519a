"""Exact rankings: every passage is scored, the best are kept.

One rule for every system, and for verification: scores are float32, the higher one first, and
equal scores by passage id descending, as trec_eval ranks them (`form_res_rels.c`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.beir import Ranking
from pipeline.bm25 import Bm25

_BLOCK = 64
"""Queries scored at once: 64 rows over a million passages are 256 MB, and as much in order."""

Vectors = npt.NDArray[np.float32]


def rank_vectors(
    queries: Vectors, passages: Vectors, passage_ids: Sequence[str], k: int
) -> Iterator[Ranking]:
    """Rank by dot product; passages stay where they are, which may be a file.

    Args:
        queries: `[queries, dimension]`.
        passages: `[passages, dimension]`.
        passage_ids: ids of the passages, in their order.
        k: how many are kept.

    Yields:
        One ranking a query, in order.
    """
    order = _descending(passage_ids)
    names = [passage_ids[position] for position in order]
    columns, every = np.array(order, dtype=np.intp), np.arange(len(names))
    for start in range(0, len(queries), _BLOCK):
        # A copy of the scores in the order of the names, instead of one of all vectors.
        for scores in (queries[start : start + _BLOCK] @ passages.T)[:, columns]:
            yield _best(scores, every, names, k)


def rank_bm25(
    queries: Iterable[str], passages: Sequence[str], passage_ids: Sequence[str], k: int
) -> Iterator[Ranking]:
    """Rank by BM25; passages that share no term with the query are not in its ranking.

    Args:
        queries: texts.
        passages: texts.
        passage_ids: ids of the passages, in their order.
        k: how many are kept.

    Yields:
        One ranking a query, in order; shorter than `k` where few passages match.
    """
    order = _descending(passage_ids)
    names = [passage_ids[position] for position in order]
    index = Bm25([passages[position] for position in order])
    for query in queries:
        scores = index.scores(query).astype(np.float32)
        yield _best(scores, np.flatnonzero(scores > 0), names, k)


def _descending(ids: Sequence[str]) -> list[int]:
    return sorted(range(len(ids)), key=ids.__getitem__, reverse=True)


def _best(
    scores: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.intp],
    names: Sequence[str],
    k: int,
) -> Ranking:
    """The best `k` candidates; `names` are in descending order, so a stable sort breaks ties."""
    if len(candidates) > k:
        # Everything as good as the k-th stays, or ties at the cut would fall by chance.
        bar = np.partition(scores[candidates], -k)[-k]
        candidates = candidates[scores[candidates] >= bar]
    best = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
    return tuple((names[position], float(scores[position])) for position in best)
