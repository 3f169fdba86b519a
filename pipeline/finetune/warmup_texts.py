"""What a warm-up learns from bare passages: noised tokens, and pairs that belong together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.corpus.records import Passage

MASKED_SHARE = 0.15
"""Of the tokens; Devlin et al., "BERT" (2019), section 3.1, as the three that follow."""

AS_MASK, AS_RANDOM = 0.8, 0.1
"""Of the masked ones: shown as the mask token, shown as a random token; the rest as they are."""

DELETED_SHARE = 0.6
"""Of the tokens; the best of those tried by Wang et al., "TSDAE" (2021)."""

NOT_ASKED = -100
"""The label of a token that is not to be guessed."""

_HEADINGS_SAID = 3
"""Of a passage's headings, the innermost: the outer ones are the same for a whole document."""

_MARKUP = "#=-*_~ \t"


@dataclass(frozen=True)
class WeakPair:
    """Two texts of one document that probably speak of the same.

    Attributes:
        left: stands where a question will stand.
        right: the passage.
        document: its document's id.
    """

    left: str
    right: str
    document: str


def mask_tokens(
    ids: Sequence[int],
    special: frozenset[int],
    mask: int,
    vocabulary: int,
    generator: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """Hide some tokens of one text; at least one.

    Args:
        ids: token ids, of which at least one is not special.
        special: ids that are never hidden.
        mask: the mask token's id.
        vocabulary: ids that a random token is drawn from, 0 to this.
        generator: random numbers.

    Returns:
        What the model sees, and what it is to guess there: `NOT_ASKED` for what is not hidden.
    """
    plain = np.array([token not in special for token in ids])
    chosen = plain & (generator.random(len(ids)) < MASKED_SHARE)
    if not chosen.any():
        chosen[generator.choice(np.flatnonzero(plain))] = True
    drawn = generator.random(len(ids))
    others = generator.integers(vocabulary, size=len(ids))
    seen, asked = [], []
    for token, hidden, draw, other in zip(ids, chosen, drawn, others, strict=True):
        shown = token
        if hidden and draw < AS_MASK:
            shown = mask
        elif hidden and draw < AS_MASK + AS_RANDOM:
            shown = int(other)
        seen.append(shown)
        asked.append(token if hidden else NOT_ASKED)
    return seen, asked


def delete_tokens(
    ids: Sequence[int], special: frozenset[int], generator: np.random.Generator
) -> list[int]:
    """Drop tokens of one text, each with the probability `DELETED_SHARE`; one stays at least.

    Special tokens stay: pooling counts on them.
    """
    plain = np.array([token not in special for token in ids])
    kept = ~plain | (generator.random(len(ids)) >= DELETED_SHARE)
    if not (kept & plain).any():
        kept[generator.choice(np.flatnonzero(plain))] = True
    return [token for token, stays in zip(ids, kept, strict=True) if stays]


def weak_pairs(passages: Iterable[Passage]) -> list[WeakPair]:
    """Headings with what stands below them, and neighbouring passages of one document.

    Both are the pairs of Izacard et al., "Contriever" (2021), and Wang et al., "E5" (2022), that
    bare documents have. Headings are taken out of the passage: to find them again needs no
    understanding.

    Args:
        passages: document by document, in reading order.
    """
    pairs = []
    found = list(passages)
    for passage in found:
        heading = " - ".join(passage.headings[-_HEADINGS_SAID:])
        below = _without_headings(passage)
        if heading and below:
            pairs.append(WeakPair(heading, below, passage.document))
    for left, right in pairwise(found):
        if left.document == right.document:
            pairs.append(WeakPair(left.text, right.text, left.document))
    return pairs


def _without_headings(passage: Passage) -> str:
    titles = set(passage.headings)
    lines = passage.text.splitlines()
    # The line below a heading that is underlined holds markup alone.
    kept = [line for line in lines if line.strip(_MARKUP) not in titles | {""}]
    return "\n".join(kept)
