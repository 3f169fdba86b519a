"""Hard negatives of many queries, exactly as `pipeline.mining.rules` defines them.

Candidates come from an exact search, and as deep as it takes. With a reranker they are the best
`prep.search_depth` of that search, and the rule is applied to the reranker's scores instead.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pipeline.mining.rules import Reason, ceiling, choose, shortfall
from pipeline.mining.scores import SCORE_DECIMALS, Hits, Vectors, norms_of, row_scores, scores_of
from pipeline.mining.search import ExactSearch
from pipeline.settings import PrepSettings
from pipeline.texts import normalised

_QUERIES_A_CALL = 1024
_HITS_A_CALL = 2**24
"""Rows and scores of so many hits are held at once: a quarter of a gigabyte."""
_DEEPER = 8

Rescore = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""A reranker: scores of (question, passage) pairs, in the order given."""


@dataclass(frozen=True)
class Pool:
    """The passages that may become negatives, sorted by id, so that ties go by id.

    Attributes:
        ids: (m) passage ids, ascending.
        texts: (m) their texts.
        vectors: (m, dimension) float32, in memory or memory-mapped.
        sources: (m) what they come from, such as their document; empty where that doesn't matter.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    vectors: Vectors
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """One query that needs negatives.

    Attributes:
        vector: (dimension,) float32.
        positives: (p, dimension) float32; they need not be in the pool.
        positive_texts: texts that answer it: its positives' in order, then those of the same
            question elsewhere.
        question: its text, for a reranker.
        name: what tells it from other queries, for drawing.
        sources: what its positives come from; the same words as `Pool.sources`.
    """

    vector: Vectors
    positives: Vectors
    positive_texts: tuple[str, ...]
    question: str = ""
    name: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mined:
    """What was found for one query.

    Attributes:
        negatives: (passage id, score), highest score first, ties by id.
        positive_scores: the score of each positive, in the order given.
        shortfall: why there are fewer negatives than asked for, or empty.
        set_aside: how many candidates were passed over, by reason.
    """

    negatives: tuple[tuple[str, float], ...]
    positive_scores: tuple[float, ...]
    shortfall: str
    set_aside: Mapping[Reason, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Index:
    """Where texts and sources lie in the pool."""

    rows_of_text: Mapping[str, list[int]]
    rows_of_source: Mapping[str, list[int]]

    def known(self, query: Wanted) -> dict[int, Reason]:
        """Rows that are no negatives whatever they score."""
        known: dict[int, Reason] = {}
        for source in query.sources:
            known |= dict.fromkeys(self.rows_of_source.get(source, ()), "same_document")
        for text in query.positive_texts:
            known |= dict.fromkeys(self.rows_of_text.get(normalised(text), ()), "answers")
        return known


class Miner:
    """Mines in one pool, by any rule.

    Args:
        pool: where negatives come from.
        device: where to search, `cpu` or `cuda`.
    """

    def __init__(self, pool: Pool, device: str = "cpu") -> None:
        self._pool = pool
        self._search = ExactSearch(pool.vectors, device)
        self._index = _Index(_rows_by(map(normalised, pool.texts)), _rows_by(pool.sources))

    def mine(
        self,
        queries: Sequence[Wanted],
        settings: PrepSettings,
        on_queries: Callable[[int, int], None] = lambda done, total: None,
        rescore: Rescore | None = None,
    ) -> list[Mined]:
        """The hard negatives of each query, in the order given; none where it has no positive.

        Args:
            queries: what needs negatives.
            settings: the rule, how many, and how deep to search at first.
            on_queries: called with (done, total) now and then; it may raise to stop.
            rescore: a reranker, whose scores then decide instead of the vectors'.
        """
        mined: list[Mined] = []
        for start in range(0, len(queries), _QUERIES_A_CALL):
            some = queries[start : start + _QUERIES_A_CALL]
            poll = partial(on_queries, len(mined), len(queries))
            work = _Work(some, self._pool, settings, self._search, self._index, poll)
            mined += work.rescored(rescore) if rescore else work.searched()
            on_queries(len(mined), len(queries))
        return mined


class _Work:
    """Mining for some of the queries."""

    def __init__(
        self,
        queries: Sequence[Wanted],
        pool: Pool,
        settings: PrepSettings,
        search: ExactSearch,
        index: _Index,
        poll: Callable[[], None],
    ) -> None:
        self._queries = queries
        self._pool = pool
        self._settings = settings
        self._search = search
        self._known = [index.known(query) for query in queries]
        self._poll = poll
        self._positives = _positive_scores(queries)

    def searched(self) -> list[Mined]:
        """Search deeper, up to the whole pool, for the queries whose negatives are too few."""
        found: dict[int, Mined] = {}
        pending = [number for number, scores in enumerate(self._positives) if scores]
        depth = min(self._settings.search_depth, len(self._pool.ids))
        while pending:
            for number, hits in self._hits(pending, depth):
                one, enough = self._ruled(number, hits, self._known_at(number, hits))
                if enough or depth == len(self._pool.ids):
                    found[number] = one
            pending = [number for number in pending if number not in found]
            depth = min(depth * _DEEPER, len(self._pool.ids))
        return [found.get(number, _NOTHING) for number in range(len(self._queries))]

    def rescored(self, rescore: Rescore) -> list[Mined]:
        """The same for the best of the search alone, by the scores of a reranker."""
        pending = [number for number, scores in enumerate(self._positives) if scores]
        depth = min(self._settings.search_depth, len(self._pool.ids))
        hits = dict(self._hits(pending, depth))
        candidates = {
            number: [*map(self._known_at(number, hits[number]), range(depth))] for number in pending
        }
        pairs: list[tuple[str, str]] = []
        for number in pending:
            query, rows = self._queries[number], hits[number].rows.tolist()
            texts = [*query.positive_texts[: len(query.positives)]]
            free = zip(rows, candidates[number], strict=True)
            texts += [self._pool.texts[row] for row, why in free if not why]
            pairs += [(query.question, text) for text in texts]
        scores = iter(np.round(rescore(pairs), SCORE_DECIMALS).tolist())
        return [
            self._ranked_again(number, hits[number], candidates[number], scores)
            if number in hits
            else _NOTHING
            for number in range(len(self._queries))
        ]

    def _ranked_again(
        self, number: int, hits: Hits, known: list[Reason | None], scores: Iterator[float]
    ) -> Mined:
        """Apply the rule to the order that the next of a reranker's scores make."""
        own = tuple(next(scores) for _ in self._positives[number])
        # What is known to be no negative has no score; it is counted, and stands first.
        given = [next(scores) if why is None else math.inf for why in known]
        order = np.lexsort((hits.rows, -np.array(given)))
        again = Hits(hits.rows[order], np.array(given)[order])
        one, _ = self._ruled(number, again, [known[n] for n in order.tolist()].__getitem__, own)
        return one

    def _ruled(
        self,
        number: int,
        hits: Hits,
        known: Callable[[int], Reason | None],
        positives: tuple[float, ...] = (),
    ) -> tuple[Mined, bool]:
        """What the rule leaves of some hits, and whether further ones could change nothing."""
        own = positives or self._positives[number]
        limit = ceiling(min(own), self._settings)
        ids, rows = self._pool.ids, hits.rows.tolist()
        choice = choose(
            hits.scores.tolist(),
            known,
            limit,
            self._settings,
            lambda place: f"{self._queries[number].name}\n{ids[rows[place]]}",
        )
        negatives = tuple((ids[rows[place]], float(hits.scores[place])) for place in choice.places)
        passages = f"{len(ids)} training passages"
        whole = len(rows) == len(ids)
        said = shortfall(
            len(negatives),
            self._settings.hard_negatives,
            f"of {passages}" if whole else f"of the nearest {len(rows)} of {passages}",
            choice,
            round(limit, SCORE_DECIMALS),
        )
        return Mined(negatives, own, said, choice.set_aside), choice.enough

    def _hits(self, pending: Sequence[int], depth: int) -> Iterable[tuple[int, Hits]]:
        step = max(1, _HITS_A_CALL // max(1, depth))
        for start in range(0, len(pending), step):
            some = pending[start : start + step]
            vectors = np.stack([self._queries[number].vector for number in some])
            yield from zip(
                some,
                self._search.search(vectors, depth, lambda done, total: self._poll()),
                strict=True,
            )

    def _known_at(self, number: int, hits: Hits) -> Callable[[int], Reason | None]:
        """What speaks against the hit at a place apart from its score."""
        query, masked, rows = self._queries[number], self._known[number], hits.rows.tolist()
        if not self._settings.duplicate_similarity:
            return lambda place: masked.get(rows[place])
        near = _near_copies(query, self._pool.vectors[hits.rows], self._settings)
        return lambda place: masked.get(rows[place]) or ("near_copy" if near[place] else None)


_NOTHING = Mined((), (), "0: the question has no passage that answers it")


def _rows_by(keys: Iterable[str]) -> Mapping[str, list[int]]:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return rows


def _positive_scores(queries: Sequence[Wanted]) -> list[tuple[float, ...]]:
    """The scores of each query's positives by their vectors, all at once."""
    counts = [len(query.positives) for query in queries]
    if not sum(counts):
        return [()] * len(queries)
    vectors = np.concatenate([query.positives for query in queries if len(query.positives)])
    asked = np.repeat(np.stack([query.vector for query in queries]), counts, axis=0)
    scores = row_scores(asked, vectors).tolist()
    ends = np.cumsum(counts).tolist()
    return [tuple(scores[end - n : end]) for n, end in zip(counts, ends, strict=True)]


def _near_copies(query: Wanted, vectors: Vectors, settings: PrepSettings) -> list[bool]:
    """Whether the cosine of a candidate with a positive reaches `duplicate_similarity`."""
    near = np.zeros(len(vectors), dtype=bool)
    lengths = norms_of(vectors)
    for positive, length in zip(query.positives, norms_of(query.positives), strict=True):
        least = settings.duplicate_similarity * lengths * length
        near |= scores_of(positive, vectors) >= np.round(least, SCORE_DECIMALS)
    return [bool(one) for one in near]
