"""What the whole corpus alone shows: twins of questions, and evidence that stands everywhere."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from pipeline.corpus.records import Passage
from pipeline.sdg.records import Flag, Sample
from pipeline.texts import terms

REPEATED_DOCUMENTS = 3
"""A text that stands in so many documents belongs to none of them."""


def flag_duplicates(samples: Sequence[Sample], similarity: float) -> list[Sample]:
    """The samples, every later twin of a better question flagged and blocked.

    Questions are twins when their bags of terms are at least so alike (Jaccard; 1 means the same
    words). The one that stays has no blocking flag; then it is held out rather than trained on,
    since a question must not stand on both sides; then higher scored; then earlier.

    Two bags so alike share one of their rarest elements: of a bag of n elements it is enough to
    look at the n - ceil(similarity x n) + 1 rarest. Chaudhuri, Ganti and Kaushik, "A Primitive
    Operator for Similarity Joins in Data Cleaning" (2006), call it prefix filtering.
    """
    bags = _bags([sample.question for sample in samples])
    kept: dict[int, list[int]] = defaultdict(list)
    flagged = list(samples)
    for place in sorted(range(len(samples)), key=lambda place: (_rank(samples[place]), place)):
        bag = bags[place]
        # A hair's breadth less, because 0.9 x 10 may come out above 9.
        least = math.ceil(similarity * len(bag) - 1e-9)
        telling = bag[: len(bag) - max(least, 1) + 1]
        near = {other for element in telling for other in kept.get(element, ())}
        twin = _twin(bag, bags, near, similarity)
        if twin is None:
            for element in telling:
                kept[element].append(place)
        else:
            reason = f"asks the same as {samples[twin].id}: {samples[twin].question!r}"
            flags = (*samples[place].flags, Flag("duplicate", reason, blocking=True))
            flagged[place] = replace(samples[place], flags=flags)
    return flagged


def flag_repeated(samples: Sequence[Sample], passages: Iterable[Passage]) -> list[Sample]:
    """The samples, marked where all of the evidence stands in `REPEATED_DOCUMENTS` or more.

    Such a passage is a header, a licence or a generated note, and has rivals that say the same.
    """
    documents: dict[str, set[str]] = defaultdict(set)
    shown: dict[str, str] = {}
    for passage in passages:
        shown[passage.id] = " ".join(passage.text.split())
        documents[shown[passage.id]].add(passage.document)
    flagged = []
    for sample in samples:
        fewest = min(len(documents[shown[identity]]) for identity in sample.passages)
        if fewest >= REPEATED_DOCUMENTS:
            flag = Flag("repeated", f"its evidence stands in {fewest} documents", blocking=False)
            sample = replace(sample, flags=(*sample.flags, flag))
        flagged.append(sample)
    return flagged


def _rank(sample: Sample) -> tuple[bool, bool, float]:
    score = -1.0 if sample.score is None else sample.score
    return any(flag.blocking for flag in sample.flags), sample.role == "train", -score


def _bags(questions: Sequence[str]) -> list[list[int]]:
    """Each question's elements as numbers, the rarest of all questions first."""
    found = [_elements(question) for question in questions]
    frequency = Counter(chain.from_iterable(found))
    ranked = sorted(frequency, key=lambda element: (frequency[element], element))
    number = {element: place for place, element in enumerate(ranked)}
    return [sorted(number[element] for element in elements) for elements in found]


def _elements(question: str) -> list[str]:
    """The terms of a question, repeated ones told apart: then bags compare as sets."""
    seen: Counter[str] = Counter()
    found = []
    for term in terms(question):
        seen[term] += 1
        # No term holds a space.
        found.append(term if seen[term] == 1 else f"{term} {seen[term]}")
    return found


def _twin(
    bag: Sequence[int], bags: Sequence[Sequence[int]], near: Iterable[int], similarity: float
) -> int | None:
    """A kept question that is so alike, the most alike first."""
    mine = set(bag)
    best: tuple[float, int] | None = None
    for place in near:
        other = bags[place]
        if min(len(bag), len(other)) < similarity * max(len(bag), len(other)) - 1e-9:
            continue
        shared = len(mine.intersection(other))
        likeness = shared / (len(bag) + len(other) - shared)
        if likeness >= similarity and (best is None or (-likeness, place) < best):
            best = (-likeness, place)
    return None if best is None else best[1]
