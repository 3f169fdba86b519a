"""The incremental fold: the same as the fold, and cheap."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.decisions import REASONS, Action, DecisionEvent, fold
from pipeline.review.standing import Standing

_IDS = st.sampled_from(["q-a", "q-b", "q-c", "q-d"])
# Names may come twice in one action.
_MANY = st.lists(_IDS, min_size=1, max_size=5).map(tuple)
_ACTIONS = st.lists(
    st.one_of(
        st.builds(Action, st.just("accept"), _MANY, source=st.sampled_from(["manual", "bulk"])),
        st.builds(Action, st.just("reject"), _MANY, reason=st.sampled_from(["", *REASONS])),
        st.builds(Action, st.sampled_from(["clear", "skip"]), _MANY),
        st.builds(
            Action,
            st.just("edit"),
            _IDS.map(lambda sample: (sample,)),
            question=st.sampled_from(["A?", "B?"]),
            answer=st.none() | st.just(""),
            source=st.just("edit"),
        ),
        st.builds(Action, st.just("threshold"), value=st.floats(0, 10)),
        st.sampled_from([Action("undo"), Action("undo"), Action("redo")]),
    ),
    max_size=30,
)


def _events(actions):
    return [DecisionEvent(seq, 0.0, action) for seq, action in enumerate(actions, start=1)]


@given(_ACTIONS)
def test_standing_equals_the_fold_after_every_event(actions):
    events, standing = _events(actions), Standing()
    for place, event in enumerate(events):
        standing.apply(event)
        state = fold(events[: place + 1])
        assert standing.state() == state
        assert dict(standing.decisions) == state.decisions
        assert (standing.undo_depth, standing.redo_depth) == (state.undo_depth, state.redo_depth)


@given(_ACTIONS)
def test_what_apply_returns_is_exactly_what_changed(actions):
    standing = Standing()
    for event in _events(actions):
        before = standing.state()
        changed = standing.apply(event)
        after = standing.state()
        assert changed == {
            name
            for name in ("q-a", "q-b", "q-c", "q-d")
            if before.decisions.get(name) != after.decisions.get(name)
            or (name in before.skipped) != (name in after.skipped)
        }


@given(_ACTIONS)
def test_next_undo_and_redo_name_what_they_will_do(actions):
    standing = Standing()
    for event in _events(actions):
        before = standing.next_undo, standing.next_redo
        standing.apply(event)
        if event.action.kind == "undo" and before[0]:
            assert standing.next_redo == before[0]
        elif event.action.kind == "redo" and before[1]:
            assert standing.next_undo == before[1]
        assert (standing.next_undo is None) == (standing.undo_depth == 0)
        assert (standing.next_redo is None) == (standing.redo_depth == 0)


def test_the_views_are_live():
    standing = Standing()
    decisions, skipped = standing.decisions, standing.skipped
    standing.apply(DecisionEvent(1, 0.0, Action("accept", ("q-a",))))
    standing.apply(DecisionEvent(2, 0.0, Action("skip", ("q-b",))))
    assert set(decisions) == {"q-a"}
    assert skipped == {"q-b"}
