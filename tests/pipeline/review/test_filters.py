"""The small language of search and filters."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.review.decisions import Decision
from pipeline.review.filters import FACETS, bulk_targets, matches, parse_filter, select

_NONE = Decision("accept")
_EDITED = Decision("accept", question="Reworded?", source="edit")
_LEAK = Decision("reject", reason="leak")


@pytest.fixture(scope="module")
def entry(make_entry):
    return make_entry(
        "q-12ab",
        6.5,
        question="Which Queue resumes a failover?",
        path="docs/Guide/retry.md",
        flags=("copied",),
        role="test",
        hops=2,
        complexity=4,
        kind="factual multi-hop",
        rank=3,
    )


@pytest.mark.parametrize(
    ("query", "matched"),
    [
        ("", True),
        ("rank>1 rank<=50", True),
        ("rank=1", False),
        ("rank>3", False),
        ("   ", True),
        ("queue", True),
        ("QUEUE failover", True),
        ("queue absent", False),
        ("12ab", True),
        ("guide/retry", True),
        ('"queue resumes"', True),
        ('"resumes queue"', False),
        ("-queue", False),
        ("-absent", True),
        ('-"queue resumes"', False),
        ("score<6.5", False),
        ("score<=6.5", True),
        ("score>=6.5", True),
        ("score>6.4", True),
        ("score=6.5", True),
        ("-score<6.5", True),
        ("role:test", True),
        ("role:train", False),
        ("doc:guide", True),
        ('doc:"guide/retry"', True),
        ("doc:other", False),
        ("flag:copied", True),
        ("flag:any", True),
        ("-flag:any", False),
        ("flag:pointing", False),
        ("hops:2", True),
        ("hops:1", False),
        ("complexity:4", True),
        ("kind:multi", True),
        ("kind:factual queue score>6 -role:train", True),
        ('"role:train"', False),
        ("accepted", False),
        ("kept:no", True),
        ("decided:no", True),
        ("edited:no", True),
        ("skipped", False),
    ],
)
def test_a_query_means_what_the_readme_of_facets_says(entry, query, matched):
    assert matches(parse_filter(query), entry, None, kept=False) is matched


@pytest.mark.parametrize(
    ("query", "decision", "kept", "skipped", "matched"),
    [
        ("kept:yes", None, True, False, True),
        ("kept:no", None, True, False, False),
        ("decided:yes", _NONE, True, False, True),
        ("accepted", _NONE, True, False, True),
        ("rejected", _NONE, True, False, False),
        ("rejected reason:leak", _LEAK, False, False, True),
        ("reason:wrong", _LEAK, False, False, False),
        ("edited:yes", _EDITED, True, False, True),
        ("edited:yes", _NONE, True, False, False),
        ("reworded", _EDITED, True, False, True),
        ("failover", _EDITED, True, False, False),
        ("skipped", None, True, True, True),
    ],
)
def test_facets_of_what_a_person_did(entry, query, decision, kept, skipped, matched):
    assert matches(parse_filter(query), entry, decision, kept, skipped) is matched


@pytest.mark.parametrize(
    "word",
    [
        "colour:red",
        "role:pilot",
        "score<high",
        "score<nan",
        "hops:two",
        "kept:maybe",
        "doc:",
        "reason:because",
        "role>test",
        '"open',
        'op"en',
    ],
)
def test_a_word_that_cannot_be_understood_is_named_with_the_facets_there_are(word):
    with pytest.raises(BadInput) as caught:
        parse_filter(f"queue {word}")
    assert repr(word) in caught.value.happened
    assert "flag:NAME" in caught.value.next_step


@pytest.mark.parametrize("example", FACETS)
def test_every_facet_that_is_named_is_understood(example):
    assert parse_filter(example).tests


@given(st.text(alphabet='ab:-" <>=score.5', max_size=20))
def test_any_text_is_understood_or_refused(text):
    with suppress(BadInput):
        assert parse_filter(text).text == text


def test_a_sample_without_a_score_is_on_no_side(make_entry):
    entry = make_entry("q-1", None)
    for query in ("score<5", "score>=5", "score=0"):
        assert not matches(parse_filter(query), entry, None, kept=True)


def test_select_keeps_the_order_and_asks_the_rule(make_entry):
    entries = [make_entry(f"q-{n}", float(n)) for n in range(10)]
    decisions = {"q-9": Decision("reject"), "q-1": Decision("accept")}
    kept = select(parse_filter("kept:yes"), entries, decisions, set(), 7.0)
    assert [entry.id for entry in kept] == ["q-1", "q-7", "q-8"]
    some = select(parse_filter("skipped -score>5"), entries, decisions, {"q-4", "q-6"}, 7.0)
    assert [entry.id for entry in some] == ["q-4"]
    assert select(parse_filter(""), entries, decisions, set(), 7.0) == entries


def test_a_bulk_action_leaves_alone_what_already_is_so(make_entry):
    entries = [make_entry(name) for name in ("q-1", "q-2", "q-3")]
    decisions = {"q-1": Decision("reject", "leak"), "q-2": Decision("accept")}
    assert bulk_targets("reject", entries, decisions) == ("q-2", "q-3")
    assert bulk_targets("reject", entries, decisions, "generic") == ("q-1", "q-2", "q-3")
    assert bulk_targets("accept", entries, decisions) == ("q-1", "q-3")
