"""Hard negatives of many queries, exactly as `pipeline.mining.rules` defines them.

Candidates come from an exact search, and as deep as it takes. With a reranker they are the best
`prep.search_depth` of that search, and the rule is applied to the reranker's scores instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pipeline.errors import StageFailure
from pipeline.mining.masks import Masks, NearCopies
from pipeline.mining.rules import Reason, ceiling, choose, shortfall
from pipeline.mining.scores import SCORE_DECIMALS, Hits, Vectors, row_scores
from pipeline.mining.search import ExactSearch
from pipeline.settings import PrepSettings

_QUERIES_A_CALL = 1024
_HITS_A_CALL = 2**24
"""Rows and scores of so many hits are held at once: a quarter of a gigabyte."""

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


class Miner:
    """Mines in one pool, by any rule.

    Args:
        pool: where negatives come from.
        device: where to search, `cpu` or `cuda`.
    """

    def __init__(self, pool: Pool, device: str = "cpu") -> None:
        self._pool = pool
        self._search = ExactSearch(pool.vectors, device)
        self._masks = Masks(pool.texts, pool.sources)

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

        Raises:
            StageFailure: a query's vector, or that of a positive, is not finite.
        """
        return self.compare(queries, [settings], on_queries, rescore)[0]

    def compare(
        self,
        queries: Sequence[Wanted],
        rules: Sequence[PrepSettings],
        on_queries: Callable[[int, int], None] = lambda done, total: None,
        rescore: Rescore | None = None,
    ) -> list[list[Mined]]:
        """What `mine` finds by each of several settings, in their order; they share a search.

        Args:
            queries: see `mine`.
            rules: settings for each time.
            on_queries: called with (done, total) of the queries of every time.
            rescore: see `mine`.

        Raises:
            StageFailure: see `mine`.
        """
        mined: list[list[Mined]] = [[] for _ in rules]
        done, total = 0, len(queries) * len(rules)
        for start in range(0, len(queries), _QUERIES_A_CALL):
            some = queries[start : start + _QUERIES_A_CALL]
            nearest = _Nearest(some, self._search)
            for settings, found in zip(rules, mined, strict=True):
                poll = partial(on_queries, done, total)
                work = _Work(some, self._pool, settings, nearest, self._masks, poll)
                found += work.rescored(rescore) if rescore else work.searched()
                done += len(some)
                on_queries(done, total)
        return mined


class _Nearest:
    """The nearest rows of some queries; those that were asked for first are kept for another rule.

    Args:
        queries: whose.
        search: in the pool.
    """

    def __init__(self, queries: Sequence[Wanted], search: ExactSearch) -> None:
        self._queries = queries
        self._search = search
        self._kept: tuple[int, dict[int, Hits]] = (-1, {})

    def hits(
        self, numbers: Sequence[int], depth: int, poll: Callable[[], None]
    ) -> Iterable[tuple[int, Hits]]:
        """The hits of some of the queries by number, some at a time where they are many."""
        kept_depth, kept = self._kept
        if depth == kept_depth and all(number in kept for number in numbers):
            return [(number, kept[number]) for number in numbers]
        found = self._searched(numbers, depth, poll)
        if kept_depth >= 0 or depth * len(numbers) > _HITS_A_CALL:
            return found
        self._kept = depth, dict(found)
        return self._kept[1].items()

    def next_depth(self, depth: int) -> int:
        """See `ExactSearch.next_depth`."""
        return self._search.next_depth(depth)

    def _searched(
        self, numbers: Sequence[int], depth: int, poll: Callable[[], None]
    ) -> Iterator[tuple[int, Hits]]:
        step = max(1, _HITS_A_CALL // max(1, depth))
        for start in range(0, len(numbers), step):
            some = numbers[start : start + step]
            vectors = np.stack([self._queries[number].vector for number in some])
            hits = self._search.search(vectors, depth, lambda done, total: poll())
            yield from zip(some, hits, strict=True)


class _Work:
    """Mining for some of the queries."""

    def __init__(
        self,
        queries: Sequence[Wanted],
        pool: Pool,
        settings: PrepSettings,
        nearest: _Nearest,
        masks: Masks,
        poll: Callable[[], None],
    ) -> None:
        self._queries = queries
        self._pool = pool
        self._settings = settings
        self._nearest = nearest
        self._masked = [masks.against(query.positive_texts, query.sources) for query in queries]
        self._poll = poll
        self._positives = _positive_scores(queries)

    def searched(self) -> list[Mined]:
        """Search deeper, up to the whole pool, for the queries whose negatives are too few."""
        found: dict[int, Mined] = {}
        pending = [number for number, scores in enumerate(self._positives) if scores]
        depth = min(self._settings.search_depth, len(self._pool.ids))
        while pending:
            for number, hits in self._nearest.hits(pending, depth, self._poll):
                one, enough = self._ruled(number, hits, self._known_at(number, hits))
                if enough or depth == len(self._pool.ids):
                    found[number] = one
            pending = [number for number in pending if number not in found]
            depth = self._nearest.next_depth(depth)
        return [found.get(number, _NOTHING) for number in range(len(self._queries))]

    def rescored(self, rescore: Rescore) -> list[Mined]:
        """The same for the best of the search alone, by the scores of a reranker."""
        pending = [number for number, scores in enumerate(self._positives) if scores]
        depth = min(self._settings.search_depth, len(self._pool.ids))
        hits = dict(self._nearest.hits(pending, depth, self._poll))
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

    def _known_at(self, number: int, hits: Hits) -> Callable[[int], Reason | None]:
        """What speaks against the hit at a place apart from its score."""
        query, masked, rows = self._queries[number], self._masked[number], hits.rows.tolist()
        least = self._settings.duplicate_similarity
        if not least:
            return lambda place: masked(rows[place])
        near = NearCopies(query.positives, self._pool.vectors, hits.rows, least)
        return lambda place: masked(rows[place]) or ("near_copy" if near.at(place) else None)


_NOTHING = Mined((), (), "0: the question has no passage that answers it")


def _positive_scores(queries: Sequence[Wanted]) -> list[tuple[float, ...]]:
    """The scores of each query's positives by their vectors, all at once.

    Raises:
        StageFailure: one is not finite, and would let every candidate pass.
    """
    counts = [len(query.positives) for query in queries]
    if not sum(counts):
        return [()] * len(queries)
    vectors = np.concatenate([query.positives for query in queries if len(query.positives)])
    asked = np.repeat(np.stack([query.vector for query in queries]), counts, axis=0)
    scores = row_scores(asked, vectors).tolist()
    ends = np.cumsum(counts).tolist()
    found = [tuple(scores[end - n : end]) for n, end in zip(counts, ends, strict=True)]
    for query, own in zip(queries, found, strict=True):
        if not all(map(math.isfinite, own)):
            raise StageFailure(
                f"The question {query.name} or a passage that answers it has a vector that is not "
                "finite.",
                safe="Nothing was written from it.",
                next_step="The weights that made it are damaged: get them again.",
            )
    return found
