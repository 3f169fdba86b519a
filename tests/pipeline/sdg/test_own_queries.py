from __future__ import annotations

import pytest

from pipeline.queries import OwnQuery
from pipeline.sdg.own_queries import flag_asked
from pipeline.sdg.records import Flag, Sample


def sample(question, role="train", flags=()):
    return Sample("q-0", question, "answer", ("p-0",), (), role, 8.0, flags=flags)


def query(text):
    return OwnQuery(f"q-{text}", text, 1)


OWN = [query("How do I reset the valve?"), query("coolant pump stops"), query("coolant pump")]


@pytest.mark.parametrize(
    "question",
    ["how do i reset the  valve", "How do I reset the valve!", "stops: coolant pump"],
)
def test_what_asks_the_same_is_blocked_with_its_reason(question):
    for role in ("train", "dev"):
        (flagged,) = flag_asked([sample(question, role)], OWN, 0.9)
        (flag,) = flagged.flags
        assert (flag.name, flag.blocking) == ("asked", True)
        assert "your query" in flag.reason


def test_other_questions_and_test_questions_stay_as_they_are():
    before = Flag("copied", "8 words", True)
    samples = [
        sample("How do I reset the pump?"),
        sample("how do i reset the valve", "test"),
        sample("why does the coolant pump make noise", flags=(before,)),
    ]
    assert flag_asked(samples, OWN, 0.9) == samples
    assert flag_asked(samples, [], 0.9) == samples


def test_the_most_alike_query_is_named_and_other_flags_stay():
    before = Flag("copied", "8 words", True)
    (flagged,) = flag_asked([sample("the coolant pump stops", flags=(before,))], OWN, 0.5)
    assert flagged.flags[0] == before
    assert "'coolant pump stops'" in flagged.flags[1].reason
