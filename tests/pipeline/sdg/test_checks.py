from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.corpus.records import Passage
from pipeline.recipe import SdgSettings
from pipeline.sdg.checks import check, flag_duplicates
from pipeline.sdg.plan import Assignment
from pipeline.sdg.records import Flag, Quote, Sample
from pipeline.sdg.writer import OFFLINE, Draft

TEXT = "A durable cursor lets the nightly export job resume after the broker has failed over."
PASSAGE = Passage("p-1", "d", 0, len(TEXT), TEXT, (), 15, "train")
ASSIGNMENT = Assignment("d:000", "t", (PASSAGE,), "train", 3, "contextual", "factual")
GOOD = Draft(
    assignment=ASSIGNMENT,
    question="What makes exports survive a failover?",
    answer="A durable cursor.",
    quotes=(Quote("p-1", 2, 16, "durable cursor"),),
    score=9.0,
)


def flags(writer="model", **changes):
    found = check(replace(GOOD, **changes), {"p-1": PASSAGE}, writer)
    return {flag.name: flag.blocking for flag in found}


def test_a_good_question_has_no_flags():
    assert flags() == {}


@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_empty_questions_and_answers_are_blocked(text):
    assert flags(question=text) == flags(answer=text) == {"empty": True}


@pytest.mark.parametrize(
    "answer",
    [
        "This is not mentioned in the passage.",
        "The answer cannot be determined from what is given.",
        "No information is provided.",
        "I cannot answer that.",
    ],
)
def test_refusals_are_blocked_but_not_in_a_quoted_sentence(answer):
    assert flags(answer=answer) == {"refusal": True}
    assert flags(answer=answer, writer=OFFLINE) == {}


def test_answers_that_only_sound_like_a_refusal_pass():
    assert flags(answer="The header is not specified twice; " + "it is sent once. " * 9) == {}
    assert flags(answer="Set it to null, and no cursor is made.") == {}


@pytest.mark.parametrize(
    "question",
    [
        "According to the document, what is a cursor?",
        "What does a cursor do in this section?",
        "Based on the provided text, who fails over?",
        "Why does the author prefer cursors?",
        "What happens to the job described above?",
    ],
)
def test_questions_that_point_at_an_unseen_text_are_blocked(question):
    assert flags(question=question) == {"pointing": True}


@pytest.mark.parametrize(
    "question",
    [
        "How do I upload a document to the store?",
        "What is the passage of time in the simulator?",
        "How are sections of a config file merged?",
        "How do I put a table in the document?",
    ],
)
def test_questions_about_documents_pass(question):
    assert flags(question=question) == {}


def test_ungrounded_questions_are_blocked_and_half_grounded_ones_are_marked():
    assert flags(quotes=(), score=None) == {"ungrounded": True}
    assert flags(unlocated=("made up",)) == {"ungrounded": False}
    assert flags(score=None) == {"unjudged": True}


def test_copies_are_blocked_for_a_model_and_marked_for_the_offline_writer():
    copy = "nightly export job resume after the broker has failed"
    assert flags(question=copy) == {"copied": True}
    assert flags(question=copy, writer=OFFLINE) == {"copied": False}
    assert flags(question="export job resume after the broker has") == {}


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
