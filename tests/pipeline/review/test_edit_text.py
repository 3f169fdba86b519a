"""A sample in an editor and back."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.records import Passage
from pipeline.errors import BadInput
from pipeline.review.decisions import Action, Decision
from pipeline.review.edit_text import (
    Edited,
    current_words,
    edit_action,
    parse_edit,
    render_edit,
)
from pipeline.sdg.records import Quote

_PASSAGE = Passage(
    "p-1", "d-1", 0, 30, "First line.\n# no note\nThe last one.", ("A", "B"), 9, "train"
)


def _text(sample, words):
    return render_edit(words, sample, [_PASSAGE])


@given(
    st.text(min_size=1).filter(lambda text: text.strip()),
    st.text()
    | st.lists(st.sampled_from(["# a", "\\# b", "[answer]", "[question] ", "", " c"])).map(
        "\n".join
    ),
)
def test_any_words_that_are_left_alone_are_no_edit(make_sample, question, answer):
    words = Edited(question, answer)
    if not parse_question(question):
        return
    assert parse_edit(_text(make_sample("q-1"), words), words) is None


def parse_question(question):
    """What is left of a question without control characters."""
    return "".join(c for c in question if ord(c) > 31 and not 0x7F <= ord(c) < 0xA0).strip()


@pytest.mark.parametrize(
    "answer",
    ["One line.", "Two\n\nparagraphs.", "# a heading\nand text", "[answer]", "  - item", ""],
)
def test_what_was_typed_is_what_stands(make_sample, answer):
    words = Edited("What is it?", "A thing.")
    typed = _text(make_sample("q-1"), Edited("What else\n is it?", answer))
    assert parse_edit(typed, words) == Edited("What else is it?", answer)


def test_the_evidence_stands_in_the_notes_with_its_quotes_marked(make_sample):
    quotes = (
        Quote("p-1", 26, 30, "last"),
        Quote("p-1", 0, 5, "First"),
        Quote("p-1", 3, 10, "st line"),
    )
    sample = dataclasses.replace(make_sample("q-1"), quotes=quotes)
    text = render_edit(current_words(sample, None), sample, [_PASSAGE], "The question is empty.")
    assert text.startswith("# The question is empty.\n")
    assert "# «First line».\n# # no note\n# The «last» one.\n" in text
    assert "# A > B\n" in text
    words = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert words == ["[question]", "What is q-1?", "[answer]", "A thing."]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[question]\n# only a note\n\n[answer]\nYes.\n", "question is empty"),
        ("[question]\nWhy?\n", r"\[answer\] is gone"),
        ("", r"\[question\] is gone"),
        ("Lost words\n[question]\nWhy?\n[answer]\nYes.\n", "Words stand above"),
    ],
)
def test_what_cannot_be_understood_is_told_and_nothing_is_lost(text, fault):
    with pytest.raises(BadInput, match=fault) as caught:
        parse_edit(text, Edited("Why?", "Yes."))
    assert "kept" in caught.value.safe


def test_line_ends_and_control_characters_of_other_editors_do_no_harm():
    text = "[question]\r\nWhy\x1b[31m now?\r\n[answer]\r\nYes.\r\nNo.\r\n"
    assert parse_edit(text, Edited("", "")) == Edited("Why[31m now?", "Yes.\nNo.")


def test_an_edit_names_only_what_changed(make_sample):
    sample = make_sample("q-1")
    before = current_words(sample, Decision("accept", answer="Edited.", source="edit"))
    assert before == Edited("What is q-1?", "Edited.")
    action = edit_action("q-1", before, Edited("New?", "Edited."))
    assert action == Action("edit", ("q-1",), question="New?", source="edit")
    emptied = edit_action("q-1", before, Edited("What is q-1?", ""))
    assert (emptied.question, emptied.answer) == (None, "")
