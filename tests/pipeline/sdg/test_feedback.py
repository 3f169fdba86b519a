"""What was rejected is told to later rounds, and never a test question."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.recipe import Recipe, apply
from pipeline.sdg.feedback import ENTRIES_MAX, Rejected, avoid_entries, avoid_for
from pipeline.sdg.records import Sample
from pipeline.settings import SdgSettings


def rejected(question, reason="", role="train"):
    return Rejected(Sample(question, question, "", ("p",), (), role, 5.0), reason)


def test_a_round_is_told_what_stands_for_it_and_those_before():
    settings = replace(SdgSettings(), avoid=("2: one", "3: two: parts", "x: no", "no", "1: early"))
    assert avoid_for(settings, 1) == ()
    assert avoid_for(settings, 2) == ("one", "early")
    assert avoid_for(settings, 3) == ("one", "two: parts", "early")


def test_the_newest_with_a_reason_come_first_and_no_test_question_is_told():
    given = [
        rejected("Newest?"),
        rejected("Test?", "wrong answer", "test"),
        rejected("Second\n newest?", "too generic"),
        rejected("Dev?", "other", "dev"),
    ]
    assert avoid_entries(given, 2) == (
        "2: Second newest? (too generic)",
        "2: Dev? (other)",
        "2: Newest?",
    )


def test_what_was_told_before_is_not_told_again_and_there_are_few():
    many = [rejected(f"Question {n}?", "other") for n in range(20)]
    first = avoid_entries(many, 2)
    second = avoid_entries(many, 3, first)
    assert len(first) == len(second) == ENTRIES_MAX
    assert not {e.partition(":")[2] for e in first} & {e.partition(":")[2] for e in second}


@pytest.mark.parametrize("size", [10, 299, 300, 301, 5000])
def test_every_entry_is_one_that_a_recipe_takes(size):
    entries = avoid_entries([rejected("q" * size, "duplicate of another question")], 20)
    assert apply(Recipe(), {"sdg.avoid": entries}, "a test").sdg.avoid == entries
