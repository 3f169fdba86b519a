"""Mechanical checks: free, before and beside any judge. Each is one function in `CHECKS`.

What blocks is what no judge may outvote: nothing to read, a refusal, no evidence, no grades, an
unseen text that is pointed at, an invented number or name, and a twin of another question. All else
is told, and left to the score and to people: what is copied or easy still trains a little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise

from pipeline.corpus.records import Passage
from pipeline.sdg.evidence import is_boilerplate
from pipeline.sdg.founded import unfounded_in
from pipeline.sdg.records import EASY, SUSPECT, Flag
from pipeline.sdg.wording import dangling_word, given_away, pointing_words, says_little
from pipeline.sdg.words import copied_run, is_unspaced, shared_content
from pipeline.sdg.writer import OFFLINE, Draft
from pipeline.texts import terms

Check = Callable[[Draft, Mapping[str, Passage], str], Flag | None]
"""A draft, the passages by id and the writer's name, to what is wrong."""

COPIED_RUN = 6
"""So many words in a row from a passage make a question a copy of it."""
COPIED_SHARE = 0.85
"""So does such a share of its content words, if it has at least `COPIED_WORDS_MIN`."""
COPIED_WORDS_MIN = 6
EASY_RANK = 1
"""The base model finds the evidence first: there is little to learn."""
SUSPECT_RANK = 50
"""The base model doesn't even find the evidence so far down: perhaps it isn't the evidence."""

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
_NAMED_MAX = 3
"""So many things are named in a reason."""
_TOUCHING = 200
"""Characters between two quotes that might as well be one. Ours."""


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
    if words := pointing_words(draft.question):
        return Flag("pointing", f"the question says {words!r}", blocking=True)
    return None


def unfounded(draft: Draft, passages: Mapping[str, Passage], __: str) -> Flag | None:
    """Numbers and identifiers of the answer that stand in none of the passages.

    What the question names counts as there. Small bare numbers may be counts and block nothing.
    """
    texts = [draft.question]
    for passage in (passages[identity] for identity in draft.passages):
        title = draft.assignment.title_of(passage)
        texts += [passage.text, passage.table_header, title, *passage.headings]
    found = unfounded_in(draft.answer, texts)
    if not found:
        return None
    named = ", ".join(repr(entry.text) for entry in found[:_NAMED_MAX])
    more = f" and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else ""
    reason = f"the answer says {named}{more}, not in its passages"
    return Flag("unfounded", reason, blocking=any(entry.certain for entry in found))


def copied(draft: Draft, passages: Mapping[str, Passage], writer: str) -> Flag | None:
    """A question in the passage's own words teaches to match words.

    Where no spaces part the words each character is a term, and a word has about two. The offline
    writer has no other words than the passage's: of it only long runs are told.
    """
    texts = [passages[identity].text for identity in draft.passages]
    run = max(copied_run(draft.question, text) for text in texts)
    there, asked = max(shared_content(draft.question, text) for text in texts)
    share = there / asked if asked else 0.0
    long = run >= COPIED_RUN * (2 if is_unspaced(draft.question) else 1)
    full = asked >= COPIED_WORDS_MIN and share >= COPIED_SHARE
    if not long and (not full or writer == OFFLINE or is_unspaced(draft.question)):
        return None
    reason = f"{run} words in a row and {share:.0%} of its content words are one passage's"
    return Flag("copied", reason, blocking=False)


def dangling(draft: Draft, _: Mapping[str, Passage], __: str) -> Flag | None:
    """A question about an "it" that it never names."""
    if word := dangling_word(draft.question):
        return Flag("dangling", f"the question doesn't say what {word!r} is", blocking=False)
    return None


def generic(draft: Draft, _: Mapping[str, Passage], __: str) -> Flag | None:
    """A question with hardly a word that says what it is about."""
    if says_little(draft.question):
        return Flag("generic", "the question names no subject", blocking=False)
    return None


def given(draft: Draft, _: Mapping[str, Passage], writer: str) -> Flag | None:
    """An answer that tells nothing new. The offline writer makes questions of their answers."""
    if writer == OFFLINE:
        return None
    if reason := given_away(draft.question, draft.answer):
        return Flag("given", reason, blocking=False)
    return None


def one_hop(draft: Draft, passages: Mapping[str, Passage], _: str) -> Flag | None:
    """A question that was to join passages, and quotes one place alone."""
    if draft.assignment.hops < 2 or not draft.quotes:
        return None
    quoted = {quote.passage for quote in draft.quotes}
    planned = f"it was to join {draft.assignment.hops} passages"
    if len(quoted) < 2:
        return Flag("one_hop", f"{planned}, but every quote is from one", blocking=False)
    spans = sorted(
        (passages[q.passage].document, passages[q.passage].start + q.start, len(q.text))
        for q in draft.quotes
    )
    touching = all(
        one[0] == other[0] and other[1] - one[1] - one[2] <= _TOUCHING
        for one, other in pairwise(spans)
    )
    if touching:
        return Flag("one_hop", f"{planned}, but its quotes stand side by side", blocking=False)
    return None


def boilerplate(draft: Draft, passages: Mapping[str, Passage], _: str) -> Flag | None:
    """Evidence that says nothing: a footer, a list of links."""
    if all(is_boilerplate(passages[identity].text) for identity in draft.passages):
        return Flag("boilerplate", "its evidence is a few words of links or notices", False)
    return None


CHECKS: tuple[Check, ...] = (
    empty,
    refusal,
    ungrounded,
    unjudged,
    pointing,
    unfounded,
    copied,
    dangling,
    generic,
    given,
    one_hop,
    boilerplate,
)
"""Every check of one question by itself, in the order of its flags."""


def check(draft: Draft, passages: Mapping[str, Passage], writer: str) -> tuple[Flag, ...]:
    """All flags of a draft."""
    found = (rule(draft, passages, writer) for rule in CHECKS)
    return tuple(flag for flag in found if flag)


def rank_flag(ranks: Mapping[str, int]) -> Flag | None:
    """What the place of the evidence tells, by the base model or, without its rank, by BM25.

    From `EASY_RANK` to `SUSPECT_RANK` a question is most worth training on, and has no flag. The
    flag never blocks: BM25 misses good paraphrases, and the base model is what is to be bettered.

    Args:
        ranks: the place among all passages, from 1, by retriever (`base`, `bm25`).
    """
    name = "base" if "base" in ranks else "bm25"
    if name not in ranks:
        return None
    rank, who = ranks[name], {"base": "the base model", "bm25": "BM25"}[name]
    if rank <= EASY_RANK:
        return Flag(EASY, f"{who} finds its evidence first already", blocking=False)
    if rank > SUSPECT_RANK:
        return Flag(SUSPECT, f"{who} finds its evidence at place {rank} only", blocking=False)
    return None
