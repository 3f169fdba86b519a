from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.text import clean_json, document_id, normalise, one_line, strip_front_matter


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not [c for c in once if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    once.encode("utf-8")


def test_line_ends_marks_and_invisible_characters_go_and_joiners_stay():
    assert normalise("\ufeffa\r\nb\rc\x0cd\u2028e\x00\u200b\u202ef\tg") == "a\nb\nc\nd\nef\tg"
    assert normalise("e\u0301") == "é"
    assert normalise("نمی\u200cخواهم") == "نمی\u200cخواهم"


def test_equal_texts_with_other_line_ends_are_the_same_document():
    assert document_id(normalise("a\r\nb")) == document_id(normalise("a\nb"))
    assert len(document_id("a")) == 17


def test_yaml_and_toml_front_matter_is_metadata_with_a_title():
    yaml = strip_front_matter('---\n# note\ntitle: "My page"\ntags: [a]\n---\n\n# Heading\n')
    assert (yaml.text, yaml.title) == ("\n# Heading\n", "My page")
    toml = strip_front_matter("+++\ntitle = 'Other'\n+++\ntext")
    assert (toml.text, toml.title) == ("text", "Other")


def test_a_rule_or_an_unclosed_block_on_top_is_no_front_matter():
    for text in (
        "---\n\nplain words\n\n---\nmore",
        "---\ntitle: a\nno end",
        "text\n---\na: b\n---\n",
    ):
        assert strip_front_matter(text).text == text


def test_messages_hold_no_line_breaks_and_no_controls():
    assert one_line("a\nb\x1b[31m  c") == "a b[31m c"
    assert len(one_line("x" * 500)) == 120


def test_foreign_json_can_be_written_again():
    dirty = {"a\ud800": [float("nan"), float("inf"), "x\ud800y", 1, True, None, {"b": 1.5}]}
    clean = clean_json(dirty)
    assert clean == {"a": [None, None, "xy", 1, True, None, {"b": 1.5}]}
    json.dumps(clean, allow_nan=False).encode("utf-8")
