"""What passages are good for."""

from __future__ import annotations

import pytest

from pipeline.corpus.records import Passage
from pipeline.sdg.evidence import Worth, is_boilerplate, shows, worth_of

TABLE = "| name | size |\n|------|-----:|\n| box | large |"


def passage(text, header=""):
    return Passage("p-1", "d", 0, len(text), text, (), 9, "train", header)


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        "As drawn here:\n![the parts](parts.png)",
        "Figure 3: the parts of a queue",
        "**Table 2.** Sizes that are sold",
        "Abbildung 1 zeigt die Teile.",
    ],
)
def test_tables_images_and_captions_can_be_seen(text):
    assert shows(passage(text))


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        "a | b",
        "x || y\n---\n",
        "the table of sizes",
        "configure 3 of them",
        "> quoted",
    ],
)
def test_words_about_tables_and_rules_below_headings_are_nothing_to_see(text):
    assert not shows(passage(text))


def test_a_slice_of_a_table_is_one():
    assert shows(passage("| box | large |", "| name | size |"))


def test_prose_is_worth_more_than_lists_and_these_more_than_figures():
    assert worth_of(passage("The queue keeps its place when a broker fails over.")) is Worth.MUCH
    assert worth_of(passage(TABLE)) is Worth.MUCH
    assert worth_of(passage("alpha\nbeta\ngamma")) is Worth.SOME
    figures = "| 2019 | 2020 |\n|---|---|\n| 12345 | 67890 |"
    assert worth_of(passage(figures)) is Worth.LITTLE
    assert worth_of(passage("--- *** ---")) is Worth.LITTLE


@pytest.mark.parametrize(
    "text",
    [
        "Copyright 2024 Example. All rights reserved.",
        "[Home](/) [Docs](/docs) [Blog](/blog) [About us](/about)",
        "See https://example.org/a/b and https://example.org/c/d",
        "Privacy policy · Terms of use",
    ],
)
def test_footers_and_lists_of_links_are_boilerplate(text):
    assert is_boilerplate(text)


@pytest.mark.parametrize(
    "text",
    [
        "Cookies are set by the server and sent back with every request.",
        "Use [the guide](/guide) to set up the queue and to choose how many workers it has.",
        "The library is licensed under the MIT licence.",
        "Cookies are set here. Copyright is held by others. "
        + "The queue goes on with its work. " * 6,
    ],
)
def test_text_about_such_things_is_none(text):
    assert not is_boilerplate(text)
