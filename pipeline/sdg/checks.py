"""Mechanical checks: free, before and beside any judge. Each is one function in `CHECKS`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pipeline.corpus.records import Passage
from pipeline.sdg.records import Flag, Sample
from pipeline.sdg.words import copied_run
from pipeline.sdg.writer import OFFLINE, Draft
from pipeline.texts import terms

Check = Callable[[Draft, Mapping[str, Passage], str], Flag | None]
"""A draft, the passages by id and the writer's name, to what is wrong."""

COPIED_RUN = 8
"""So many words in a row from the passage make a question a copy of it."""

_REFUSAL = re.compile(
    r"\b(?:not (?:mentioned|stated|specified|provided|given|described|answerable)|"
    r"cannot be (?:determined|answered)|can't be (?:determined|answered)|"
    r"no (?:information|answer) (?:is|was)?\s*(?:given|provided|available)|"
    r"(?:does|do) not (?:say|mention|specify|provide|contain (?:any|enough) information)|"
    r"as an ai\b|i (?:cannot|can't|am unable to))",
    re.IGNORECASE,
)
_REFUSAL_WORDS_MAX = 30
"""A longer answer says something else besides."""
_SOURCE = r"(?:document|text|passage|context|section|excerpt|article|paragraph|segment)s?"
_POINTING = re.compile(
    # Anchored on the preposition: "how do I put a table in the document" is a fair question.
    rf"\b(?:according to|based on|per) (?:the|this|these|that) (?:\w+ )?{_SOURCE}\b|"
    rf"\b(?:in|from|by) (?:this|these|the (?:given|provided|above|following)) {_SOURCE}\b|"
    rf"\bthe (?:author\b|(?:given|provided) {_SOURCE}\b)|"
    r"\b(?:mentioned|described|shown|listed|discussed) (?:above|below|here)\b",
    re.IGNORECASE,
)


def empty(draft: Draft, _: Mapping[str, Passage], __: str) -> Flag | None:
    """A question or an answer without a word."""
    for part, text in (("question", draft.question), ("answer", draft.answer)):
        if not terms(text):
            return Flag("empty", f"the {part} is empty", blocking=True)
    return None


def refusal(draft: Draft, _: Mapping[str, Passage], writer: str) -> Flag | None:
    """An answer that says that there is none. The offline writer's answers are the source's."""
    if writer == OFFLINE or len(draft.answer.split()) > _REFUSAL_WORDS_MAX:
        return None
    if match := _REFUSAL.search(draft.answer):
        return Flag("refusal", f"the answer says {match.group()!r}", blocking=True)
    return None


def ungrounded(draft: Draft, _: Mapping[str, Passage], __: str) -> Flag | None:
    """Quotes that stand in no passage: blocking when none was found at all."""
    if not draft.quotes:
        return Flag("ungrounded", "no quote stands in the passages", blocking=True)
    if draft.unlocated:
        reason = f"{len(draft.unlocated)} of its quotes stand in no passage"
        return Flag("ungrounded", reason, blocking=False)
    return None


def unjudged(draft: Draft, _: Mapping[str, Passage], __: str) -> Flag | None:
    """The judge gave no grades although there was something to grade."""
    if draft.score is None and draft.gradable:
        return Flag("unjudged", "the judge gave it no grades", blocking=True)
    return None


def pointing(draft: Draft, _: Mapping[str, Passage], __: str) -> Flag | None:
    """A question that speaks of a text that its reader doesn't have."""
    if match := _POINTING.search(draft.question):
        return Flag("pointing", f"the question says {match.group()!r}", blocking=True)
    return None


def copied(draft: Draft, passages: Mapping[str, Passage], writer: str) -> Flag | None:
    """A question in the passage's own words. The offline writer can't do without them."""
    run = max(copied_run(draft.question, passages[p].text) for p in draft.passages)
    if run < COPIED_RUN:
        return None
    return Flag("copied", f"{run} words in a row are the passage's", blocking=writer != OFFLINE)


CHECKS: tuple[Check, ...] = (empty, refusal, ungrounded, unjudged, pointing, copied)
"""Every check of one question by itself, in the order of its flags."""


def check(draft: Draft, passages: Mapping[str, Passage], writer: str) -> tuple[Flag, ...]:
    """All flags of a draft."""
    found = (rule(draft, passages, writer) for rule in CHECKS)
    return tuple(flag for flag in found if flag)


def flag_duplicates(samples: Sequence[Sample], similarity: float) -> list[Sample]:
    """The samples, every later twin of a better question flagged and blocked.

    Questions are twins when their bags of terms are at least so alike (Jaccard; 1 means the same
    words). The one that stays has no blocking flag; then it is held out rather than trained on,
    since a question must not stand on both sides; then higher scored; then earlier.
    """
    bags = [Counter(terms(sample.question)) for sample in samples]
    order = sorted(range(len(samples)), key=lambda place: (_rank(samples[place]), place))
    by_term: dict[str, list[int]] = defaultdict(list)
    flagged = list(samples)
    for place in order:
        twin = _twin(bags[place], bags, by_term, similarity)
        if twin is None:
            for term in bags[place]:
                by_term[term].append(place)
        else:
            reason = f"asks the same as {samples[twin].id}"
            flags = (*samples[place].flags, Flag("duplicate", reason, blocking=True))
            flagged[place] = replace(samples[place], flags=flags)
    return flagged


def _rank(sample: Sample) -> tuple[bool, bool, float]:
    score = -1.0 if sample.score is None else sample.score
    return any(flag.blocking for flag in sample.flags), sample.role == "train", -score


def _twin(
    bag: Counter[str],
    bags: Sequence[Counter[str]],
    by_term: Mapping[str, Sequence[int]],
    similarity: float,
) -> int | None:
    """A kept question that is so alike, the most alike first."""
    shared: Counter[int] = Counter()
    for term in bag:
        for place in by_term.get(term, ()):
            shared[place] += min(bag[term], bags[place][term])
    size = bag.total()
    likeness = {
        place: common / (size + bags[place].total() - common) for place, common in shared.items()
    }
    alike = [place for place, share in likeness.items() if share >= similarity]
    return min(alike, key=lambda place: (-likeness[place], place), default=None)
