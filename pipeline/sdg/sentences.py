"""Sentences of a passage, with exact offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_LINE = re.compile(r"[^\n]*\n?")
_MARGIN = re.compile(r"^[ \t]*(?:\|[ \t]*)*")
_BULLET = re.compile(r"(?:[-*+•]|\d{1,3}[.)])[ \t]+")
_OWN_LINE = re.compile(r"#{1,6} |>>>|\.\.\. |```|~~~|[=\-~^_*]{3,}\s*$")
_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s+[\"'“‘(\[`*]*[A-Z0-9À-ÞЀ-Я])|[。！？]")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|Mr|Ms|Dr|No|Fig|approx)\.$")
_GAP = re.compile(r"\s*\n[ \t]*(?:\|[ \t]*)*|\s+")


_PROSE_WORDS = range(5, 46)
_PROSE_LETTERS = 0.75
"""The share of letters and spaces in a sentence that isn't code or a table."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of a passage: `text[start:end]`."""

    start: int
    end: int
    text: str

    @cached_property
    def plain(self) -> str:
        """The sentence on one line, without margins."""
        return _GAP.sub(" ", self.text).strip()

    @cached_property
    def is_prose(self) -> bool:
        """Whether it reads like a sentence or a phrase: not code, a signature or a lead-in."""
        plain = self.plain
        return (
            len(plain.split()) in _PROSE_WORDS
            and not plain.endswith(":")
            and not _OWN_LINE.match(plain)
            and sum(map(str.isalpha, plain)) + plain.count(" ") >= _PROSE_LETTERS * len(plain)
        )

    @property
    def is_closed(self) -> bool:
        """Whether it ends as a sentence does."""
        return self.text[-1:] in tuple(".!?。！？")


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text. None reaches over a blank line, a list item or a code line."""
    found = []
    for start, end in _blocks(text):
        cut = start
        for match in _END.finditer(text, start, end):
            if not _ABBREVIATION.search(text, max(start, match.end() - 8), match.end()):
                found.append(_trimmed(text, cut, match.end()))
                cut = match.end()
        found.append(_trimmed(text, cut, end))
    return [sentence for sentence in found if sentence.text]


def _trimmed(text: str, start: int, end: int) -> Sentence:
    inner = text[start:end]
    lead = _MARGIN.match(inner.lstrip("\n \t"))
    start += len(inner) - len(inner.lstrip("\n \t")) + (lead.end() if lead else 0)
    if bullet := _BULLET.match(text, start, end):
        start = bullet.end()
    kept = text[start:end].rstrip(" \t\n|")
    return Sentence(start, start + len(kept), kept)


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Spans of lines that run on: the same indentation, no blank line or list item between."""
    start, end, indent, item = 0, 0, -1, False
    for match in _LINE.finditer(text):
        line = match.group()
        margin = _MARGIN.match(line)
        width = margin.end() if margin else 0
        body = line[width:].strip()
        bullet = _BULLET.match(line, width)
        runs_on = body and not bullet and not _OWN_LINE.match(body)
        if not (runs_on and end > start and (width == indent or (item and width > indent))):
            if end > start:
                yield start, end
            start, end, indent, item = match.start(), match.start(), width, bool(bullet)
        elif item:
            indent, item = width, False
        if body:
            end = match.end()
            if _OWN_LINE.match(body):
                yield start, end
                start = end
    if end > start:
        yield start, end
