"""Questions without an LLM, for rehearsals: inverse cloze by rule, mechanically scored.

A passage's most telling sentence becomes a query (keywords, a question, a symptom, or the headings
above it, by the style that the plan asks for and the rules that the sentence allows), and the
sentence itself is evidence and answer. Lee et al., "Latent Retrieval for Weakly
Supervised Open Domain Question Answering" (2019), introduced the inverse cloze task.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.bm25 import Bm25
from pipeline.corpus.records import Passage
from pipeline.sdg import queries
from pipeline.sdg.plan import Assignment
from pipeline.sdg.records import Quote
from pipeline.sdg.sentences import Sentence, sentences
from pipeline.sdg.words import content_terms, copied_run
from pipeline.sdg.writer import OFFLINE, Draft, Lost
from pipeline.texts import terms

CRITERIA: Mapping[str, float] = {
    "specific": 4.0,
    "prose": 2.0,
    "salient": 3.0,
    "length": 1.0,
    "reworded": 1.0,
}
"""What a score is made of, with weights: score = 10 x sum(weight x level) / sum(weight).

- `specific`: does BM25 find the evidence among all passages? By its rank, see `_RANKS`; of
  several evidence passages the worst counts, the others not counted before it.
- `prose`: is the evidence a sentence (1), a list entry without a full stop (0.5), or something
  else, such as a signature or text that stands in three documents (0)?
- `salient`: how rare the evidence's content words are, on average, from common to rare.
- `length`: 1 for a query of 5 to 12 words, less by a quarter for every word beyond.
- `reworded`: 1 for a copied run of at most 2 words, less by a quarter for every word beyond.
"""
SCORE_WITHOUT_PROSE = 5.0
"""No more than this where the evidence is no prose."""

_RANKS = ((1, 1.0), (3, 0.7), (10, 0.4), (50, 0.15))
_BOILERPLATE_DOCUMENTS = 3
_SALIENT = (0.45, 0.85)
"""Mean rarity, as a share of the greatest possible, at which `salient` is 0 and 1."""
_COPIED_FREE = 2
_STEP = 0.25

_NAMED = r"(?:async |class |def )?(?P<name>[A-Za-z][\w.]{2,60})\s*(?:[(=]|$)"
_SIGNATURE = re.compile(rf"[ \t|]*{_NAMED}")
_HEADING = re.compile(r"#{1,6} +(?P<title>.+)")
_HEADING_WORDS_MAX = 6


_RULES = {"question": queries.question, "symptom": queries.symptom}
"""How the styles are made that not every sentence can serve; others get keywords."""


@dataclass(frozen=True)
class _Evidence:
    passage: Passage
    sentence: Sentence
    prose: float
    salience: float

    @property
    def quote(self) -> Quote:
        return Quote(self.passage.id, self.sentence.start, self.sentence.end, self.sentence.text)


class OfflineWriter:
    """Writes queries from sentences. It knows all passages, because rarity needs them."""

    name = OFFLINE

    def __init__(self, passages: Sequence[Passage], seed: int) -> None:
        self._seed = seed
        self._position = {passage.id: position for position, passage in enumerate(passages)}
        self._index = Bm25([passage.text for passage in passages])
        self._holders = Counter(t for passage in passages for t in set(terms(passage.text)))
        self._told: dict[str, list[_Evidence]] = {}
        self._most = math.log(len(passages) + 1)
        self._sentences = {passage.id: sentences(passage.text) for passage in passages}
        self._repeated = _repeated(passages, self._sentences)

    def write(self, assignments: Iterable[Assignment]) -> Iterator[Draft | Lost]:
        """One draft for each assignment; a passage without any word yields none."""
        spent: dict[str, set[str]] = defaultdict(set)
        for assignment in assignments:
            evidence: list[_Evidence] = []
            for passage in assignment.passages:
                used = spent[passage.id].union(_key(e.sentence.plain) for e in evidence)
                if entry := self._evidence(passage, used, assignment.style):
                    evidence.append(entry)
            if len(evidence) < assignment.hops:
                yield Lost(assignment, "an evidence passage has no words to ask about")
                continue
            for entry in evidence:
                spent[entry.passage.id].add(_key(entry.sentence.plain))
            yield self._draft(assignment, evidence)

    def _draft(self, assignment: Assignment, evidence: list[_Evidence]) -> Draft:
        rng = random.Random(f"{self._seed}:{assignment.id}")
        query, kind = self._query(assignment, evidence, rng)
        levels = self._levels(query, evidence)
        score = 10 * sum(CRITERIA[name] * levels[name] for name in CRITERIA)
        score /= sum(CRITERIA.values())
        if levels["prose"] == 0:
            score = min(score, SCORE_WITHOUT_PROSE)
        return Draft(
            assignment=assignment,
            question=query,
            answer=" ".join(entry.sentence.plain for entry in evidence),
            quotes=tuple(entry.quote for entry in evidence),
            kind=kind,
            hops=len(evidence),
            score=round(score, 2),
            levels=levels,
        )

    def _query(
        self, assignment: Assignment, evidence: list[_Evidence], rng: random.Random
    ) -> tuple[str, str]:
        """The query, and what sort of one the rules could make."""
        first, style = evidence[0], assignment.style
        names = _names(assignment, first)
        # Not every searcher knows where to look: names are all there, in part, or left out.
        context = names[rng.randrange(len(names) + 1) :]
        if len(evidence) > 1:
            told = [entry.sentence.plain for entry in evidence]
            return queries.joined_query(told, names[: len(context)][:1], self._weigh), "keyword"
        rule = _RULES.get(style)
        if rule and (made := rule(first.sentence.plain, context)):
            return made, style
        if style == "terse" and names:
            return queries.heading_query(names, first.passage.text, self._weigh), "heading"
        return queries.keyword_query(first.sentence.plain, context, self._weigh), "keyword"

    def _evidence(self, passage: Passage, spent: set[str], style: str) -> _Evidence | None:
        """The most telling sentence that no question has used; the best of all when all were."""
        rule = _RULES.get(style)
        entries = self._entries(passage)
        return max(
            entries,
            key=lambda e: (
                e.prose > 0,
                _key(e.sentence.plain) not in spent,
                rule is not None and rule(e.sentence.plain, ()) is not None,
                e.prose + e.salience,
            ),
            default=None,
        )

    def _entries(self, passage: Passage) -> list[_Evidence]:
        if passage.id not in self._told:
            self._told[passage.id] = [
                _Evidence(passage, sentence, self._prose(sentence), self._salience(sentence.text))
                for sentence in self._sentences[passage.id]
                if queries.content_words(sentence.text)
            ]
        return self._told[passage.id]

    def _weigh(self, term: str) -> float:
        return math.log((len(self._position) + 1) / max(1, self._holders[term]))

    def _salience(self, text: str) -> float:
        distinct = sorted(set(content_terms(text)))
        if not distinct or not self._most:
            return 0.0
        return sum(map(self._weigh, distinct)) / len(distinct) / self._most

    def _prose(self, sentence: Sentence) -> float:
        if not sentence.is_prose or _key(sentence.plain) in self._repeated:
            return 0.0
        return 1.0 if sentence.is_closed else 0.5

    def _levels(self, query: str, evidence: list[_Evidence]) -> dict[str, float]:
        scores = self._index.scores(query)
        worst = min(float(scores[self._position[entry.passage.id]]) for entry in evidence)
        # Of several passages the last can be found at rank `len(evidence)` at best.
        rank = max(1, 2 - len(evidence) + int(np.count_nonzero(scores > worst)))
        length = len(queries.words(query))
        outside = max(queries.WORDS_MIN - length, length - queries.WORDS_MAX, 0)
        run = max(copied_run(query, entry.passage.text) for entry in evidence)
        low, high = _SALIENT
        salience = sum(entry.salience for entry in evidence) / len(evidence)
        return {
            "specific": next((level for limit, level in _RANKS if rank <= limit), 0.0),
            "prose": min(entry.prose for entry in evidence),
            "salient": round(min(1.0, max(0.0, (salience - low) / (high - low))), 2),
            "length": max(0.0, 1 - _STEP * outside),
            "reworded": max(0.0, 1 - _STEP * max(0, run - _COPIED_FREE)),
        }


def _names(assignment: Assignment, evidence: _Evidence) -> list[str]:
    """What the evidence is about, outermost first: document, leaf heading or defining line."""
    above = evidence.passage.headings[-1:] or (assignment.title,)
    subject = _subject(evidence.passage.text, evidence.sentence.start)
    names = [assignment.title, *([subject] if subject else above)]
    seen: dict[str, str] = {}
    for name in names:
        seen.setdefault(name.casefold(), " ".join(queries.words(name)[:_HEADING_WORDS_MAX]))
    return [name for name in seen.values() if name]


def _subject(text: str, start: int) -> str:
    """What the lines above say that this is about: a heading, or a signature indented less."""
    indent = _indent(text[text.rfind("\n", 0, start) + 1 : start])
    for line in reversed(text[:start].split("\n")[:-1]):
        if heading := _HEADING.match(line):
            title = heading["title"].strip()
            name = re.match(_NAMED, title)
            return name["name"] if name else title
        if line.strip(" \t|") and _indent(line) < indent:
            match = _SIGNATURE.match(line)
            return match["name"] if match and match["name"][0] != "_" else ""
    return ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t|"))


def _key(plain: str) -> str:
    return " ".join(terms(plain))


def _repeated(
    passages: Sequence[Passage], told: Mapping[str, Sequence[Sentence]]
) -> frozenset[str]:
    """Sentences that stand in several documents: headers, licences, generated notes."""
    documents: dict[str, set[str]] = defaultdict(set)
    for passage in passages:
        for sentence in told[passage.id]:
            documents[_key(sentence.plain)].add(passage.document)
    return frozenset(k for k, found in documents.items() if len(found) >= _BOILERPLATE_DOCUMENTS)
