"""The small language of search and filters.

Words match question, id and document path, whatever their case, and all must match. Facets ask
for one property. `-` before either turns it round; quotes keep words together, and what is
quoted from its first letter on is never a facet.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

from pipeline.corpus.records import ROLES
from pipeline.errors import BadInput
from pipeline.review.decisions import REASONS, Decision
from pipeline.review.index import Entry, keeps_entry

FACETS: Mapping[str, str] = {
    "score<6.5": "below; also <= > >= =",
    "rank>1": "place of the evidence by the base model, else BM25; hard but found: rank<=50, too",
    "role:test": f"one of {', '.join(ROLES)}",
    "doc:PART": "a part of the document's path",
    "flag:NAME": "a check that found something; flag:any for every one",
    "kept:yes": "or kept:no",
    "decided:yes": "or decided:no",
    "edited:yes": "or edited:no",
    "accepted": "by hand",
    "rejected": "by hand",
    "skipped": "seen and left undecided",
    "reason:leak": f"one of {', '.join(REASONS)}",
    "hops:2": "evidence passages needed",
    "complexity:4": "as asked for",
    "kind:WORD": "a part of the query kind",
}
"""Every facet by an example, with what it means."""

Test = Callable[[Entry, Decision | None, bool, bool], bool]
"""Entry, its decision, whether it is kept, whether it was skipped: does it match?"""


@dataclass(frozen=True)
class Filter:
    """A query that was understood.

    Attributes:
        text: as typed.
        tests: all must hold; none lets everything through.
        asks_kept: whether a test looks at what is kept, which moves with the threshold.
    """

    text: str
    tests: tuple[Test, ...] = field(compare=False)
    asks_kept: bool = field(compare=False, default=False)

    @property
    def everything(self) -> bool:
        """Whether it lets everything through."""
        return not self.tests


EVERYTHING = Filter("", ())
"""The filter of an empty query."""


def parse_filter(text: str) -> Filter:
    """Understand a query.

    Raises:
        BadInput: a word looks like a facet and is none, its value is none that the facet takes,
            or a quote is left open; the word is named.
    """
    tests: list[Test] = []
    asks_kept = False
    for word in _words(text):
        test = _facet(word) if word.plain else None
        asks_kept = asks_kept or (word.plain and word.text.startswith("kept:"))
        test = test or _search(word.text)
        tests.append(_negated(test) if word.negated else test)
    return Filter(text, tuple(tests), asks_kept)


def matches(
    wanted: Filter, entry: Entry, decision: Decision | None, kept: bool, skipped: bool = False
) -> bool:
    """Whether a sample passes a filter.

    Args:
        wanted: the filter.
        entry: the sample.
        decision: what a person said about it, or None; an edited question is the one searched.
        kept: whether it is kept (`keeps_entry`).
        skipped: whether it was seen and left undecided.
    """
    return all(test(entry, decision, kept, skipped) for test in wanted.tests)


def select(
    wanted: Filter,
    entries: Iterable[Entry],
    decisions: Mapping[str, Decision],
    skipped: Set[str],
    threshold: float,
) -> list[Entry]:
    """The entries that pass a filter, in the order given.

    Args:
        wanted: the filter.
        entries: the samples.
        decisions: what was said, by sample id.
        skipped: samples that were seen and left undecided.
        threshold: the least score, of 10.
    """
    if wanted.everything:
        return list(entries)
    chosen, look = [], decisions.get
    for entry in entries:
        decision = look(entry.id)
        kept = wanted.asks_kept and keeps_entry(entry, decision, threshold)
        seen = entry.id in skipped
        for test in wanted.tests:
            if not test(entry, decision, kept, seen):
                break
        else:
            chosen.append(entry)
    return chosen


def bulk_targets(
    verdict: Literal["accept", "reject"],
    entries: Iterable[Entry],
    decisions: Mapping[str, Decision],
    reason: str = "",
) -> tuple[str, ...]:
    """Ids that a bulk action changes: those without this verdict yet.

    A sample that already has it stays as it is, so a decision made one by one keeps its reason;
    its place in the audit it keeps in any case (`mark_after`).

    Args:
        verdict: what the bulk action says.
        entries: the samples that were chosen.
        decisions: what was said, by sample id.
        reason: of a reject; a sample rejected for another reason is changed, too.
    """

    def same(decision: Decision | None) -> bool:
        return (
            decision is not None
            and decision.verdict == verdict
            and (not reason or decision.reason == reason)
        )

    return tuple(entry.id for entry in entries if not same(decisions.get(entry.id)))


@dataclass(frozen=True)
class _Word:
    """One word of a query.

    Attributes:
        text: without quotes and minus.
        negated: whether a minus stood before it.
        plain: whether it begins without a quote, so that it may be a facet.
    """

    text: str
    negated: bool
    plain: bool


_WORD = re.compile(r'\s*(-?)((?:[^\s"]|"[^"]*")+)')
_FACET = re.compile(r"([a-z]+)(:|<=|>=|<|>|=)(.*)", re.DOTALL)
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    ":": operator.eq,
}


def _words(text: str) -> list[_Word]:
    words, place = [], 0
    while text[place:].strip():
        found = _WORD.match(text, place)
        if found is None:
            raise _misunderstood(text[place:].strip(), "it opens a quote and doesn't close it")
        raw = found.group(2)
        if text[found.end() : found.end() + 1] == '"':
            rest = text[found.start(2) :].strip()
            raise _misunderstood(rest, "it opens a quote and doesn't close it")
        content = raw.replace('"', "")
        if content:
            words.append(_Word(content, found.group(1) == "-", not raw.startswith('"')))
        place = found.end()
    return words


def _facet(word: _Word) -> Test | None:
    """The test of a facet, or None for a word that is searched for."""
    marks: Mapping[str, Test] = {
        "accepted": lambda e, d, k, s: d is not None and d.verdict == "accept",
        "rejected": lambda e, d, k, s: d is not None and d.verdict == "reject",
        "skipped": lambda e, d, k, s: s,
    }
    if word.text in marks:
        return marks[word.text]
    found = _FACET.fullmatch(word.text)
    if found is None:
        return None
    name, sign, value = found.groups()
    if name == "score":
        return _score(word.text, sign, value)
    if name == "rank":
        return _rank(word.text, sign, value)
    if sign != ":":
        raise _misunderstood(word.text, "only score and rank are compared")
    if name not in _FACETS:
        raise _misunderstood(word.text, "there is no such facet")
    return _FACETS[name](word.text, value)


def _search(wanted: str) -> Test:
    needle = wanted.casefold()

    def test(entry: Entry, decision: Decision | None, kept: bool, skipped: bool) -> bool:
        edited = decision.question if decision else None
        question = entry.question if edited is None else edited
        return (
            needle in question.casefold() or needle in entry.id or needle in entry.path.casefold()
        )

    return test


def _negated(test: Test) -> Test:
    return lambda e, d, k, s: not test(e, d, k, s)


def _score(word: str, sign: str, value: str) -> Test:
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise _misunderstood(word, "a score is a number from 0 to 10")
    compare = _COMPARE[sign]
    # A sample without a score is neither below nor above.
    return lambda e, d, k, s: e.score is not None and compare(e.score, limit)


def _rank(word: str, sign: str, value: str) -> Test:
    if not (value.isascii() and value.isdigit()):
        raise _misunderstood(word, "a rank is a whole number from 1")
    limit, compare = int(value), _COMPARE[sign]
    # Evidence without a rank is neither found nor missed.
    return lambda e, d, k, s: e.rank > 0 and compare(e.rank, limit)


def _role(word: str, value: str) -> Test:
    _one_of(word, value, ROLES)
    return lambda e, d, k, s: e.role == value


def _document(word: str, value: str) -> Test:
    part = _filled(word, value)
    return lambda e, d, k, s: part in e.path.casefold()


def _flag(word: str, value: str) -> Test:
    name = _filled(word, value)
    if name == "any":
        return lambda e, d, k, s: bool(e.flags)
    return lambda e, d, k, s: name in e.flags


def _kept(word: str, value: str) -> Test:
    wanted = _yes(word, value)
    return lambda e, d, k, s: k is wanted


def _decided(word: str, value: str) -> Test:
    wanted = _yes(word, value)
    return lambda e, d, k, s: (d is not None) is wanted


def _edited(word: str, value: str) -> Test:
    wanted = _yes(word, value)
    return lambda e, d, k, s: (d is not None and d.edited) is wanted


def _hops(word: str, value: str) -> Test:
    wanted = _number(word, value)
    return lambda e, d, k, s: e.hops == wanted


def _complexity(word: str, value: str) -> Test:
    wanted = _number(word, value)
    return lambda e, d, k, s: e.complexity == wanted


def _kind(word: str, value: str) -> Test:
    part = _filled(word, value)
    return lambda e, d, k, s: part in e.kind.casefold()


def _reason(word: str, value: str) -> Test:
    _one_of(word, value, tuple(REASONS))
    return lambda e, d, k, s: d is not None and d.reason == value


_FACETS: Mapping[str, Callable[[str, str], Test]] = {
    "role": _role,
    "doc": _document,
    "flag": _flag,
    "kept": _kept,
    "decided": _decided,
    "edited": _edited,
    "hops": _hops,
    "complexity": _complexity,
    "kind": _kind,
    "reason": _reason,
}


def _yes(word: str, value: str) -> bool:
    _one_of(word, value, ("yes", "no"))
    return value == "yes"


def _number(word: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise _misunderstood(word, "a whole number must follow the colon")
    return int(value)


def _filled(word: str, value: str) -> str:
    if not value:
        raise _misunderstood(word, "something must follow the colon")
    return value.casefold()


def _one_of(word: str, value: str, words: Sequence[str]) -> None:
    if value not in words:
        raise _misunderstood(word, f"{' or '.join(words)} must follow the colon")


def _misunderstood(word: str, fault: str) -> BadInput:
    return BadInput(
        f"The filter's word {word!r} can't be understood: {fault}.",
        safe="Nothing was changed.",
        next_step=f"Facets are {', '.join(FACETS)}; put a word in quotes to search for it.",
    )
