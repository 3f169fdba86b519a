"""Words that carry meaning: shared by the plan, the offline writer and the checks."""

from __future__ import annotations

from functools import lru_cache

from pipeline.texts import terms

_FUNCTION_WORDS = """
    a about above after again all also although always am among an and another any are as at be
    became because been before being below between both but by can cannot could did do does doing
    done down during each either else enough etc even ever every few for from further get gets
    given gives had has have having he hence her here hers him his how however i if in instead
    into is it its itself just least less let like made make makes many may me might more most
    much must my neither never no nor not now of off often on once one only onto or other others
    our out over own per perhaps rather s same see several shall she should since so some still
    such t than that the their them then there therefore these they this those though through
    thus to too two under until up upon us use used uses using usually very was way we well were
    what when where whether which while who whom whose why will with within without would yet you
    your
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English function words; other languages are served by document frequency alone."""

_CONTENT_LENGTH_MIN = 3
_JOINED_MAX = 1024
"""Passages that are kept as terms: the questions about one come in a row."""


def is_content(term: str) -> bool:
    """Whether a lower-case term says what a text is about."""
    if not term.isascii():
        return True
    return (
        len(term) >= _CONTENT_LENGTH_MIN and term not in STOP_WORDS and any(map(str.isalpha, term))
    )


def content_terms(text: str) -> list[str]:
    """The terms of a text without function words, fragments and bare numbers, in order."""
    return [term for term in terms(text) if is_content(term)]


def copied_run(query: str, passage: str) -> int:
    """How many words in a row the query shares with the passage at most."""
    asked, there = terms(query), _joined(passage)
    best = 0
    for start in range(len(asked)):
        while (
            start + best < len(asked) and f" {' '.join(asked[start : start + best + 1])} " in there
        ):
            best += 1
    return best


def shared_content(query: str, passage: str) -> tuple[int, int]:
    """How many of the query's distinct content words stand in the passage, and of how many."""
    asked, there = set(content_terms(query)), _joined(passage)
    return sum(f" {term} " in there for term in asked), len(asked)


def is_unspaced(text: str) -> bool:
    """Whether a text is mostly in a script without spaces: each character is a term then."""
    found = terms(text)
    return sum(len(term) == 1 and not term.isascii() for term in found) > len(found) / 2


@lru_cache(_JOINED_MAX)
def _joined(passage: str) -> str:
    return f" {' '.join(terms(passage))} "
