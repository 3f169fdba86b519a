from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.records import Passage
from pipeline.sdg.quotes import locate


def passage(text, identity="p-1"):
    return Passage(identity, "d", 0, len(text), text, (), 1, "train")


SAME = [
    ("a durable   cursor\nis needed", "Durable cursor is needed", "durable   cursor\nis needed"),
    ("the ﬁle “name” – as given", 'the file "name" - as given', "the ﬁle “name” – as given"),
    ("Gro\u0308ße der Datei", "größe der DATEI", "Gro\u0308ße der Datei"),
    ("write <passage id> here", "‹passage id> here", "<passage id> here"),
    ("the option is required", '"the option is required..."', "the option is required"),
]


@pytest.mark.parametrize(("text", "quote", "found"), SAME)
def test_spelling_that_says_the_same_is_found_with_exact_offsets(text, quote, found):
    located = locate(quote, [passage(text)], "p-1")
    assert located is not None
    assert located.text == found == text[located.start : located.end]


@pytest.mark.parametrize("quote", ["the option is optional", "", "short", "   ", "«»"])
def test_words_that_stand_nowhere_or_prove_nothing_are_not_found(quote):
    assert locate(quote, [passage("the option is required, short")], "p-1") is None


def test_the_named_passage_comes_first_and_another_one_still_counts():
    both = [passage("the same words here", "p-1"), passage("the same words here", "p-2")]
    assert locate("the same words", both, "p-2").passage == "p-2"
    assert locate("the same words", both[:1], "p-2").passage == "p-1"


@given(st.text(min_size=12, max_size=80), st.text(max_size=20), st.text(max_size=20))
def test_what_was_copied_exactly_is_found_and_says_the_same(words, before, after):
    # Marks that combine with a neighbour and blanks at the ends belong to no quote.
    words = "x" + words + "x"
    text = f"{before} {words} {after}"
    located = locate(words, [passage(text)], "p-1")
    assert located is not None
    assert text[located.start : located.end] == located.text
