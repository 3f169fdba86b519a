from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.records import Passage
from pipeline.sdg.checks import check, rank_flag
from pipeline.sdg.plan import Assignment
from pipeline.sdg.records import Quote
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
    found = check(replace(GOOD, **changes), PASSAGES, writer)
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
        "Which limit does the passage mention?",
        "What is stated in the text about cursors?",
        "In the transcript, who restarts the broker?",
        "What does the table below list?",
        "Was gilt laut dem Dokument für Cursor?",
        "Selon le document, que fait le curseur ?",
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
        "How do I find a word in the text of a cell?",
        "How do I cite the author of a paper?",
        "Where is the section of a page stored?",
        "How do I align a figure with its caption?",
    ],
)
def test_questions_about_documents_pass(question):
    assert flags(question=question) == {}


def test_ungrounded_questions_are_blocked_and_half_grounded_ones_are_marked():
    assert flags(quotes=(), score=None) == {"ungrounded": True}
    assert flags(unlocated=("made up",)) == {"ungrounded": False}
    assert flags(score=None) == {"unjudged": True}


def reason(name, writer="model", **changes):
    found = check(replace(GOOD, **changes), PASSAGES, writer)
    return next(flag.reason for flag in found if flag.name == name)


def test_copies_are_told_with_run_and_share_and_block_nothing():
    copy = "nightly export job resume after the broker"
    assert flags(question=copy) == flags(question=copy, writer=OFFLINE) == {"copied": False}
    assert reason("copied", question=copy).startswith("7 words in a row and 100%")
    assert flags(question="export job resume after the") == {}


def test_a_bag_of_the_passages_words_is_a_copy_too():
    bag = "broker failed nightly resume durable export cursor"
    assert flags(question=bag, answer="Kept places.") == {"copied": False}
    assert flags(question=bag, answer="Kept places.", writer=OFFLINE) == {}
    assert "copied" not in flags(question=f"{bag} snapshots elsewhere entirely")


def test_a_run_of_characters_is_no_run_of_words_where_no_spaces_part_them():
    text = "パスワードを変更するには設定画面を開いてください"
    japanese = {"p-1": replace(PASSAGE, text=text)}
    draft = replace(GOOD, question="パスワードを変更した後は")
    assert check(draft, japanese, "model") == ()
    draft = replace(GOOD, question="パスワードを変更するには設定画面を")
    assert [flag.name for flag in check(draft, japanese, "model")] == ["copied"]


@pytest.mark.parametrize(
    "answer",
    [
        "Set it to 1000.",
        "Set it to 1,000 at most.",
        "About 1 000 of them.",
        "It is 2.4, since 2024-05-03.",
        "Pass --dry-run or use retry_after.",
        "`Retry_After` is 30s, not 30 seconds.",
        "There are 3 modes.",
        "In 3 steps:\n1. open it\n2. close it\n3. done (4) and (5)",
        "Call os.path.join() on both.",
        "It costs 3,5 or 3.50 percent.",
        "10k rows.",
        "Port 5432, e.g. for a client.",
    ],
)
def test_numbers_and_names_that_stand_there_in_another_form_pass(answer):
    text = (
        "At most 1,000 requests. Since v2.4.1 (May 3, 2024) retry_after is 30 s; three modes. "
        "Try --dry-run with join() of os.path. It takes 3.5 %. Up to 10,000 rows."
    )
    found = check(
        replace(GOOD, answer=answer, question="Which cursor listens on port 5432?"),
        {"p-1": replace(PASSAGE, text=text)},
        "model",
    )
    assert found == ()


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("It waits 45 seconds.", "'45'"),
        ("Since version 3.1.", "'3.1'"),
        ("Use --force for that.", "'--force'"),
        ("Set retry_limit first.", "'retry_limit'"),
        ("See /etc/queue/limits.conf there.", "'/etc/queue/limits.conf'"),
        ("Call makeCursor at once.", "'makeCursor'"),
        ("In 2019, error E1042.", "'E1042', '2019'"),
        ("Set 11.5, 22.5, 33.5, 44.5 and 55.5.", "'33.5' and 2 more"),
    ],
)
def test_invented_numbers_and_names_block_and_are_named(answer, named):
    assert flags(answer=answer) == {"unfounded": True}
    assert named in reason("unfounded", answer=answer)


def test_a_small_bare_number_may_be_a_count_and_blocks_nothing():
    assert flags(answer="There are 4 of them.") == {"unfounded": False}
    assert flags(answer="It takes 4%.") == {"unfounded": True}


def test_headings_titles_and_a_tables_header_are_evidence():
    placed = replace(PASSAGE, headings=("Version 7.1",), table_header="| port 5432 |")
    draft = replace(GOOD, answer="7.1 on 5432, see job_9.", assignment=titled(placed, "job_9"))
    assert check(draft, {"p-1": placed}, "model") == ()


def titled(passage, title):
    return replace(ASSIGNMENT, title=title, passages=(passage,))


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What does it return?", "it"),
        ("Why is this setting needed?", "this"),
        ("How do they differ from others?", "they"),
        ("These values are used where?", "These"),
        ("What should be done when it fails?", "it"),
    ],
)
def test_a_question_about_an_unnamed_it_is_told(question, word):
    assert "dangling" in flags(question=question)
    assert repr(word) in reason("dangling", question=question)
    assert not flags(question=question)["dangling"]


@pytest.mark.parametrize(
    "question",
    [
        "Is it possible to merge two cells of a sheet?",
        "How long does it take to rebuild an index?",
        "What does `flush` do when it fails?",
        "Why does this Kubernetes pod restart?",
        "What happens to a cursor when it expires?",
        "Can I undo this in my mail client?",
    ],
)
def test_a_question_that_names_its_subject_passes(question):
    assert "dangling" not in flags(question=question)


def test_a_question_without_a_subject_is_generic():
    assert flags(question="What is the default?") == {"generic": False}
    assert flags(question="What is `bool`?") == {}


@pytest.mark.parametrize("answer", ["Yes.", "No, it is", "ja", "Exports survive."])
def test_answers_that_tell_nothing_are_told(answer):
    assert flags(answer=answer) == {"given": False}
    assert flags(answer="False.") == flags(answer="No cursor is lost on failover.") == {}


FAR = replace(PASSAGE, id="p-2", start=500, end=585)
JOINING = replace(ASSIGNMENT, passages=(PASSAGE, FAR))
PASSAGES = {"p-1": PASSAGE, "p-2": FAR, "p-3": replace(PASSAGE, id="p-3", start=90, end=175)}


def quotes(*places):
    return tuple(Quote(p, start, start + 14, TEXT[start : start + 14]) for p, start in places)


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ((("p-1", 2), ("p-2", 2)), ""),
        ((("p-1", 2),), "from one"),
        ((("p-1", 2), ("p-1", 40)), "from one"),
        ((("p-1", 60), ("p-3", 2)), "side by side"),
    ],
)
def test_hops_that_were_not_made_are_told(places, told):
    found = check(replace(GOOD, assignment=JOINING, quotes=quotes(*places)), PASSAGES, "model")
    assert [(flag.name, flag.blocking) for flag in found] == [("one_hop", False)] * bool(told)
    assert all(told in flag.reason for flag in found)


def test_evidence_that_is_a_footer_is_told():
    footer = replace(PASSAGE, text="Copyright 2020 A durable cursor. All rights reserved.")
    found = check(GOOD, {"p-1": footer}, "model")
    assert [(flag.name, flag.blocking) for flag in found] == [("boilerplate", False)]


@pytest.mark.parametrize(
    ("ranks", "name"),
    [
        ({"base": 1, "bm25": 9}, "easy"),
        ({"base": 2, "bm25": 1}, None),
        ({"base": 50, "bm25": 99}, None),
        ({"base": 51, "bm25": 1}, "suspect"),
        ({"bm25": 1}, "easy"),
        ({"bm25": 51}, "suspect"),
        ({}, None),
    ],
)
def test_the_place_of_the_evidence_makes_a_band(ranks, name):
    flag = rank_flag(ranks)
    assert (flag.name if flag else None) == name
    assert flag is None or not flag.blocking
    assert flag is None or ("base" in flag.reason) == ("base" in ranks)


@pytest.mark.parametrize(
    "wild", ["a" * 20000, "1" * 20000, "a_" * 9000, "1,000 " * 3000, "it " * 9000]
)
def test_a_reply_gone_wild_is_checked_in_no_time(wild):
    start = time.process_time()
    flags(question=wild)
    flags(answer=wild)
    assert time.process_time() - start < 1


words = st.text(alphabet="ab1.,- _/'`\n٣½ﬁ界", max_size=60)


@given(question=words, answer=words, text=words)
def test_no_text_breaks_a_check_and_every_flag_says_why(question, answer, text):
    placed = {"p-1": replace(PASSAGE, text=text)}
    for flag in check(replace(GOOD, question=question, answer=answer), placed, "model"):
        assert flag.reason


@given(answer=st.text(alphabet="ab19.,-_/ '\n", max_size=60))
def test_an_answer_in_the_evidences_own_words_is_never_unfounded(answer):
    placed = {"p-1": replace(PASSAGE, text=answer)}
    found = check(replace(GOOD, question="What is a cursor?", answer=answer), placed, "model")
    assert "unfounded" not in [flag.name for flag in found]
