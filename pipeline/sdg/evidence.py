"""What a passage is good for as evidence: text predicates, nothing else."""

from __future__ import annotations

import re
from enum import IntEnum

from pipeline.corpus.records import Passage
from pipeline.sdg.sentences import sentences
from pipeline.texts import terms

DIGITS_SHARE = 0.5
"""A table with more digits than this, of its letters and digits, says little in words."""
BOILERPLATE_WORDS = 40
"""Fewer words than these, mostly links or legal words, are nothing to ask about."""

_TABLE_RULE = re.compile(r"^[ \t|]*:?-{2,}:?[ \t]*(?:[|+][ \t:+|-]*)$", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
_SIGHT = re.compile(
    r"!\[[^\]\n]*\]\(|<img\b|<figure\b|^[ \t*_]*(?:figure|fig\.|table|abb\.|abbildung|tabelle|"
    r"tableau|figura|tabla)[ \t]*\d+[.:\d]*",
    re.MULTILINE | re.IGNORECASE,
)
_LINK = re.compile(r"\[[^\]\n]*\]\([^)\n]*\)|(?:https?://|www\.)\S+")
_LEGAL = re.compile(
    r"\b(?:copyright|all rights reserved|licen[sc]ed? under|privacy policy|cookies?|"
    r"terms of (?:use|service)|table of contents|back to top|skip to (?:main )?content|"
    r"previous page|next page|edit this page|last (?:updated|modified))\b|©",
    re.IGNORECASE,
)
_LINKED_SHARE = 0.6


class Worth(IntEnum):
    """How much a passage has to ask about."""

    LITTLE = 0
    """A table of figures, or boilerplate."""
    SOME = 1
    """Lists of names, code, fragments."""
    MUCH = 2
    """Sentences, or something to see with words to it."""


def worth_of(passage: Passage) -> Worth:
    """What a passage is worth as evidence."""
    if is_boilerplate(passage.text) or is_mostly_digits(passage):
        return Worth.LITTLE
    if shows(passage):
        return Worth.MUCH
    prose = any(sentence.is_closed and sentence.is_prose for sentence in sentences(passage.text))
    return Worth.MUCH if prose else Worth.SOME


def shows(passage: Passage) -> bool:
    """Whether there is something to see: a table, a figure's or table's caption, an image."""
    return is_table(passage) or bool(_SIGHT.search(passage.text))


def is_table(passage: Passage) -> bool:
    """Whether it holds a table, or goes on with one."""
    if passage.table_header:
        return True
    return bool(_TABLE_RULE.search(passage.text)) and bool(_TABLE_ROW.search(passage.text))


def is_mostly_digits(passage: Passage) -> bool:
    """Whether it is a table of figures."""
    if not is_table(passage):
        return False
    told = [character for character in passage.text if character.isalnum()]
    return sum(map(str.isdigit, told)) > DIGITS_SHARE * len(told)


def is_boilerplate(text: str) -> bool:
    """Whether it is short and mostly links, navigation or a licence's lines."""
    words = terms(text)
    if not words:
        return True
    if len(words) >= BOILERPLATE_WORDS:
        return False
    linked = sum(len(terms(match.group())) for match in _LINK.finditer(text))
    if linked > _LINKED_SHARE * len(words):
        return True
    legal = _LEGAL.findall(text)
    # One such word may be the subject ("how cookies are set"); two make a footer.
    return len({found.casefold() for found in legal}) >= 2
