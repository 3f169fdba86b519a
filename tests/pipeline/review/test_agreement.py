"""Where a person and the scores agree best."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.agreement import ENOUGH_A_SIDE, AgreementBin, suggest_threshold
from pipeline.review.decisions import Decision

_YES, _NO = Decision("accept"), Decision("reject")


def _judged(make_entry, accepted, rejected, yes=_YES, no=_NO):
    said = [(score, yes) for score in accepted] + [(score, no) for score in rejected]
    entries = [make_entry(f"q-{n}", score) for n, (score, _) in enumerate(said)]
    return entries, {e.id: decision for e, (_, decision) in zip(entries, said, strict=True)}


def test_a_person_who_draws_the_line_higher_is_understood(make_entry):
    entries, decisions = _judged(make_entry, [8.4] * 30, [8.2] * 30)
    found = suggest_threshold(entries, decisions, 7.0)
    assert (found.threshold, found.agreed, found.agreed_now) == (8.3, 60, 30)
    assert found.bins == (AgreementBin(8.0, 30, 30),)
    assert found.sentence == (
        "the threshold 7 agrees with 30 of your 60 decisions, 8.3 would with 60"
    )


def test_a_threshold_that_agrees_as_well_as_any_stays(make_entry):
    entries, decisions = _judged(make_entry, [9.0] * 30, [3.0] * 30)
    found = suggest_threshold(entries, decisions, 6.85)
    assert found.threshold == 6.85
    assert found.sentence.endswith("and no other does better")


@given(
    st.lists(st.integers(0, 100), min_size=30, max_size=40),
    st.lists(st.integers(0, 100), min_size=30, max_size=40),
    st.integers(0, 100),
)
def test_no_threshold_in_tenths_agrees_better(make_entry, accepted, rejected, now):
    yes, no = [s / 10 for s in accepted], [s / 10 for s in rejected]
    found = suggest_threshold(*_judged(make_entry, yes, no), now / 10)

    def agreed(at):
        return sum(s >= at for s in yes) + sum(s < at for s in no)

    assert found.agreed == agreed(found.threshold)
    assert found.agreed == max(agreed(at / 10) for at in range(101))
    assert found.agreed_now == agreed(now / 10)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        (_YES, None),
        (Decision("accept", source="bulk"), _NO),
        (Decision("accept", question="Mine?", source="edit"), _NO),
        (_YES, Decision("reject", source="bulk")),
    ],
)
def test_nothing_is_suggested_before_enough_was_judged_one_by_one(make_entry, yes, no):
    rejected = [3.0] * (ENOUGH_A_SIDE if no else ENOUGH_A_SIDE - 1)
    entries, decisions = _judged(make_entry, [9.0] * ENOUGH_A_SIDE, rejected, yes, no or _NO)
    assert suggest_threshold(entries, decisions, 7.0) is None


def test_blocked_and_unscored_samples_are_no_judgement_of_scores(make_entry):
    entries, decisions = _judged(make_entry, [9.0] * ENOUGH_A_SIDE, [3.0] * ENOUGH_A_SIDE)
    for other in (None, 9.0):
        entries[0] = make_entry("q-0", other, blocking=other is not None)
        assert suggest_threshold(entries, decisions, 7.0) is None
