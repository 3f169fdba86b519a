from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.groups import Union, group_documents

WORDS = [f"w{index}" for index in range(400)]


def prose(seed, length=120):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def test_a_document_with_a_changed_line_joins_its_original():
    original = prose(1)
    edited = original.replace(original.split()[60], "changed", 1)
    groups = group_documents({"d2": original, "d1": edited, "d3": prose(2)}, 0.8)
    assert groups == {"d1": ["d1", "d2"], "d3": ["d3"]}


def test_a_document_contained_in_a_longer_one_joins_it():
    part = prose(3)
    assert group_documents({"d1": part, "d2": f"{prose(4, 900)} {part}"}, 0.8) == {
        "d1": ["d1", "d2"]
    }


def test_shared_boilerplate_below_the_share_joins_nothing():
    licence = prose(5, 60)
    texts = {f"d{n}": f"{licence} {prose(n + 10, 60)}" for n in range(30)}
    assert len(group_documents(texts, 0.8)) == 30


def test_case_and_punctuation_dont_count():
    text = prose(6)
    shouted = text.upper().replace(" ", ", ")
    assert group_documents({"d1": text, "d2": shouted}, 1.0) == {"d1": ["d1", "d2"]}


def test_short_and_empty_texts_group_only_when_equal():
    texts = {"d1": "one two", "d2": "One, two!", "d3": "one", "d4": "", "d5": "..."}
    groups = group_documents(texts, 0.8)
    assert groups == {"d1": ["d1", "d2"], "d3": ["d3"], "d4": ["d4"], "d5": ["d5"]}


def test_likeness_is_passed_on_and_ids_held_together_stay_together():
    parts = [prose(seed, 100).split() for seed in (20, 21)]
    a, c = " ".join(parts[0]), " ".join(parts[1])
    texts = {"d3": a, "d2": f"{a} {c}", "d1": c, "d9": prose(30), "d8": prose(31)}
    groups = group_documents(texts, 0.8, [("d9", "d8")])
    assert groups == {"d1": ["d1", "d2", "d3"], "d8": ["d8", "d9"]}


def naive(texts, containment):
    """The definition, pair by pair."""

    def grams(text):
        words = text.split()
        width = min(5, len(words))
        return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)} - {()}

    union = Union(texts)
    sets = {key: grams(text) for key, text in texts.items()}
    for one in texts:
        for other in texts:
            shared = len(sets[one] & sets[other])
            if one != other and sets[one] and shared >= containment * len(sets[one]) - 1e-9:
                union.join([one, other])
    return union.sets()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=14).map(" ".join), max_size=9),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
)
def test_groups_are_those_of_the_definition(rows, containment):
    texts = {f"d{number}": text for number, text in enumerate(rows)}
    assert group_documents(texts, containment) == naive(texts, containment)
