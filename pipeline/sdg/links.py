"""Passages that belong together without standing together: the evidence of multi-hop questions.

Within a document, passages are linked by terms that are rare in it and by shared headings. Across
documents, they are linked by terms that are rare in their fold (inverse document frequency; the
commonest are dropped, as in ragas' entity overlap), and only documents of one fold and one role are
joined: no question may stand on both sides of a split.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pipeline.corpus.records import Document, Passage
from pipeline.sdg.evidence import Worth
from pipeline.sdg.words import content_terms

_LENGTH_MIN = 4
"""Characters of a term that links; shorter ones are mostly fragments."""
_PASSAGES_MAX = 8
"""A term in more passages of its document is too common to link any two."""
_LIKENESS_MAX = 0.5
"""Passages that share more of their terms say the same; no question needs both."""
_SPACING = 2
"""Neighbours continue one another: no hop leads from a passage to the next one."""

_COMMONEST = 0.05
"""The share of a fold's terms, by how many passages hold them, that links nothing across documents.
Passages are counted and not documents, because a small fold has few of these to tell rarity by."""
_HOLDERS_SHARE = 0.05
"""Nor does a term in a larger share of the fold's passages (and in more than `_PASSAGES_MAX`)."""
_HOLDERS_MAX = 60
"""Nor does one in more passages: it would cost more than it tells."""
_SHARED_MIN = 2
"""Terms that two documents' passages share at least: one alone is often an accident."""
_STRENGTH_MIN = 0.05
"""The weakest link: the cosine of two passages' term weights, linking terms alone. Ours, as the
shares above: on 125 threads of a help forum, most weaker links joined by accident."""
_ANCHORS_MAX = 8
"""Passages of a document that are tried as a chain's first link."""


class Chains:
    """Passages of one document that belong together, the least used and strongest links first."""

    def __init__(self, passages: Sequence[Passage], telling: Sequence[bool]) -> None:
        self._links = _links(passages, telling)
        self._used = [0] * len(passages)
        self._taken: set[tuple[int, ...]] = set()

    def take(self, hops: int) -> tuple[int, ...] | None:
        """The strongest unused chain over the least used passages; shorter if none is so long."""
        pairs = [pair for pair in self._links if pair not in self._taken]
        if not pairs:
            return None
        first, second = min(
            pairs,
            key=lambda pair: (
                self._used[pair[0]] + self._used[pair[1]],
                -self._links[pair],
                pair,
            ),
        )
        chain = [first, second]
        while len(chain) < hops and (more := self._next(chain)) is not None:
            chain.append(more)
        self._taken.add((first, second))
        for position in chain:
            self._used[position] += 1
        return tuple(sorted(chain))

    def _next(self, chain: Sequence[int]) -> int | None:
        strength: dict[int, float] = defaultdict(float)
        for (first, second), weight in self._links.items():
            if (first in chain) != (second in chain):
                strength[second if first in chain else first] += weight
        apart = [s for s in strength if all(abs(s - member) >= _SPACING for member in chain)]
        return min(apart, key=lambda s: (self._used[s], -strength[s], s), default=None)


def _links(passages: Sequence[Passage], telling: Sequence[bool]) -> dict[tuple[int, int], float]:
    """How strongly two passages are linked: shared rare terms and heading ancestors, summed.

    Each counts 1 / (passages of the document that have it). Rarity is measured within the
    document, because a measure over the corpus would change the plan as the corpus grows.
    """
    said = [set(content_terms(passage.text)) for passage in passages]
    holders: dict[str | tuple[str, ...], list[int]] = defaultdict(list)
    for position, passage in enumerate(passages):
        if telling[position]:
            for term in said[position]:
                if len(term) >= _LENGTH_MIN:
                    holders[term].append(position)
            for depth in range(1, len(passage.headings) + 1):
                holders[passage.headings[:depth]].append(position)
    links: dict[tuple[int, int], float] = defaultdict(float)
    for mark in sorted(holders, key=repr):
        having = holders[mark]
        if len(having) <= min(_PASSAGES_MAX, max(2, len(passages) // 2)):
            for first, second in combinations(having, 2):
                if second - first >= _SPACING:
                    links[first, second] += 1 / len(having)
    return {pair: links[pair] for pair in links if not _alike(said[pair[0]], said[pair[1]])}


def _alike(first: set[str], second: set[str]) -> bool:
    return len(first & second) > _LIKENESS_MAX * min(len(first), len(second))


@dataclass(frozen=True)
class _Place:
    """A passage of a fold: its document's number in the fold, and its own in the document."""

    document: int
    position: int
    passage: Passage


class Crossings:
    """Chains over the documents of one fold and role."""

    def __init__(
        self,
        asked: Iterable[tuple[Document, Sequence[Passage]]],
        worth: Callable[[Passage], Worth],
    ) -> None:
        """Reads every passage once.

        Args:
            asked: documents of one fold and role with their passages, no two near-duplicates.
            worth: what a passage is worth; only the best are joined.
        """
        self._places: list[_Place] = []
        self._of: dict[str, list[int]] = {}
        self._said: list[array[int]] = []
        self._used: Counter[int] = Counter()
        self._taken: set[tuple[int, int]] = set()
        vocabulary: dict[str, int] = {}
        documents_with: Counter[int] = Counter()
        for number, (document, passages) in enumerate(asked):
            first = len(self._places)
            for position, passage in enumerate(passages):
                if worth(passage) == Worth.MUCH:
                    self._places.append(_Place(number, position, passage))
                    self._said.append(_numbered(passage.text, vocabulary))
            self._of[document.id] = list(range(first, len(self._places)))
            documents_with.update({term for said in self._said[first:] for term in said})
        self._weigh(vocabulary, documents_with)

    def _weigh(self, vocabulary: Mapping[str, int], documents_with: Mapping[int, int]) -> None:
        passages_with = Counter(term for said in self._said for term in said)
        total = len(self._places)
        # Squared, as both vectors of a cosine hold it.
        weight = {t: math.log((total + 1) / count) ** 2 for t, count in passages_with.items()}
        self._norms = [math.sqrt(sum(weight[term] for term in said)) for said in self._said]
        rare = _rare(passages_with, vocabulary, total)
        self._weights = {term: weight[term] for term in rare if documents_with[term] > 1}
        self._holders: dict[int, list[int]] = defaultdict(list)
        for place, said in enumerate(self._said):
            for term in said:
                if term in self._weights:
                    self._holders[term].append(place)

    def take(self, document: str, hops: int, passed_over: int) -> tuple[Passage, ...] | None:
        """The best chain from a document into others, the document's passages first.

        Args:
            document: the id of the document that the question will belong to.
            hops: how many passages are wanted; fewer come where no more are linked.
            passed_over: so many of the best are left to earlier rounds, as far as there are more.
        """
        pairs = sorted(self._pairs(document), key=lambda scored: (-scored[0], scored[1]))
        if not pairs:
            return None
        _, pair = pairs[min(passed_over, len(pairs) - 1)]
        self._taken.add(_ordered(pair))
        chain = list(pair)
        while len(chain) < hops and (more := self._next(chain)) is not None:
            chain.append(more)
        self._used.update(chain)
        home = self._places[pair[0]].document
        chain.sort(key=lambda place: (self._places[place].document != home, place))
        return tuple(self._places[place].passage for place in chain)

    def _pairs(self, document: str) -> list[tuple[float, tuple[int, int]]]:
        anchors = self._of.get(document, [])
        step = max(1, math.ceil(len(anchors) / _ANCHORS_MAX))
        found = []
        for anchor in anchors[::step]:
            for other, strength in self._linked(anchor).items():
                pair = (anchor, other)
                if self._places[other].document == self._places[anchor].document:
                    continue
                if _ordered(pair) in self._taken:
                    continue
                # Strong links first, but not the same passages again and again.
                use = self._used[anchor] + self._used[other]
                found.append((strength / (1 + use), pair))
        return found

    def _next(self, chain: Sequence[int]) -> int | None:
        strength: dict[int, float] = defaultdict(float)
        for member in chain:
            for other, weight in self._linked(member).items():
                strength[other] += weight
        fit = [other for other in strength if self._fits(other, chain)]
        return max(fit, key=lambda o: (strength[o] / (1 + self._used[o]), -o), default=None)

    def _fits(self, other: int, chain: Sequence[int]) -> bool:
        """Whether a passage says something else than each of a chain's, and stands elsewhere."""
        place, mine = self._places[other], set(self._said[other])
        for member in chain:
            there = self._places[member]
            near = abs(there.position - place.position) < _SPACING
            if (there.document == place.document and near) or self._same(mine, self._said[member]):
                return False
        return True

    def _linked(self, place: int) -> Mapping[int, float]:
        """Passages that share rare terms with one, and how strongly; none that says the same."""
        strength: dict[int, float] = defaultdict(float)
        shared: Counter[int] = Counter()
        for term in self._said[place]:
            for other in self._holders.get(term, ()):
                strength[other] += self._weights[term]
                shared[other] += 1
        mine = set(self._said[place])
        found = {}
        for other, count in shared.items():
            cosine = strength[other] / (self._norms[place] * self._norms[other])
            if other == place or count < _SHARED_MIN or cosine < _STRENGTH_MIN:
                continue
            if not self._same(mine, self._said[other]):
                found[other] = cosine
        return found

    @staticmethod
    def _same(mine: set[int], others: array[int]) -> bool:
        return sum(t in mine for t in others) > _LIKENESS_MAX * min(len(mine), len(others))


def _numbered(text: str, vocabulary: dict[str, int]) -> array[int]:
    """The distinct terms of a text that could link, by numbers; new ones get the next."""
    distinct = sorted({term for term in content_terms(text) if len(term) >= _LENGTH_MIN})
    return array("l", (vocabulary.setdefault(term, len(vocabulary)) for term in distinct))


def _ordered(pair: tuple[int, int]) -> tuple[int, int]:
    return min(pair), max(pair)


def _rare(frequency: Mapping[int, int], vocabulary: Mapping[str, int], passages: int) -> list[int]:
    """The terms that are rare enough to link, by their numbers."""
    ranked = sorted(vocabulary, key=lambda term: (-frequency[vocabulary[term]], term))
    most = min(_HOLDERS_MAX, max(_PASSAGES_MAX, math.ceil(_HOLDERS_SHARE * passages)))
    rarer = (vocabulary[term] for term in ranked[math.ceil(_COMMONEST * len(ranked)) :])
    return [term for term in rarer if frequency[term] <= most]
