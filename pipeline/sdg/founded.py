"""Numbers and identifiers of an answer that stand nowhere in its evidence: mostly invented facts.

Numbers are compared as values, so that 1,000 and 1000 are one, and a version counts as there when a
longer one that begins with it is. Identifiers are compared without case, blanks and punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pipeline.texts import terms

COUNTS_MAX = 12
"""A bare whole number up to this may count what the evidence lists without saying how many."""

_THOUSANDS = re.compile(r"\d{1,3}(?:([.,' \u2019])\d{3})(?:\1\d{3})*")
_DIGITS = r"\d{1,3}(?:[,' \u2019]\d{3})+(?:\.\d+)?(?!\d)|\d+(?:[.,]\d+)*(?:e[+-]?\d{1,2})?"
_NUMBER = re.compile(rf"(?<![\w.])v?(?P<digits>{_DIGITS})(?P<unit>\s?%|\s?[kK]\b|)")
_ANY_NUMBER = re.compile(rf"(?P<digits>{_DIGITS})(?P<unit>\s?[kK]\b|\s?thousand\b|)")
_DIGITS_MAX = 40
"""Longer rows of digits are compared as they are."""
_MARKER = re.compile(r"(?m)^[ \t]*\(?\d{1,2}[.)][ \t]|(?<=\s)\(?\d{1,2}\)(?=\s)|\[\d{1,2}\]")
"""Numbers that count an answer's own items."""

_IDENTIFIER = re.compile(
    r"(?P<url>(?:https?://|www\.)[^\s<>\"')\]]+)"
    r"|(?<![\w-])--[A-Za-z][\w-]*"  # an option
    r"|(?<![\w/.<])/[A-Za-z][\w.-]*(?:/[\w.-]+)+"  # a path
    r"|(?<!\w)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"  # a dotted name
    r"|(?<!\w)[A-Za-z][A-Za-z0-9]*_\w+"  # snake case
    r"|(?<!\w)(?:[a-z]+[A-Z]\w*|[A-Z][a-z0-9]+[A-Z]\w*)"  # camel case
    r"|(?<![\w.-])[A-Za-z]+\d\w*"  # letters and digits
    r"|`[^`\n]{2,60}`"
)
_ABBREVIATION = re.compile(r"[A-Za-z](?:\.[A-Za-z])+")
_WORDS = (
    "zero none",
    "one first once single january jan",
    "two second twice both double pair february feb",
    "three third thrice triple march mar",
    "four fourth april apr",
    "five fifth may",
    "six sixth june jun",
    "seven seventh july jul",
    "eight eighth august aug",
    "nine ninth september sep sept",
    "ten tenth october oct",
    "eleven eleventh november nov",
    "twelve twelfth dozen december dec",
)
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "half": 50, "fifty": 50, "sixty": 60}
_LARGE = {"ninety": 90, "hundred": 100, "thousand": 1000, "million": 1_000_000}
_WORD_NUMBERS = {
    word: str(value)
    for word, value in (
        *((word, value) for value, words in enumerate(_WORDS) for word in words.split()),
        *_TENS.items(),
        *_LARGE.items(),
    )
}
"""Numbers that English texts spell out, months among them."""


@dataclass(frozen=True)
class Unfounded:
    """What an answer says on its own.

    Attributes:
        text: as the answer spells it.
        certain: whether it is more than a small bare number, which may be a count.
    """

    text: str
    certain: bool


def unfounded_in(answer: str, evidence: Iterable[str]) -> list[Unfounded]:
    """The numbers and identifiers of an answer that stand in none of the texts, in order."""
    there = _There("\n".join(evidence))
    answer = unicodedata.normalize("NFKC", answer)
    found: dict[str, Unfounded] = {}
    for match in _IDENTIFIER.finditer(answer):
        name = match.group().strip("`.,;:")
        if not there.names(name):
            found.setdefault(name, Unfounded(name, certain=True))
    # What is left of names are plain words and numbers.
    rest = _MARKER.sub(" ", _IDENTIFIER.sub(" ", answer))
    for match in _NUMBER.finditer(rest):
        spelled = match.group().strip()
        if not there.counts(match["digits"], match["unit"]):
            bare = len(match["digits"]) < 4 and match["digits"].isdigit() and not match["unit"]
            small = bare and int(match["digits"]) <= COUNTS_MAX
            found.setdefault(spelled, Unfounded(spelled, certain=not small))
    return list(found.values())


class _There:
    """What the evidence holds."""

    def __init__(self, text: str) -> None:
        text = unicodedata.normalize("NFKC", text)
        self._squeezed = _squeezed(text)
        self._terms = set(terms(text))
        self._numbers: set[str] = set()
        for match in _ANY_NUMBER.finditer(text):
            self._numbers |= _parts(match["digits"])
            self._numbers |= _values(match["digits"], match["unit"])
        self._numbers |= {_WORD_NUMBERS[term] for term in self._terms & _WORD_NUMBERS.keys()}

    def names(self, identifier: str) -> bool:
        """Whether an identifier stands there, in one piece or all its parts."""
        whole = _squeezed(identifier)
        if (
            _ABBREVIATION.fullmatch(identifier)
            or not whole
            or whole in self._squeezed
            or whole.removesuffix("s") in self._squeezed
        ):
            return True
        parts = terms(identifier.replace("_", " "))
        return all(part in self._terms or _values(part, "") & self._numbers for part in parts)

    def counts(self, digits: str, unit: str) -> bool:
        """Whether a number stands there, however it is written."""
        if _values(digits, unit) & self._numbers:
            return True
        # Numbers in a row look like one with its thousands apart.
        parts = re.split(r"[,' \u2019]", digits)
        return len(parts) > 1 and all(_values(part, "") & self._numbers for part in parts)


def _squeezed(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _parts(digits: str) -> set[str]:
    """What a number in a text founds besides itself: its pieces, and what a version begins with."""
    pieces = re.findall(r"\d+", digits)
    dotted = digits.split(".")
    begun = {".".join(dotted[:count]) for count in range(1, len(dotted) + 1)}
    return {value for piece in (*pieces, *begun) for value in _values(piece, "")}


def _values(digits: str, unit: str) -> set[str]:
    """The values that a number may stand for, in one spelling each."""
    spellings = {re.sub(r"[,' \u2019]", "", digits)}
    if _THOUSANDS.fullmatch(digits):
        spellings.add(re.sub(r"\D", "", digits))
    if re.fullmatch(r"\d+,\d+", digits):
        spellings.add(digits.replace(",", "."))
    times = 1000 if unit.strip().casefold() in ("k", "thousand") else 1
    return {_canonical(spelling, times) for spelling in spellings}


def _canonical(spelling: str, times: int) -> str:
    try:
        value = Decimal(spelling) * times
    except InvalidOperation:
        return spelling
    return f"{value.normalize():f}" if len(spelling) <= _DIGITS_MAX else spelling
