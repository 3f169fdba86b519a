"""The user's own queries are kept out of training: what asks the same is flagged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.queries import OwnQuery, asks
from pipeline.sdg.records import Flag, Sample
from pipeline.texts import terms

ASKED = "asked"
"""The flag's name."""


def flag_asked(
    samples: Sequence[Sample], queries: Iterable[OwnQuery], similarity: float
) -> list[Sample]:
    """The samples, each that would be trained on and asks what a user's query asks flagged.

    The same is asked by equal texts, case and blanks aside, or by bags of terms that are so alike
    (Jaccard), as among the questions themselves. Test questions stay: they measure, too.

    Args:
        samples: in their order.
        queries: the user's own.
        similarity: from which on two bags of terms ask the same; 1 means the same words.
    """
    index = _Index(queries, similarity)
    return [
        _flagged(sample, query)
        if sample.role != "test" and (query := index.same(sample.question))
        else sample
        for sample in samples
    ]


def _flagged(sample: Sample, query: OwnQuery) -> Sample:
    flag = Flag(ASKED, f"asks the same as your query {query.text!r}", blocking=True)
    return replace(sample, flags=(*sample.flags, flag))


class _Index:
    """Own queries by their terms."""

    def __init__(self, queries: Iterable[OwnQuery], similarity: float) -> None:
        self._similarity = similarity
        self._queries = list(queries)
        self._bags = [Counter(terms(query.text)) for query in self._queries]
        self._equal = {asks(query.text): query for query in reversed(self._queries)}
        self._by_term: dict[str, list[int]] = defaultdict(list)
        for place, bag in enumerate(self._bags):
            for term in bag:
                self._by_term[term].append(place)

    def same(self, question: str) -> OwnQuery | None:
        """The query that asks the same, the most alike first."""
        if equal := self._equal.get(asks(question)):
            return equal
        bag = Counter(terms(question))
        shared: Counter[int] = Counter()
        for term in bag:
            for place in self._by_term.get(term, ()):
                shared[place] += min(bag[term], self._bags[place][term])
        size = bag.total()
        alike = {
            place: common / (size + self._bags[place].total() - common)
            for place, common in shared.items()
        }
        best = min(alike, key=lambda place: (-alike[place], place), default=None)
        if best is None or alike[best] < self._similarity:
            return None
        return self._queries[best]
