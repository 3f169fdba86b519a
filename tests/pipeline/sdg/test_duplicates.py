"""Twins: found exactly, and quickly."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.records import Passage
from pipeline.sdg.duplicates import flag_duplicates, flag_repeated
from pipeline.sdg.records import Flag, Sample
from pipeline.settings import SdgSettings


def sample(number, question, score=8.0, role="train", flagged=False):
    marks = (Flag("pointing", "x", True),) if flagged else ()
    return Sample(f"q-{number}", question, "a", ("p-1",), (), role, score, flags=marks)


def blocked(*samples):
    found = flag_duplicates(samples, SdgSettings().duplicate_similarity)
    assert [s.id for s in found] == [s.id for s in samples]
    return {s.id for s in found if any(f.name == "duplicate" for f in s.flags)}


def test_the_higher_scored_of_the_same_question_stays():
    assert blocked(sample(1, "What is it?", 7), sample(2, "what IS it", 9)) == {"q-1"}
    assert blocked(sample(1, "What is it?", None), sample(2, "What is it?", 1.0)) == {"q-1"}
    assert blocked(sample(1, "What is it?"), sample(2, "What is it?")) == {"q-2"}


def test_a_held_out_question_stays_and_its_twin_is_not_trained_on():
    assert blocked(sample(1, "What is it?", 9), sample(2, "What is it?", 7, "test")) == {"q-1"}


def test_a_question_that_is_blocked_anyway_pushes_out_no_other():
    twins = (sample(1, "What is it?", 9, "test", flagged=True), sample(2, "What is it?", 7))
    assert blocked(*twins) == {"q-1"}


def test_nearly_the_same_words_are_one_question_and_others_are_not():
    long = "how does the nightly export job resume after a broker failover in version two"
    assert blocked(sample(1, long), sample(2, f"{long} now")) == {"q-2"}
    assert blocked(sample(1, long), sample(2, long.replace("export", "import"))) == set()
    assert blocked(sample(1, "a b c"), sample(2, "d e f")) == set()


def likeness(one, other):
    a, b = Counter(one.split()), Counter(other.split())
    return (a & b).total() / (a | b).total() if a or b else 0.0


questions = st.lists(st.lists(st.sampled_from("abcdef"), max_size=9).map(" ".join), max_size=12)


@given(questions=questions, similarity=st.sampled_from([0.3, 0.5, 0.8, 0.9, 1.0]))
def test_no_twin_is_missed_and_none_is_invented(questions, similarity):
    samples = [sample(number, question) for number, question in enumerate(questions)]
    kept = []
    for found in flag_duplicates(samples, similarity):
        near = [k for k in kept if likeness(k, found.question) >= similarity]
        assert bool(near) == any(flag.name == "duplicate" for flag in found.flags)
        if not near:
            kept.append(found.question)


def test_the_twin_is_named_with_its_words():
    found = flag_duplicates([sample(1, "What is it?"), sample(2, "what is it")], 0.9)
    assert found[1].flags[0].reason == "asks the same as q-1: 'What is it?'"


def test_evidence_that_stands_in_three_documents_is_told():
    def passage(number, text):
        return Passage(f"p-{number}", f"d{number}", 0, len(text), text, (), 5, "train")

    spaced = (f"See the  index{' ' * number}page." for number in (1, 2, 3))
    everywhere = [passage(number, text) for number, text in enumerate(spaced)]
    asked = [
        replace(sample(1, "one"), passages=("p-0",)),
        replace(sample(2, "two"), passages=("p-1", "p-9")),
        replace(sample(3, "three"), passages=("p-9",)),
    ]
    found = flag_repeated(asked, [*everywhere, passage(9, "A page of its own.")])
    assert [[flag.reason for flag in s.flags] for s in found] == [
        ["its evidence stands in 3 documents"],
        [],
        [],
    ]
    assert not found[0].flags[0].blocking
    assert not flag_repeated(asked[:1], everywhere[:2])[0].flags


def test_twenty_thousand_questions_take_less_than_three_seconds():
    draw = random.Random(1)
    common = [f"c{n}" for n in range(60)]
    rare = [f"r{n}" for n in range(4000)]
    samples = [
        sample(
            n, " ".join(["how", "do", "i", *draw.choices(common, k=5), *draw.choices(rare, k=3)])
        )
        for n in range(20000)
    ]
    start = time.process_time()
    flag_duplicates(samples, 0.9)
    assert time.process_time() - start < 3
