"""What is asked: evidence chosen by code before anybody writes a word."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from pipeline.corpus.records import Document, Passage, Role
from pipeline.recipe import SdgSettings
from pipeline.sdg.batches import QUERY_KINDS, asked_documents, hops_for, kind_for, questions_for
from pipeline.sdg.sentences import sentences
from pipeline.sdg.words import content_terms

REASONINGS = ("factual", "relational", "inferential", "temporal", "procedural", "causal")
"""The published recipe's reasoning types; `visual` is left out, as text has nothing to see."""

_LINK_LENGTH_MIN = 4
_LINK_PASSAGES_MAX = 8
"""A term in more passages of its document is too common to link any two."""
_LIKENESS_MAX = 0.5
"""Passages that share more of their terms say the same; no question needs both."""
_SPACING = 2
"""Neighbours continue one another: no hop leads from a passage to the next one."""


@dataclass(frozen=True)
class Assignment:
    """One question to be written.

    It depends on its document, the settings and the seed alone, so a grown corpus asks the same
    of the documents that it had before, and their replies stay paid.

    Attributes:
        id: the document's id and a running number.
        title: the document's title.
        passages: the evidence, in reading order; one a hop.
        role: the role of the evidence's document.
        complexity: 1 (read off) to 5 (worked out).
        query: `contextual`, `structural` or `multi_hop`.
        reasoning: one of `REASONINGS`.
    """

    id: str
    title: str
    passages: tuple[Passage, ...]
    role: Role
    complexity: int
    query: str
    reasoning: str

    @property
    def hops(self) -> int:
        """How many passages the answer needs."""
        return len(self.passages)

    @property
    def document(self) -> str:
        """The id of the evidence's document."""
        return self.passages[0].document


def plan(
    documents: Iterable[Document],
    passages: Iterable[Passage],
    settings: SdgSettings,
    seed: int,
) -> list[Assignment]:
    """All questions of a run, document by document; see `asked_documents` for which."""
    return [
        assignment
        for document, cut in asked_documents(documents, passages)
        for assignment in _ask(document, cut, settings, seed)
    ]


def _ask(
    document: Document, passages: Sequence[Passage], settings: SdgSettings, seed: int
) -> Iterator[Assignment]:
    rng = random.Random(f"{seed}:{document.id}")
    count = questions_for(len(passages), settings)
    offset = rng.randrange(len(QUERY_KINDS))
    kinds = [
        kind_for(QUERY_KINDS[(offset + number) % len(QUERY_KINDS)], settings)
        for number in range(count)
    ]
    wanted = [_hops(kind, rng, settings) for kind in kinds]
    evidence = _choose(passages, wanted)
    reasonings = rng.sample(REASONINGS, len(REASONINGS))
    complexities = list(range(settings.complexity_min, settings.complexity_max + 1))
    rng.shuffle(complexities)
    for number, (kind, chosen) in enumerate(zip(kinds, evidence, strict=True)):
        yield Assignment(
            id=f"{document.id}:{number:03d}",
            title=document.title,
            passages=tuple(passages[position] for position in chosen),
            role=document.role,
            complexity=complexities[number % len(complexities)],
            query="contextual" if len(chosen) == 1 and kind == "multi_hop" else kind,
            reasoning=reasonings[number % len(reasonings)],
        )


def _hops(kind: str, rng: random.Random, settings: SdgSettings) -> int:
    fewest, most = hops_for(kind, settings)
    # A kind without a choice draws no number: the plans of earlier versions stay as they are.
    return rng.randint(fewest, most) if kind == "multi_hop" else fewest


def _choose(passages: Sequence[Passage], wanted: Sequence[int]) -> list[tuple[int, ...]]:
    """Positions of the evidence for each question, given how many hops each should have."""
    telling = [_says_something(passage) for passage in passages]
    chains = _Chains(passages, telling)
    linked = [chains.take(hops) if hops > 1 else None for hops in wanted]
    simple = iter(_evenly(telling, sum(chain is None for chain in linked)))
    return [chain if chain is not None else (next(simple),) for chain in linked]


def _evenly(telling: Sequence[bool], count: int) -> Iterator[int]:
    usable = [position for position, tells in enumerate(telling) if tells]
    usable = usable or list(range(len(telling)))
    for number in range(count):
        # The middles of `count` equal stretches; with more questions than passages it wraps.
        yield usable[((2 * number + 1) * len(usable)) // (2 * count)]


def _says_something(passage: Passage) -> bool:
    """Lists of names and code are asked about only for want of others."""
    return any(sentence.is_prose and sentence.is_closed for sentence in sentences(passage.text))


class _Chains:
    """Passages of one document that belong together without standing together."""

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
                if len(term) >= _LINK_LENGTH_MIN:
                    holders[term].append(position)
            for depth in range(1, len(passage.headings) + 1):
                holders[passage.headings[:depth]].append(position)
    links: dict[tuple[int, int], float] = defaultdict(float)
    for mark in sorted(holders, key=repr):
        having = holders[mark]
        if len(having) <= min(_LINK_PASSAGES_MAX, max(2, len(passages) // 2)):
            for first, second in combinations(having, 2):
                if second - first >= _SPACING:
                    links[first, second] += 1 / len(having)
    return {pair: links[pair] for pair in links if not _alike(said[pair[0]], said[pair[1]])}


def _alike(first: set[str], second: set[str]) -> bool:
    return len(first & second) > _LIKENESS_MAX * min(len(first), len(second))
