"""Where a model's quotes stand in the passages: located, never trusted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pipeline.corpus.records import Passage
from pipeline.sdg.records import Quote

_LENGTH_MIN = 12
"""Characters; anything shorter stands in too many places to prove anything."""
_TYPED = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "‹": "<", "›": ">"}
)
"""Characters that models type in their own way, and those that our prompts replace."""
_AROUND = re.compile(r"^(?:\.{3}|[\s\"'“”‘’`…])+|(?:\.{3}|[\s\"'“”‘’`…])+$")
"""What models put around a quote."""
_CLUSTER = re.compile(r"\s+|.", re.DOTALL)


def locate(words: str, passages: Sequence[Passage], preferred: str) -> Quote | None:
    """Find a quote in the passages, the one that it was said to stand in first.

    Case, whitespace, compatibility forms and typographic quotes and dashes don't count; the
    result is the passage's own spelling.

    Args:
        words: the quote as the model wrote it.
        passages: those that the model saw.
        preferred: the id of the passage that it named.
    """
    wanted, _ = _folded(_AROUND.sub("", words))
    if len(wanted) < _LENGTH_MIN:
        return None
    for passage in sorted(passages, key=lambda passage: passage.id != preferred):
        folded, origins = _folded(passage.text)
        at = folded.find(wanted)
        if at >= 0:
            start, end = origins[at][0], origins[at + len(wanted) - 1][1]
            return Quote(passage.id, start, end, passage.text[start:end])
    return None


def _folded(text: str) -> tuple[str, list[tuple[int, int]]]:
    """A text in the form that is compared, and the span that each of its characters came from.

    Characters are decomposed (NFKD, which makes the same texts equal as NFKC) one by one with their
    combining marks, because offsets cannot be followed through a composition.
    """
    folded: list[str] = []
    origins: list[tuple[int, int]] = []
    place = 0
    while place < len(text):
        match = _CLUSTER.match(text, place)
        end = match.end() if match else place + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        cluster = text[place:end]
        form = " " if cluster.isspace() else _form(cluster)
        folded.append(form)
        origins.extend([(place, end)] * len(form))
        place = end
    return "".join(folded), origins


def _form(cluster: str) -> str:
    return unicodedata.normalize("NFKD", cluster.translate(_TYPED)).casefold()
