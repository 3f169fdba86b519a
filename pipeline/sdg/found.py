"""What the ranks of all questions tell: how much there is to win. Pure, and loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FOUND_TOP = 5
"""Evidence up to this place counts as found."""
LITTLE_TO_WIN = 0.9
"""A base model that finds so much leaves little. Ours, as the next one."""
MUCH_TO_WIN = 0.7
"""Below it there is much to win; between the two, something."""
BASE = "base"
BM25 = "bm25"
"""Names of the retrievers in `Sample.ranks`."""


def found_share(ranks: Iterable[Mapping[str, int]], retriever: str) -> float | None:
    """The share of questions whose evidence a retriever has in its top `FOUND_TOP`.

    Args:
        ranks: of each question, by retriever.
        retriever: `BASE` or `BM25`.

    Returns:
        0 to 1; None where it ranked none of them.
    """
    places = [each[retriever] for each in ranks if retriever in each]
    return sum(place <= FOUND_TOP for place in places) / len(places) if places else None


def found_words(base: float | None, bm25: float | None) -> str:
    """What that means before anybody reviews, in a sentence; empty without any rank.

    Args:
        base: the base model's share.
        bm25: BM25's, told where the base model didn't rank: it knows spelling alone, so nothing
            is concluded from it.
    """
    if base is not None:
        win = "little" if base >= LITTLE_TO_WIN else "much" if base < MUCH_TO_WIN else "something"
        return (
            f"The base model already finds {base:.0%} in its top {FOUND_TOP}: {win} to win."
        ).replace("%", " %")
    if bm25 is not None:
        return (
            f"BM25 finds {bm25:.0%} in its top {FOUND_TOP}; the base model didn't rank."
        ).replace("%", " %")
    return ""
