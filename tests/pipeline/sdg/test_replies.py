from __future__ import annotations

import json

import pytest
from endpoint import completion

from pipeline.sdg.prompts import generate_schema
from pipeline.sdg.replies import listed_models, read_reply, text_of, wanted_of



def pair(slot, question):
    quote = {"chunk": "c1", "quote": f"words of {slot}"}
    return {
        "slot": slot,
        "facts": [f"fact {slot}"],
        "question": question,
        "answer": f"An answer, {slot}.",
        "evidence": [quote],
    }


PAIRS = [pair(0, "a {brace}?"), pair(1, 'b "quoted" <think>')]
WHOLE = json.dumps({"pairs": PAIRS})
WANTED = wanted_of(generate_schema(4, 2), ("slot", "question", "answer"))


def read(content, finish_reason="stop"):
    return read_reply("key", completion("m", content, finish_reason), WANTED)


@pytest.mark.parametrize(
    "content",
    [
        WHOLE,
        f"```json\n{WHOLE}\n```",
        f'<think>Perhaps {{"pairs": []}}?</think>{WHOLE}',
        f"so I thought</think>\n{WHOLE}",
        f"Here you are:\n{WHOLE}\nGood luck!",
    ],
)
def test_wrapping_does_not_matter(content):
    reply = read(content)
    assert list(reply.items) == PAIRS
    assert reply.problem == ""
    assert (reply.tokens_in, reply.tokens_out) == (100, 20)


@pytest.mark.parametrize(("lacks", "saved"), [(1, 2), (2, 2), (3, 1), (10, 1), (200, 0)])
def test_whole_items_of_a_damaged_reply_are_saved_and_the_damage_is_named(lacks, saved):
    reply = read(WHOLE[:-lacks])
    assert list(reply.items) == PAIRS[:saved]
    assert reply.problem


def test_a_reply_that_was_cut_off_says_so():
    assert "cut off" in read(WHOLE[:-10], "length").problem


@pytest.mark.parametrize(
    "content", [None, "", "I cannot help.", "[1, 2]", '{"other": 1}', '{"pairs": 3}', "[" * 99999,
                '{"pairs": ' + "[" * 99999, "<think>" + "on and on " * 9]
)  # fmt: skip
def test_replies_without_items_name_the_problem(content):
    reply = read(content)
    assert reply.items == ()
    assert reply.problem


def test_items_that_are_no_objects_and_usage_that_is_none_are_passed_over():
    body = json.loads(completion("m", json.dumps({"pairs": [1, None, PAIRS[0]]})))
    body["usage"] = None
    reply = read_reply("key", json.dumps(body), WANTED)
    assert list(reply.items) == PAIRS[:1]
    assert reply.tokens_in == 0


def test_text_is_cleaned_of_what_a_terminal_would_obey():
    assert text_of(" a\x1b[31mred\x00\u202e\ud800 b\n") == "a[31mred b"
    assert text_of(["a"]) == text_of(None) == ""


def test_models_are_read_from_a_list_and_from_nothing_else():
    assert listed_models('{"data": [{"id": "b"}, {"id": "a"}]}') == ("a", "b")
    for body in ("", "{}", "[]", '{"data": [1]}', '{"data": null}'):
        assert listed_models(body) == ()
