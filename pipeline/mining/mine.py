"""Hard negatives of many queries, exactly as `pipeline.mining.rules` defines them.

Candidates come from an exact search, and as deep as it takes. With a reranker they are the best
`prep.search_depth` of that search, and the rule is applied to the reranker's scores instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from pipeline.errors import StageFailure
from pipeline.mining.masks import Mask, Masks, near_copies
from pipeline.mining.rules import (
    NUMBERS,
    Reason,
    Reasons,
    ceiling,
    choose,
    looked_for,
    shortfall,
)
from pipeline.mining.scores import SCORE_DECIMALS, Doubles, Hits, Vectors, row_scores
from pipeline.mining.search import ExactSearch
from pipeline.settings import PrepSettings

_QUERIES_A_CALL = 1024
_QUERIES_A_LOOK = 128
"""Their positives are copied together: so few that the copies lie in memory that is there. Ours."""
_HITS_A_CALL = 2**23
"""Rows, scores and reasons of so many hits are held at once: a quarter of a gigabyte. Ours."""

Rescore = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""A reranker: scores of (question, passage) pairs, in the order given."""

PositiveScores = tuple[float, ...]
"""Those of one query's positives, in the order given; none where it has no positive."""


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
            vectors = np.stack([query.vector for query in some])
            positives = _positive_scores(some, vectors)
            nearest = _Nearest(vectors, self._search)
            for settings, found in zip(rules, mined, strict=True):
                poll = partial(on_queries, done, total)
                work = _Work(some, positives, self._pool, settings, nearest, self._masks, poll)
                found += work.rescored(rescore) if rescore else work.searched()
                done += len(some)
                on_queries(done, total)
        return mined


class _Nearest:
    """The nearest rows of some queries; those that were asked for first are kept for another rule.

    Args:
        vectors: (n, dimension) the queries'.
        search: in the pool.
    """

    def __init__(self, vectors: Vectors, search: ExactSearch) -> None:
        self._vectors = vectors
        self._search = search
        self._asked: tuple[int, Sequence[int]] = (-1, ())
        self._kept: list[tuple[Sequence[int], Hits]] = []

    def hits(
        self, numbers: Sequence[int], depth: int, poll: Callable[[], None]
    ) -> Iterable[tuple[Sequence[int], Hits]]:
        """The hits of some of the queries by number, some at a time where they are many."""
        if (depth, numbers) == self._asked:
            return self._kept
        found = self._searched(numbers, depth, poll)
        if self._kept or depth * len(numbers) > _HITS_A_CALL:
            return found
        self._asked, self._kept = (depth, numbers), [*found]
        return self._kept

    def next_depth(self, depth: int) -> int:
        """See `ExactSearch.next_depth`."""
        return self._search.next_depth(depth)

    def _searched(
        self, numbers: Sequence[int], depth: int, poll: Callable[[], None]
    ) -> Iterator[tuple[Sequence[int], Hits]]:
        step = max(1, _HITS_A_CALL // max(1, depth))
        for start in range(0, len(numbers), step):
            some = numbers[start : start + step]
            vectors = self._vectors[some]
            yield some, self._search.search(vectors, depth, lambda done, total: poll())


@dataclass(frozen=True)
class _Candidates:
    """What was found for some queries.

    Attributes:
        numbers: (n) of the queries.
        hits: (n, depth).
        known: (n, depth) what speaks against the hits apart from their scores.
    """

    numbers: Sequence[int]
    hits: Hits
    known: Reasons


class _Work:
    """Mining for some of the queries."""

    def __init__(
        self,
        queries: Sequence[Wanted],
        positives: Sequence[PositiveScores],
        pool: Pool,
        settings: PrepSettings,
        nearest: _Nearest,
        masks: Masks,
        poll: Callable[[], None],
    ) -> None:
        self._queries = queries
        self._positives = positives
        self._pool = pool
        self._settings = settings
        self._nearest = nearest
        self._masks = masks
        self._poll = poll
        self._answered = [number for number, scores in enumerate(positives) if scores]
        self._depth = min(settings.search_depth, len(pool.ids))

    def searched(self) -> list[Mined]:
        """Search deeper, up to the whole pool, for the queries whose negatives are too few."""
        found: dict[int, Mined] = {}
        pending, depth = self._answered, self._depth
        while pending:
            for numbers, hits in self._nearest.hits(pending, depth, self._poll):
                positives = [self._positives[number] for number in numbers]
                limits = self._limits(positives)
                could = hits.scores <= limits[:, None]
                some = self._candidates(numbers, hits, could, looked_for(self._settings))
                ruled = self._ruled(some, positives, limits)
                for number, (one, enough) in zip(numbers, ruled, strict=True):
                    if enough or depth == len(self._pool.ids):
                        found[number] = one
            pending = [number for number in pending if number not in found]
            depth = self._nearest.next_depth(depth)
        return self._in_order(found)

    def rescored(self, rescore: Rescore) -> list[Mined]:
        """The same for the best of the search alone, by the scores of a reranker."""
        parts = [
            self._candidates(numbers, hits, np.ones(hits.rows.shape, dtype=bool), self._depth)
            for numbers, hits in self._nearest.hits(self._answered, self._depth, self._poll)
        ]
        pairs = [pair for some in parts for pair in self._pairs(some)]
        scores = iter(np.round(rescore(pairs), SCORE_DECIMALS).tolist())
        found: dict[int, Mined] = {}
        for some in parts:
            again, positives = self._ranked_again(some, scores)
            ruled = self._ruled(again, positives, self._limits(positives))
            found |= {n: one for n, (one, _) in zip(some.numbers, ruled, strict=True)}
        return self._in_order(found)

    def _in_order(self, found: Mapping[int, Mined]) -> list[Mined]:
        return [found.get(number, _NOTHING) for number in range(len(self._queries))]

    def _pairs(self, some: _Candidates) -> Iterator[tuple[str, str]]:
        """What a reranker scores: each query's positives, then its candidates that may be taken."""
        for number, rows, known in zip(some.numbers, some.hits.rows, some.known, strict=True):
            query = self._queries[number]
            texts = [*query.positive_texts[: len(query.positives)]]
            texts += [self._pool.texts[row] for row in rows[known == 0].tolist()]
            yield from ((query.question, text) for text in texts)

    def _ranked_again(
        self, some: _Candidates, scores: Iterator[float]
    ) -> tuple[_Candidates, list[PositiveScores]]:
        """The order that the next of a reranker's scores make, and those of the positives."""
        positives: list[PositiveScores] = []
        # What is known to be no negative has no score; it is counted, and stands first.
        given = np.full(some.hits.rows.shape, np.inf)
        for number, known, own in zip(some.numbers, some.known, given, strict=True):
            positives.append(tuple(islice(scores, len(self._positives[number]))))
            free = np.flatnonzero(known == 0)
            own[free] = [*islice(scores, len(free))]
        order = np.lexsort((some.hits.rows, -given))
        rows, given, known = (
            np.take_along_axis(each, order, axis=1) for each in (some.hits.rows, given, some.known)
        )
        return _Candidates(some.numbers, Hits(rows, given), known), positives

    def _ruled(
        self, some: _Candidates, positives: Sequence[PositiveScores], limits: Doubles
    ) -> Iterator[tuple[Mined, bool]]:
        """What the rule leaves of some hits, and whether further ones could change nothing."""
        ids, rows, scores = self._pool.ids, some.hits.rows, some.hits.scores
        asked = [self._queries[number].name for number in some.numbers]
        choices = choose(
            scores,
            some.known,
            limits,
            self._settings,
            lambda query, place: f"{asked[query]}\n{ids[rows[query, place]]}",
        )
        depth, passages = rows.shape[1], f"{len(ids)} training passages"
        looked = f"of {passages}" if depth == len(ids) else f"of the nearest {depth} of {passages}"
        # All at once: reading an array number by number takes most of the time here.
        counts = [len(choice.places) for choice in choices]
        at = np.repeat(range(len(rows)), counts), [place for one in choices for place in one.places]
        left = zip(map(ids.__getitem__, rows[at].tolist()), scores[at].tolist(), strict=True)
        for choice, own, limit in zip(choices, positives, limits.tolist(), strict=True):
            negatives = tuple(islice(left, len(choice.places)))
            said = shortfall(len(negatives), self._settings.hard_negatives, looked, choice, limit)
            yield Mined(negatives, own, said, choice.set_aside), choice.enough

    def _limits(self, positives: Sequence[PositiveScores]) -> Doubles:
        return np.array([ceiling(min(own), self._settings) for own in positives])

    def _candidates(
        self, numbers: Sequence[int], hits: Hits, could: Mask, wanted: int
    ) -> _Candidates:
        """What speaks against some hits apart from their scores.

        Args:
            numbers: (n) of the queries.
            hits: (n, depth).
            could: (n, depth) which of them could be negatives by their scores.
            wanted: so many negatives of a query are enough; what follows them may stay unknown.
        """
        queries = [self._queries[number] for number in numbers]
        known = self._masks.known(
            hits.rows,
            [query.positive_texts for query in queries],
            [query.sources for query in queries],
        )
        least = self._settings.duplicate_similarity
        if least:
            for query, rows, may, why in zip(queries, hits.rows, could, known, strict=True):
                free = np.flatnonzero(why == 0)
                near = near_copies(
                    query.positives, self._pool.vectors, rows[free], least, may[free], wanted
                )
                why[free[near]] = NUMBERS["near_copy"]
        return _Candidates(numbers, hits, known)


_NOTHING = Mined((), (), "0: the question has no passage that answers it")


def _positive_scores(queries: Sequence[Wanted], vectors: Vectors) -> list[PositiveScores]:
    """The scores of each query's positives by their vectors.

    Args:
        queries: (n) whose.
        vectors: (n, dimension) the queries'.

    Raises:
        StageFailure: one is not finite, and would let every candidate pass.
    """
    found: list[PositiveScores] = []
    for start in range(0, len(queries), _QUERIES_A_LOOK):
        some = queries[start : start + _QUERIES_A_LOOK]
        counts = [len(query.positives) for query in some]
        asked = np.repeat(vectors[start : start + len(some)], counts, axis=0)
        scores = row_scores(asked, np.concatenate([query.positives for query in some]))
        each = iter(scores.tolist())
        found += [tuple(islice(each, count)) for count in counts]
    for query, own in zip(queries, found, strict=True):
        if not all(map(math.isfinite, own)):
            raise StageFailure(
                f"The question {query.name} or a passage that answers it has a vector that is not "
                "finite.",
                safe="Nothing was written from it.",
                next_step="The weights that made it are damaged: get them again.",
            )
    return found
