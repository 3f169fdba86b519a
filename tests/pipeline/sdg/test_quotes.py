from __future__ import annotations

import time

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
    words = "x" * 12 + words + "x"
    text = f"{before} {words} {after}"
    located = locate(words, [passage(text)], "p-1")
    assert located is not None
    assert text[located.start : located.end] == located.text


LONG = (
    "The durable cursor lets the nightly export job resume after the broker has failed over, "
    "because it stores the last committed position in the queue itself."
)
SLIPS = [
    (
        "the nightly export job can resume after the broker has failed over",
        "the nightly export job",
    ),
    ("the nightly export job resume after the brokers has failed over, because", "the nightly"),
    ("nightly export job resume after broker has failed over", "nightly export job resume after"),
    ("job resume — after the broker has failed-over because it stores", "job resume after"),
]


@pytest.mark.parametrize(("quote", "begins"), SLIPS)
def test_a_quote_with_a_slip_is_found_in_the_passages_own_words(quote, begins):
    other = passage("Something else stands here, about a queue and its position.", "p-2")
    located = locate(quote, [other, passage(LONG)], "p-2")
    assert located is not None
    assert located.passage == "p-1"
    assert located.text == LONG[located.start : located.end]
    assert located.text.startswith(begins)


@pytest.mark.parametrize(
    "quote",
    [
        "the weekly import task may resume after the broker has failed over",
        "resume job export nightly the after broker the has failed over",
        "the durable queue",
    ],
)
def test_what_only_looks_like_the_passage_is_not_found(quote):
    assert locate(quote, [passage(LONG)], "p-1") is None


def test_a_quote_with_a_gap_is_found_by_its_parts():
    quote = "The durable cursor lets ... the last committed position in the queue"
    located = locate(quote, [passage(LONG)], "p-1")
    assert located.text == "the last committed position in the queue"
    turned = "the last committed position in the queue [...] The durable cursor lets"
    assert locate(turned, [passage(LONG)], "p-1") is None
    assert locate("The durable cursor lets … nobody in at all", [passage(LONG)], "p-1") is None


def test_exact_words_in_another_passage_come_before_likely_ones_in_the_named_one():
    near = passage(LONG.replace("nightly", "weekly"), "p-2")
    quote = "lets the nightly export job resume after the broker has failed over"
    assert locate(quote, [near, passage(LONG)], "p-2").passage == "p-1"


def test_characters_that_no_prompt_shows_are_passed_over():
    hidden = "The du\u00adrable\u200b cursor\u202e is needed"
    located = locate("the durable cursor is needed", [passage(hidden)], "p-1")
    assert located is not None
    assert located.text == hidden


@given(st.text(max_size=120), st.text(max_size=60))
def test_whatever_is_found_is_the_passages_own_and_of_exact_offsets(text, quote):
    for words in (quote, text[5:60], text[3:40] + " and " + text[40:90]):
        located = locate(words, [passage(text)], "p-1")
        if located:
            assert text[located.start : located.end] == located.text
            assert 0 <= located.start < located.end <= len(text)


def test_quotes_are_found_in_less_than_a_millisecond():
    words = [f"word{number}" for number in range(1600)]
    four = [passage(" ".join(words[n * 400 : n * 400 + 400]), f"p-{n}") for n in range(4)]
    quotes = [" ".join(words[n : n + 15]) for n in range(0, 1500, 15) if n % 400 < 380]
    assert all(locate(quote, four, "p-0") for quote in quotes)
    start = time.process_time()
    for quote in quotes:
        locate(quote, four, "p-0")
        locate(f"{quote} slip", four, "p-0")
    assert (time.process_time() - start) / (2 * len(quotes)) < 0.001
