from __future__ import annotations

import json
import re

import pytest
from endpoint import completion
from hypothesis import given
from hypothesis import strategies as st

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


def test_good_items_survive_a_bad_sibling():
    bad = '{"slot": 1, "question": "half'
    content = '{"pairs": [' + json.dumps(PAIRS[0]) + ", " + bad + "}, "
    content += json.dumps(pair(2, "c?")) + "]}"
    assert [item["slot"] for item in read(content).items if item["slot"] != 1] == [0, 2]


def test_small_mistakes_are_repaired():
    for broken in (WHOLE.replace("]}]}", "],}]}"), WHOLE.replace('"slot"', "slot")):
        assert [item["question"] for item in read(broken).items] == [p["question"] for p in PAIRS]


def test_an_item_with_empty_words_is_none_and_is_named():
    reply = read(json.dumps({"pairs": [PAIRS[0], pair(1, "  ")]}))
    assert list(reply.items) == PAIRS[:1]
    assert "question is empty" in reply.problem


WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
ITEMS = st.lists(
    st.builds(pair, st.integers(0, 3), WORDS.filter(lambda text: text_of(text))),
    min_size=1,
    max_size=4,
    unique_by=lambda item: item["slot"],
)


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_crash(content):
    reply = read(content)
    assert reply.items or reply.problem or "pairs" in content


@given(
    ITEMS,
    st.sampled_from(["", "```json\n", "<think>So {this}?</think>", "I think:\n", "hm</think>"]),
    st.sampled_from(["", "\n```", "\nDone.", " {odd"]),
    st.booleans(),
)
def test_no_valid_item_is_lost_in_a_wrapped_reply(items, before, after, ascii_only):
    content = before + json.dumps({"pairs": items}, ensure_ascii=ascii_only) + after
    reply = read(content)
    assert list(reply.items) == items
    assert reply.problem == ""


@given(ITEMS, st.data())
def test_a_mutated_reply_invents_nothing_and_loses_nothing_silently(items, data):
    content = json.dumps({"pairs": items})
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    mutated = content[:start] + data.draw(st.text('{}[]",: a\\', max_size=5)) + content[end:]
    reply = read(mutated)
    if not reply.problem and len(reply.items) < len(items):
        # Only a reply that is whole JSON may say less without a problem.
        assert len(json.loads(mutated)["pairs"]) == len(reply.items)
    said = re.sub(r"\s+", "", re.sub(r'\\[nrt]|[\\"]', "", mutated))
    for item in reply.items:
        plain = re.sub(r"\s+", "", re.sub(r'\\[nrt]|[\\"]', "", json.dumps(item["answer"])))
        assert plain in said


@given(ITEMS, st.data())
def test_a_truncated_reply_keeps_exactly_its_complete_items(items, data):
    content = json.dumps({"pairs": items})
    cut = data.draw(st.integers(0, len(content) - 3))
    whole = [i for i, item in enumerate(items) if _end_of(items, i) <= cut]
    reply = read(content[:cut], "length")
    assert list(reply.items) == [items[i] for i in whole]
    assert reply.cut


def _end_of(items, number):
    return len(json.dumps({"pairs": items[: number + 1]})) - 2
