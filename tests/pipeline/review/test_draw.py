"""The audit's draw stays put."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.audit import AUDIT_SIZE
from pipeline.review.decisions import Action, Decision, mark_after
from pipeline.review.draw import AuditDraw


def _draw(entries):
    draw = AuditDraw(seed=3)
    draw.add(entries)
    return draw


def _entries(make_entry, count=200):
    return [make_entry(f"q-{n:03}", 5 + (n * 37 % 500) / 100) for n in range(count)]


@given(low=st.floats(5, 9.5), step=st.floats(0, 0.5))
def test_moving_the_threshold_takes_out_only_what_it_drops_and_moving_back_restores(
    make_entry, low, step
):
    entries = _entries(make_entry)
    draw, scores = _draw(entries), {e.id: e.score for e in entries}
    before, after = draw.draw(low, {}), draw.draw(low + step, {})
    assert [name for name in before if scores[name] >= low + step] == [
        name for name in after if name in before
    ]
    assert draw.draw(low, {}) == before


def test_each_arrival_displaces_at_most_one(make_entry):
    entries = _entries(make_entry)
    draw = _draw(entries[:100])
    for entry in entries[100:]:
        before = draw.draw(7.0, {})
        draw.add([entry])
        after = draw.draw(7.0, {})
        assert set(after) - set(before) <= {entry.id}


def test_decisions_made_one_by_one_move_nothing_and_bulk_rejects_are_not_drawn(make_entry):
    draw = _draw(_entries(make_entry))
    before = draw.draw(6.0, {})
    for decision in (Decision("reject"), Decision("accept"), Decision("accept", source="bulk")):
        assert draw.draw(6.0, dict.fromkeys(before, decision)) == before
    bulk = {before[0]: Decision("reject", source="bulk")}
    assert draw.draw(6.0, bulk)[: AUDIT_SIZE - 1] == before[1:]


def test_what_is_kept_in_bulk_is_drawn_like_what_score_and_flags_keep(make_entry):
    entries = _entries(make_entry)
    draw = _draw(entries)
    below = [e.id for e in entries if e.score < 8.0]
    accepted = dict.fromkeys(below, Decision("accept", source="bulk"))
    drawn = draw.draw(8.0, accepted)
    assert drawn == draw.draw(0.0, {})
    assert set(drawn) & set(below)


def test_a_bad_sample_that_was_accepted_in_bulk_stays_in_the_audit(make_entry):
    entries = _entries(make_entry)
    draw = _draw(entries)
    accept = Action("accept", tuple(e.id for e in entries if e.score < 8.0), source="bulk")
    in_bulk = {name: mark_after(accept, None) for name in accept.samples}
    drawn = draw.draw(8.0, in_bulk)
    bad = next(name for name in drawn if name in in_bulk)
    for action in (Action("reject", (bad,)), Action("edit", (bad,), question="?", source="edit")):
        said = mark_after(action, in_bulk[bad])
        assert draw.draw(8.0, in_bulk | {bad: said}) == drawn
        assert draw.draw(8.0, in_bulk | {bad: mark_after(Action("reject", (bad,)), said)}) == drawn


def test_a_bulk_reject_that_changes_a_reason_takes_no_bad_sample_out(make_entry):
    draw = _draw(_entries(make_entry))
    before = draw.draw(6.0, {})
    by_hand = Decision("reject", "leak")
    again = mark_after(Action("reject", (before[0],), reason="wrong", source="bulk"), by_hand)
    assert again == Decision("reject", "wrong")
    assert draw.draw(6.0, {before[0]: again}) == before


def test_the_audit_never_draws_what_a_check_blocks_nor_test_questions(make_entry):
    entries = [
        make_entry("q-1", 9.0, blocking=True),
        make_entry("q-2", 9.0, role="test"),
        make_entry("q-3", 9.0, role="dev"),
        make_entry("q-4", 6.9),
        make_entry("q-5", None),
    ]
    assert sorted(_draw(entries).draw(7.0, {})) == ["q-3", "q-5"]
