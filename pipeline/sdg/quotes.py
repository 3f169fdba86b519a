"""Where a model's quotes stand in the passages: located, never trusted."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from itertools import pairwise

from pipeline.corpus.records import Passage
from pipeline.sdg.data_blocks import INVISIBLE
from pipeline.sdg.records import Quote

LIKENESS_MIN = 0.9
"""A quote with slips counts as found where so much of its words and the passage's is the same:
2 x shared words in order / words of both. The study of this design suggests it."""
_LENGTH_MIN = 12
"""Characters; anything shorter stands in too many places to prove anything."""
_WORDS_MIN = 5
"""With fewer words no slip is let pass."""
_WINDOWS_MAX = 3
"""The likeliest places that are compared word by word."""
_FOLDED_MAX = 1024
"""Passages that are kept folded; each holds some ten bytes a character."""
_TYPED = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "‹": "<", "›": ">"}
)
"""Characters that models type in their own way, and those that our prompts replace."""
_AROUND = " \t\n\"'“”‘’`…"
"""What models put around a quote, besides three dots."""
_GAP = re.compile(r"\s*(?:\[(?:\.{3}|…)\]|\.{3}|…)\s*")
"""Where models leave something out."""
_CLUSTER = re.compile(r"\s+|.", re.DOTALL)
_WORD = re.compile(r"\w+")


def locate(words: str, passages: Sequence[Passage], preferred: str) -> Quote | None:
    """Find a quote in the passages, the one that it was said to stand in first.

    Case, whitespace, compatibility forms, invisible characters and typographic quotes and dashes
    don't count. What stands nowhere so is looked for with a few slips (`LIKENESS_MIN`), and a quote
    with a gap ("...") by its parts, of which the longest is taken. The result is the passage's own
    spelling in any case.

    Args:
        words: the quote as the model wrote it.
        passages: those that the model saw.
        preferred: the id of the passage that it named.
    """
    bare = _bare(words)
    ordered = sorted(passages, key=lambda passage: passage.id != preferred)
    parts = _GAP.split(bare)
    return _found(bare, ordered) or (_parts(parts, ordered) if len(parts) > 1 else None)


def _found(bare: str, ordered: Sequence[Passage]) -> Quote | None:
    wanted = _folded(bare).text.strip()
    if len(wanted) < _LENGTH_MIN:
        return None
    for passage in ordered:
        folded = _folded(passage.text)
        at = folded.text.find(wanted)
        if at >= 0:
            return folded.quote(passage, at, at + len(wanted))
    tokens = _WORD.findall(wanted)
    if len(tokens) < _WORDS_MIN:
        return None
    for passage in ordered:
        folded = _folded(passage.text)
        if span := _nearly(tokens, folded.words):
            start, end = folded.places[span[0]][0], folded.places[span[1] - 1][1]
            return folded.quote(passage, start, end)
    return None


def _parts(parts: Sequence[str], ordered: Sequence[Passage]) -> Quote | None:
    """The longest part of a quote with gaps, if all stand in one passage, one after another."""
    for passage in ordered:
        found = [_found(part, [passage]) for part in parts]
        quotes = [quote for quote in found if quote]
        if len(quotes) == len(parts) and all(a.end <= b.start for a, b in pairwise(quotes)):
            return max(quotes, key=lambda quote: quote.end - quote.start)
    return None


def _bare(words: str) -> str:
    """A quote without what models put around it."""
    while True:
        bare = words.strip(_AROUND).removeprefix("...").removesuffix("...")
        if bare == words:
            return bare
        words = bare


@dataclass(frozen=True)
class _Folded:
    """A text in the form that is compared, and the span that each of its characters came from."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Where the words of `text` stand in it."""
        return [match.span() for match in _WORD.finditer(self.text)]

    @cached_property
    def words(self) -> list[str]:
        """The words of `text`."""
        return [self.text[start:end] for start, end in self.places]

    def quote(self, passage: Passage, start: int, end: int) -> Quote:
        """A span of `text` as the passage spells it."""
        first, last = self.starts[start], self.ends[end - 1]
        return Quote(passage.id, first, last, passage.text[first:last])


@lru_cache(_FOLDED_MAX)
def _folded(text: str) -> _Folded:
    """Fold a text.

    Characters are decomposed (NFKD, which makes the same texts equal as NFKC) one by one with their
    combining marks, because offsets cannot be followed through a composition.
    """
    if text.isascii() and not INVISIBLE.search(text):
        return _folded_ascii(text)
    folded: list[str] = []
    starts, ends = array("l"), array("l")
    place = 0
    while place < len(text):
        match = _CLUSTER.match(text, place)
        end = match.end() if match else place + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        cluster = text[place:end]
        form = " " if cluster.isspace() else _form(cluster)
        if form and not (form == " " and folded and folded[-1] == " "):
            folded.append(form)
            starts.extend([place] * len(form))
            ends.extend([end] * len(form))
        place = end
    return _Folded("".join(folded), starts, ends)


def _folded_ascii(text: str) -> _Folded:
    """The same for plain text: nothing but case and runs of white space changes."""
    starts, ends = array("l"), array("l")
    for match in re.finditer(r"\s+|\S+", text):
        first, last = match.span()
        if text[first].isspace():
            starts.append(first)
            ends.append(last)
        else:
            starts.extend(range(first, last))
            ends.extend(range(first + 1, last + 1))
    return _Folded(re.sub(r"\s+", " ", text).lower(), starts, ends)


def _form(cluster: str) -> str:
    visible = INVISIBLE.sub("", cluster.translate(_TYPED))
    return unicodedata.normalize("NFKD", visible).casefold()


def _nearly(wanted: Sequence[str], words: Sequence[str]) -> tuple[int, int] | None:
    """The span of words that is most like the wanted ones, if it is like enough."""
    best, found = LIKENESS_MIN, None
    for start, end in _windows(wanted, words):
        matcher = SequenceMatcher(None, wanted, words[start:end], autojunk=False)
        blocks = [block for block in matcher.get_matching_blocks() if block.size]
        if not blocks:
            continue
        first, last = start + blocks[0].b, start + blocks[-1].b + blocks[-1].size
        same = sum(block.size for block in blocks)
        likeness = 2 * same / (len(wanted) + last - first)
        if likeness > best or (found is None and likeness == best):
            best, found = likeness, (first, last)
    return found


def _windows(wanted: Sequence[str], words: Sequence[str]) -> Iterable[tuple[int, int]]:
    """The places that share the most words with the wanted ones, if any could be like enough."""
    # A span of w words is like enough only if 2 x shared / (n + w) is; shared is n at most.
    size = int(len(wanted) * (2 / LIKENESS_MIN - 1)) + 1
    least = LIKENESS_MIN * len(wanted) / (2 - LIKENESS_MIN)
    need = Counter(wanted)
    if (need & Counter(words)).total() < least:
        return []
    held: Counter[str] = Counter()
    shared, scored = 0, []
    for place, word in enumerate(words):
        held[word] += 1
        shared += held[word] <= need[word]
        if place >= size:
            gone = words[place - size]
            shared -= held[gone] <= need[gone]
            held[gone] -= 1
        if shared >= least:
            scored.append((-shared, place))
    chosen: list[int] = []
    for _, place in sorted(scored):
        if all(abs(place - other) > size // 2 for other in chosen):
            chosen.append(place)
        if len(chosen) == _WINDOWS_MAX:
            break
    return [(max(0, place - size + 1), place + 1) for place in chosen]
