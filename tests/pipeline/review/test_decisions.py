"""The laws of the fold: undo, redo, bulk, edits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.decisions import REASONS, Action, Decision, DecisionEvent, ReviewState, fold

_IDS = st.sampled_from(["q-a", "q-b", "q-c", "q-d"])
_MANY = st.lists(_IDS, min_size=1, max_size=4, unique=True).map(tuple)
_WORDS = st.text(min_size=1).filter(str.strip)

ACTS = st.one_of(
    st.builds(Action, st.just("accept"), _MANY, source=st.sampled_from(["manual", "bulk"])),
    st.builds(Action, st.just("reject"), _MANY, reason=st.sampled_from(["", *REASONS])),
    st.builds(Action, st.just("clear"), _MANY),
    st.builds(Action, st.just("skip"), _MANY),
    st.builds(
        Action,
        st.just("edit"),
        _IDS.map(lambda sample: (sample,)),
        question=_WORDS,
        answer=st.none() | st.text(),
        source=st.just("edit"),
    ),
    st.builds(Action, st.just("threshold"), value=st.floats(0, 10)),
)
UNDO, REDO = Action("undo"), Action("redo")
ANY = st.lists(ACTS | st.just(UNDO) | st.just(REDO), max_size=25)


def _fold(actions):
    return fold(DecisionEvent(seq, 0.0, action) for seq, action in enumerate(actions, start=1))


def _said(state: ReviewState):
    return dict(state.decisions), state.skipped, state.threshold


@given(ANY, ACTS)
def test_undo_inverts_the_last_action(history, action):
    assert _said(_fold([*history, action, UNDO])) == _said(_fold(history))


@given(ANY.filter(lambda history: _fold(history).undo_depth > 0))
def test_redo_inverts_undo_whatever_went_before(history):
    assert _fold([*history, UNDO, REDO]) == _fold(history)


@given(ANY)
def test_undoing_everything_leaves_nothing_said_and_redoing_brings_all_back(history):
    before = _fold(history)
    undone = [*history, *[UNDO] * before.undo_depth]
    assert _said(_fold(undone)) == ({}, frozenset(), None)
    assert _said(_fold([*undone, *[REDO] * before.undo_depth])) == _said(before)


@given(ANY, ACTS)
def test_a_new_action_after_undo_ends_what_could_be_redone(history, action):
    state = _fold([*history, UNDO, action])
    assert state.redo_depth == 0
    assert _fold([*history, UNDO, action, REDO]) == state


@given(ANY)
def test_depths_count_what_undo_and_redo_can_do(history):
    state = _fold(history)
    nothing_left = _fold([*history, *[UNDO] * state.undo_depth])
    assert nothing_left.undo_depth == 0
    assert nothing_left.redo_depth == state.undo_depth + state.redo_depth
    assert _fold([*history, *[REDO] * state.redo_depth]).redo_depth == 0


@given(ACTS, _MANY)
def test_bulk_is_one_undo_unit_and_says_the_same_as_one_by_one(first, samples):
    bulk = _fold([first, Action("accept", samples, source="bulk")])
    single = _fold([first, *[Action("accept", (s,), source="bulk") for s in samples]])
    assert _said(bulk) == _said(single)
    assert bulk.undo_depth == 2


def test_undo_and_redo_with_nothing_to_do_change_nothing():
    assert _fold([UNDO, REDO, UNDO]) == ReviewState()


def test_an_edit_is_an_accept_whose_words_survive_accept_and_reject_but_not_clear():
    edit = Action("edit", ("q-a",), question="Better?", source="edit")
    assert _fold([edit]).decisions["q-a"] == Decision("accept", question="Better?", source="edit")
    again = Action("edit", ("q-a",), answer="Yes.", source="edit")
    assert _fold([edit, again]).decisions["q-a"].question == "Better?"
    reject = Action("reject", ("q-a",), reason="wrong")
    assert _fold([edit, reject]).decisions["q-a"] == Decision("reject", "wrong", "Better?")
    accept = Action("accept", ("q-a",), source="bulk")
    assert _fold([edit, reject, accept]).decisions["q-a"].question == "Better?"
    clear = Action("clear", ("q-a",))
    assert "q-a" not in _fold([edit, clear]).decisions
    assert _fold([edit, clear, accept]).decisions["q-a"].question is None


def test_the_threshold_that_was_moved_last_holds_and_undo_brings_the_one_before():
    moves = [Action("threshold", value=6.5), Action("threshold", value=8.0)]
    assert _fold(moves).threshold == 8.0
    assert _fold([*moves, UNDO]).threshold == 6.5
    assert _fold([*moves, UNDO, UNDO]).threshold is None


def test_a_skip_marks_as_seen_what_nobody_decided_and_changes_no_verdict():
    skip = Action("skip", ("q-a", "q-b"))
    state = _fold([Action("reject", ("q-a",)), skip])
    assert state.decisions == {"q-a": Decision("reject")}
    assert state.skipped == {"q-b"}
    assert _fold([skip, UNDO]).skipped == frozenset()
    assert _fold([skip, Action("accept", ("q-b",))]).skipped == {"q-a"}
    assert _fold([skip, Action("clear", ("q-a",))]).skipped == {"q-b"}


@given(ANY)
def test_nothing_is_both_skipped_and_decided(history):
    state = _fold(history)
    assert not state.skipped & state.decisions.keys()


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "praise", "samples": ("q-a",)},
        {"kind": "accept"},
        {"kind": "skip"},
        {"kind": "undo", "samples": ("q-a",)},
        {"kind": "accept", "samples": ("q-a",), "reason": "wrong"},
        {"kind": "reject", "samples": ("q-a",), "reason": "no such reason"},
        {"kind": "accept", "samples": ("q-a",), "question": "New?"},
        {"kind": "accept", "samples": ("q-a",), "source": "machine"},
        {"kind": "edit", "samples": ("q-a",)},
        {"kind": "edit", "samples": ("q-a",), "question": " \n"},
        {"kind": "edit", "samples": ("q-a", "q-b"), "question": "One for two?"},
        {"kind": "threshold"},
        {"kind": "threshold", "value": float("nan")},
        {"kind": "accept", "samples": ("q-a",), "value": 7.0},
    ],
)
def test_an_action_whose_fields_do_not_fit_its_kind_is_refused(fields):
    with pytest.raises(ValueError, match=fields["kind"]):
        Action(**fields)
