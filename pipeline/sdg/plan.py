"""What is asked: evidence chosen by code before anybody writes a word."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.corpus.records import Document, Passage, Role
from pipeline.sdg.batches import QUERY_KINDS, asked_documents, hops_for, kind_for, questions_for
from pipeline.sdg.evidence import Worth, shows, worth_of
from pipeline.sdg.languages import language_of
from pipeline.sdg.links import Chains, Crossings
from pipeline.settings import SdgSettings

REASONINGS = (
    "factual",
    "relational",
    "inferential",
    "temporal",
    "procedural",
    "causal",
    "visual",
)
"""The published recipe's reasoning types; `visual` only where there is something to see."""
_VISUAL = "visual"

T = TypeVar("T")


@dataclass(frozen=True)
class Assignment:
    """One question to be written.

    Attributes:
        id: the document's id and a running number; `{document}:r{round}:{number}` in later rounds.
        title: the title of the document that the question belongs to.
        passages: the evidence, one a hop, in reading order; that document's first.
        role: the role of the evidence's documents.
        complexity: 1 (read off) to 5 (worked out).
        query: `contextual`, `structural` or `multi_hop`.
        reasoning: one of `REASONINGS`.
        style: the way of asking, one of the recipe's `sdg.styles`.
        language: of the question: the recipe's words, an ISO 639-1 code, or nothing for that of
            the passages.
        round: the round of writing, from 1.
        titles: the title of each passage's document; none where all are of `title`.
        nearby: passages beside the evidence: what the question must not be answered by.
    """

    id: str
    title: str
    passages: tuple[Passage, ...]
    role: Role
    complexity: int
    query: str
    reasoning: str
    style: str = "question"
    language: str = ""
    round: int = 1
    titles: tuple[str, ...] = ()
    nearby: tuple[Passage, ...] = ()

    @property
    def hops(self) -> int:
        """How many passages the answer needs."""
        return len(self.passages)

    @property
    def document(self) -> str:
        """The id of the document that the question belongs to: the first passage's."""
        return self.passages[0].document

    def title_of(self, passage: Passage) -> str:
        """The title of the document that a passage comes from."""
        for own, title in zip(self.passages, self.titles, strict=False):
            if own.document == passage.document:
                return title
        return self.title


def plan(
    documents: Iterable[Document],
    passages: Iterable[Passage],
    settings: SdgSettings,
    seed: int,
    round: int = 1,  # noqa: A002 - the word that settings and samples use, too
    wanted: Mapping[str, int] | None = None,
) -> list[Assignment]:
    """The questions of one round, document by document; see `asked_documents` for which.

    A question about one document depends on that document, the settings and the seed alone, so
    a grown corpus asks the same of the documents that it had before. A question across documents
    may change with the corpus: what is rare in a fold, and who is there to be joined with, depends
    on its other documents. Which questions of a document are to be of that kind doesn't; where
    there is nobody to join with, they stay within the document. They are a document's last ones:
    of its replies, all but the last stay paid in a grown corpus.

    Args:
        documents: those to ask about.
        passages: theirs; others are ignored.
        settings: the recipe's.
        seed: the recipe's.
        round: 1 for the whole plan. A later round takes evidence that was used least in the ones
            before it, as if each of them after the first had asked for as much as this one.
        wanted: in a later round, how many questions to ask by document id; None asks for as
            many as the first round did. The first round doesn't look at it.
    """
    asked = asked_documents(documents, passages)
    worths = _Worths()
    outlines = [
        _outline(document, cut, settings, seed, round, count, worths)
        for document, cut in asked
        if (count := _count(document, cut, settings, round, wanted)) > 0
    ]
    crossings = _Folds(asked, outlines, worths)
    return [
        assignment
        for outline in outlines
        for assignment in _assignments(outline, crossings, settings, seed)
    ]


def _count(
    document: Document,
    passages: Sequence[Passage],
    settings: SdgSettings,
    turn: int,
    wanted: Mapping[str, int] | None,
) -> int:
    if turn == 1 or wanted is None:
        return questions_for(len(passages), settings)
    return wanted.get(document.id, 0)


class _Worths:
    """What passages are worth, each looked at once."""

    def __init__(self) -> None:
        self._known: dict[str, Worth] = {}

    def of(self, passage: Passage) -> Worth:
        """What one passage is worth."""
        if passage.id not in self._known:
            self._known[passage.id] = worth_of(passage)
        return self._known[passage.id]


@dataclass(frozen=True)
class _Outline:
    """The questions of one document, as far as they depend on nothing else.

    `hops`, `kinds` and `own` go together. `own` holds positions of the evidence; where a question
    may go across documents, it holds those that serve if nobody is there to be joined with.
    """

    document: Document
    passages: Sequence[Passage]
    turn: int
    kinds: Sequence[str]
    hops: Sequence[int]
    across: frozenset[int]
    own: Sequence[tuple[int, ...]]


def _outline(
    document: Document,
    passages: Sequence[Passage],
    settings: SdgSettings,
    seed: int,
    turn: int,
    count: int,
    worths: _Worths,
) -> _Outline:
    evidence = _Evidence(passages, worths)
    for earlier in range(1, turn):
        before = questions_for(len(passages), settings) if earlier == 1 else count
        evidence.choose(*_wishes(document, settings, seed, earlier, before)[1:])
    kinds, hops, across = _wishes(document, settings, seed, turn, count)
    own = evidence.choose(hops, across)
    return _Outline(document, passages, turn, kinds, hops, across, own)


def _wishes(
    document: Document, settings: SdgSettings, seed: int, turn: int, count: int
) -> tuple[list[str], list[int], frozenset[int]]:
    """Kinds and hops of so many questions, and which of them may go across documents."""
    rng = _draw(seed, document, turn, "evidence")
    offset = rng.randrange(len(QUERY_KINDS))
    kinds = [
        kind_for(QUERY_KINDS[(offset + number) % len(QUERY_KINDS)], settings)
        for number in range(count)
    ]
    hops = [rng.randint(*hops_for(kind, settings)) for kind in kinds]
    joining = [number for number, most in enumerate(hops) if most > 1]
    # Rounded up or down by chance, so that short documents have their share on average.
    share = int(settings.cross_document_share * len(joining) + rng.random())
    chosen = set(rng.sample(joining, min(share, len(joining))))
    # They come last, so that of a document's calls only the last one may change with the corpus.
    order = sorted(range(count), key=lambda number: number in chosen)
    return (
        [kinds[number] for number in order],
        [hops[number] for number in order],
        frozenset(range(count - len(chosen), count)),
    )


class _Evidence:
    """Deals out the passages of one document, the least used first."""

    def __init__(self, passages: Sequence[Passage], worths: _Worths) -> None:
        worth = list(map(worths.of, passages))
        best = max(worth)
        self._usable = [place for place, value in enumerate(worth) if value == best]
        self._chains = Chains(passages, [value == Worth.MUCH for value in worth])
        self._used = dict.fromkeys(self._usable, 0)

    def choose(self, hops: Sequence[int], across: frozenset[int]) -> list[tuple[int, ...]]:
        """Positions of the evidence for each question, given how many hops each should have.

        What is across documents is served last: it must not change what the others get.
        """
        chosen: dict[int, tuple[int, ...]] = {}
        for late in (False, True):
            turn = [number for number in range(len(hops)) if (number in across) == late]
            single = []
            for number in turn:
                chain = self._chains.take(hops[number]) if hops[number] > 1 else None
                if chain is None:
                    single.append(number)
                else:
                    chosen[number] = chain
            chosen.update(zip(single, self._evenly(len(single)), strict=True))
        return [chosen[number] for number in range(len(hops))]

    def _evenly(self, count: int) -> list[tuple[int, ...]]:
        """So many passages, spread over the document; with more questions than passages, again."""
        found: list[int] = []
        while len(found) < count:
            least = min(self._used.values())
            pool = [place for place in self._usable if self._used[place] == least]
            take = min(count - len(found), len(pool))
            # The middles of `take` equal stretches.
            places = [pool[((2 * n + 1) * len(pool)) // (2 * take)] for n in range(take)]
            for place in places:
                self._used[place] += 1
            found += places
        return [(place,) for place in sorted(found)]


class _Folds:
    """Chains across documents, indexed for the folds that need them and no sooner."""

    def __init__(
        self,
        asked: Sequence[tuple[Document, Sequence[Passage]]],
        outlines: Sequence[_Outline],
        worths: _Worths,
    ) -> None:
        needed = {_side(outline.document) for outline in outlines if outline.across}
        members: dict[tuple[int, Role], list[tuple[Document, Sequence[Passage]]]]
        members = defaultdict(list)
        for document, cut in asked:
            if _side(document) in needed:
                members[_side(document)].append((document, cut))
        self._titles = {document.id: document.title for document, _ in asked}
        self._of = {
            side: Crossings(among, worths.of) for side, among in members.items() if len(among) > 1
        }

    def take(self, outline: _Outline, number: int) -> tuple[Passage, ...] | None:
        """Evidence for one question of a document, if it may go across and somebody is there."""
        crossings = self._of.get(_side(outline.document))
        if crossings is None or number not in outline.across:
            return None
        return crossings.take(outline.document.id, outline.hops[number], outline.turn - 1)

    def titles(self, passages: Sequence[Passage]) -> tuple[str, ...]:
        """The title of each passage's document."""
        return tuple(self._titles[passage.document] for passage in passages)


def _side(document: Document) -> tuple[int, Role]:
    return document.fold, document.role


def _assignments(
    outline: _Outline, folds: _Folds, settings: SdgSettings, seed: int
) -> Iterator[Assignment]:
    document, turn, count = outline.document, outline.turn, len(outline.kinds)
    levels = range(settings.complexity_min, settings.complexity_max + 1)
    complexities = _dealt(levels, count, _draw(seed, document, turn, "complexity"))
    styles = _dealt(settings.styles, count, _draw(seed, document, turn, "style"))
    reasonings = _reasonings(outline, _draw(seed, document, turn, "reasoning"))
    language = settings.language or language_of(document.text)
    for number, kind in enumerate(outline.kinds):
        joined = folds.take(outline, number)
        own = tuple(outline.passages[place] for place in outline.own[number])
        evidence = joined or own
        yield Assignment(
            id=_identity(document, turn, number),
            title=document.title,
            passages=evidence,
            role=document.role,
            complexity=complexities[number],
            query="contextual" if len(evidence) == 1 and kind == "multi_hop" else kind,
            reasoning=reasonings[number],
            style=styles[number],
            language=language,
            round=turn,
            titles=folds.titles(evidence) if joined else (),
            nearby=_nearby(outline, evidence),
        )


def _identity(document: Document, turn: int, number: int) -> str:
    return f"{document.id}:{number:03d}" if turn == 1 else f"{document.id}:r{turn}:{number:03d}"


def _dealt(values: Sequence[T], count: int, rng: random.Random) -> list[T]:
    """So many values, each as often as the others, in any order."""
    first = rng.randrange(len(values))
    dealt = [values[(first + number) % len(values)] for number in range(count)]
    rng.shuffle(dealt)
    return dealt


def _reasonings(outline: _Outline, rng: random.Random) -> list[str]:
    """A reasoning type for each question; `visual` goes where there is something to see.

    A question that may go across documents sees nothing: what it will rest on isn't known.
    """
    order = rng.sample(REASONINGS, len(REASONINGS))
    others = [reasoning for reasoning in order if reasoning != _VISUAL]
    dealt = [order[number % len(order)] for number in range(len(outline.kinds))]
    seeing = [
        number
        for number, places in enumerate(outline.own)
        if number not in outline.across and any(shows(outline.passages[p]) for p in places)
    ]
    for number, reasoning in enumerate(dealt):
        if reasoning != _VISUAL or number in seeing:
            continue
        swap = next((seer for seer in seeing if dealt[seer] != _VISUAL), None)
        if swap is None:
            dealt[number] = min(others, key=dealt.count)
        else:
            dealt[number], dealt[swap] = dealt[swap], _VISUAL
    return dealt


def _nearby(outline: _Outline, evidence: Sequence[Passage]) -> tuple[Passage, ...]:
    """The document's passages right before and after the first one of the evidence."""
    first = evidence[0].id
    place = next(n for n, passage in enumerate(outline.passages) if passage.id == first)
    beside = outline.passages[max(0, place - 1) : place + 2]
    mine = {passage.id for passage in evidence}
    return tuple(passage for passage in beside if passage.id not in mine)


def _draw(seed: int, document: Document, turn: int, what: str) -> random.Random:
    """Numbers for one purpose, so that no setting shifts what another one draws."""
    return random.Random(f"{seed}:{document.id}:{turn}:{what}")
