"""Sentences turned into queries by rule: no model, no pretence of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pipeline.sdg.words import STOP_WORDS, is_content
from pipeline.texts import terms

WORDS_MIN = 5
WORDS_MAX = 12
"""A query of the offline writer has so many words."""

_KEPT_SHARE = 0.7
"""Of a sentence's content words; leaving some out keeps the query from being a copy."""
_CLAUSE_WORDS_MAX = 7
"""A question repeats no longer clause, one below the run that the copy check flags."""

_WORD = re.compile(r"\w+(?:[.'’\-]\w+)*")
_CLAUSE_END = re.compile(
    r"(?:[,;:(\u2014]|\.(?:\s|$)|\s--?\s|\s(?:which|that|unless|because|so that|while|by|using)\s)"
)
_IMPERATIVES = """
    add append apply build call change check clear close compare compile compute configure connect
    convert copy count create decode delete determine disable display dump enable encode encrypt
    end evaluate execute export extract fetch fill filter find flush format generate handle import
    initialize insert install invoke iterate join limit list load locate lock log map match merge
    modify move open override parse pop post prevent print process push read receive record
    redirect register release remove rename render replace report reset resolve restart restore
    retrieve run save scan search select send serialize set shut sort specify split start stop
    store submit test translate unlock update upload validate verify wait wrap write
"""
_VERBS = frozenset(_IMPERATIVES.split())
_WHETHER = re.compile(r"Returns? (?:true|True|`True`|nonzero)?\s*(?:if|when|whether) (?P<rest>.+)")
_RETURN = re.compile(r"Returns? (?P<rest>(?:an? |the )\w.+)")
_RAISED = re.compile(r"Raises? (?:an? )?`?(?P<error>\w+)`?(?: exception)? (?:if|when|on|for) \w")
_DEFINED = re.compile(r"(?:An? |The )?(?P<what>[\w.\- ]{3,40}?) (?:is|are) (?:an? |the )\w+")
_CONDITION = re.compile(r"(?:If|When) (?P<rest>[^,]{8,70}),")
_CONDITION_LATE = re.compile(
    r"(?:error|exception|fails?|failed|invalid|missing|cannot|unable|ignored|rejected|refused)\b"
    r".{0,30}? (?:if|when|unless) (?P<rest>[^,.;]{8,70})"
)

Weigh = Callable[[str], float]
"""How rare a term is: its inverse document frequency."""


def words(text: str) -> list[str]:
    """The words of a text as written, identifiers with dots and hyphens kept whole."""
    return _WORD.findall(text)


def content_words(text: str) -> list[str]:
    """The words that carry meaning, each once, in order."""
    first = {word.casefold(): word for word in reversed(words(text))}
    kept = dict.fromkeys(word.casefold() for word in words(text))
    return [first[key] for key in kept if any(map(is_content, terms(key)))]


def weight(word: str, weigh: Weigh) -> float:
    """The weight of a word's rarest term."""
    return max((weigh(term) for term in terms(word)), default=0.0)


def keywords(text: str, weigh: Weigh, most: int) -> list[str]:
    """The rarest content words of a text, in their order; some are always left out."""
    candidates = content_words(text)
    keep = min(most, max(WORDS_MIN, round(_KEPT_SHARE * len(candidates))))
    ranked = sorted(candidates, key=lambda word: (-weight(word, weigh), word))
    chosen = set(ranked[:keep])
    return [_unshouted(word, candidates[0]) for word in candidates if word in chosen]


def keyword_query(sentence: str, context: Sequence[str], weigh: Weigh) -> str:
    """A search-box query: where, then what.

    Args:
        sentence: the evidence.
        context: names of what the sentence speaks about, such as a heading.
        weigh: how rare a term is.
    """
    kept = keywords(sentence, weigh, WORDS_MAX - sum(len(words(name)) for name in context))
    return " ".join([*_absent(context, kept), *kept])


def heading_query(context: Sequence[str], passage: str, weigh: Weigh) -> str:
    """The headings above a passage, and the rarest words of the passage."""
    room = WORDS_MAX - sum(len(words(name)) for name in context)
    known = {term for name in context for term in terms(name)}
    fresh = [word for word in content_words(passage) if not known & set(terms(word))]
    ranked = sorted(fresh, key=lambda word: (-weight(word, weigh), word))
    return " ".join([*context, *ranked[: max(2, min(room, WORDS_MIN - 1))]])


def joined_query(sentences: Sequence[str], context: Sequence[str], weigh: Weigh) -> str:
    """A query that needs several passages: a few words of each."""
    room = WORDS_MAX - sum(len(words(name)) for name in context)
    each = max(2, room // len(sentences))
    parts = [" ".join(_rarest(sentence, weigh, each)) for sentence in sentences]
    return " ".join([*context, " and ".join(parts)])


def question(sentence: str, context: Sequence[str]) -> str | None:
    """A question in words, where a rule makes it read well; None where none does."""
    made = _question(sentence)
    if made is None:
        return None
    tail = _absent(context, words(made))[:1]
    return f"{made} in {tail[0]}" if tail else made


def symptom(sentence: str, context: Sequence[str]) -> str | None:
    """What somebody types who met the case that a sentence speaks of; None where it has none."""
    if match := _RAISED.match(sentence):
        made: str | None = f"why do I get {match['error']}"
    elif match := _CONDITION.match(sentence) or _CONDITION_LATE.search(sentence):
        made = _ask("problem when", match["rest"])
    else:
        made = None
    if made is None:
        return None
    tail = _absent(context, words(made))[:1]
    return f"{made} in {tail[0]}" if tail else made


def _question(sentence: str) -> str | None:
    if match := _WHETHER.match(sentence):
        return _ask("how to check whether", match["rest"])
    if match := _RETURN.match(sentence):
        return _ask("how to get", match["rest"])
    if match := _RAISED.match(sentence):
        return f"when is {match['error']} raised"
    if match := _CONDITION.match(sentence):
        return _ask("what happens when", match["rest"])
    verb, _, rest = sentence.partition(" ")
    base = verb.lower() if verb.lower() in _VERBS else verb.lower().removesuffix("s")
    if verb[:1].isupper() and base in _VERBS and rest:
        return _ask(f"how to {base}", rest)
    if (match := _DEFINED.match(sentence)) and len(content_words(match["what"])) >= 2:
        return f"what is the {match['what'].strip()}"
    return None


def _ask(opening: str, rest: str) -> str | None:
    clause = rest[: end.start()] if (end := _CLAUSE_END.search(rest)) else rest
    kept = clause.strip(" .").split()
    if not 2 <= len(kept) <= _CLAUSE_WORDS_MAX or kept[-1].lower() in STOP_WORDS:
        return None
    return " ".join([opening, *(word.strip("`*\"'“”()") for word in kept)])


def _rarest(text: str, weigh: Weigh, most: int) -> list[str]:
    candidates = content_words(text)
    ranked = sorted(candidates, key=lambda word: (-weight(word, weigh), word))[:most]
    return [_unshouted(word, candidates[0]) for word in candidates if word in ranked]


def _unshouted(word: str, first: str) -> str:
    """A capital that only begins the sentence is no part of the word."""
    return word.lower() if word == first and word.istitle() else word


def _absent(context: Sequence[str], kept: Sequence[str]) -> list[str]:
    there = {term for word in kept for term in terms(word)}
    return [name for name in context if not set(terms(name)) <= there]
