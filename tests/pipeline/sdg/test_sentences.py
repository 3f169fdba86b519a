from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sdg.sentences import sentences


def plain(text):
    return [sentence.plain for sentence in sentences(text)]


def test_sentences_run_over_wrapped_lines_but_not_over_blank_ones():
    text = "One sentence that\nis wrapped. Another one.\n\nA third, e.g. this one"
    assert plain(text) == [
        "One sentence that is wrapped.",
        "Another one.",
        "A third, e.g. this one",
    ]


def test_list_items_headings_and_code_stand_alone():
    text = "# Title here\nIntro text:\n- first item\n  goes on\n- second item\n>>> code()\nAfter."
    assert plain(text) == [
        "# Title here",
        "Intro text:",
        "first item goes on",
        "second item",
        ">>> code()",
        "After.",
    ]


def test_margins_of_rendered_documentation_are_left_out():
    text = " |  read_until(self, match)\n |      Read until a given\n |      string is met.\n"
    assert plain(text) == ["read_until(self, match)", "Read until a given string is met."]


def test_prose_is_told_from_code_and_lead_ins():
    judged = {s.plain: s.is_prose for s in sentences(
        "This sentence says something useful.\n\nf(a, b)[0] == {1: 2} != g(**x) or y\n\n"
        "The following five arguments are:\n\n## A heading of five words"
    )}  # fmt: skip
    assert list(judged.values()) == [True, False, False, False]


@given(st.text(alphabet="ab .!?\n|#->*1)A\tÄ。", max_size=200))
def test_offsets_are_exact_and_in_order(text):
    last = 0
    for sentence in sentences(text):
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.text.strip()
        assert sentence.start >= last
        last = sentence.end
