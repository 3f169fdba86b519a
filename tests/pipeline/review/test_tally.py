"""Live counts are the rule's, whatever was decided in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.records import ROLES
from pipeline.review.decisions import Action, Decision, DecisionEvent
from pipeline.review.index import keeps_entry
from pipeline.review.standing import Standing
from pipeline.review.tally import BIN, BINS, RoleCounts, Tally

_DRAFTS = st.lists(
    st.tuples(
        st.none() | st.floats(0, 10) | st.sampled_from([7.0, 6.9, 7.5]),
        st.sampled_from(ROLES),
        st.booleans(),
    ),
    min_size=1,
    max_size=90,
)
_PICKS = st.lists(
    st.tuples(
        st.sampled_from(["accept", "reject", "clear", "skip", "undo", "redo"]),
        st.lists(st.integers(0, 89), min_size=1, max_size=90),
    ),
    max_size=12,
)


def _check(tally, entries, decisions, threshold):
    counts = tally.counts(threshold)
    kept = [e for e in entries if keeps_entry(e, decisions.get(e.id), threshold)]
    assert (counts.kept, counts.total) == (len(kept), len(entries))
    for role in ROLES:
        of_role = sum(e.role == role for e in kept)
        all_of_role = sum(e.role == role for e in entries)
        assert counts.by_role[role] == RoleCounts(of_role, all_of_role - of_role)
    said = [(e, decisions[e.id].verdict) for e in entries if e.id in decisions]
    alone = {e.id: keeps_entry(e, None, threshold) for e in entries}
    assert counts.accepted == sum(verdict == "accept" for _, verdict in said)
    assert counts.rejected == sum(verdict == "reject" for _, verdict in said)
    assert counts.accepted_below == sum(v == "accept" and not alone[e.id] for e, v in said)
    assert counts.rejected_above == sum(v == "reject" and alone[e.id] for e, v in said)


@given(_DRAFTS, _PICKS, st.floats(0, 10), st.integers(0, 90))
def test_counts_equal_the_rule_over_everything(make_entry, drafts, picks, threshold, split):
    entries = [
        make_entry(f"q-{n}", score, role=role, blocking=blocking)
        for n, (score, role, blocking) in enumerate(drafts)
    ]
    standing, tally = Standing(), Tally()
    tally.add(entries[:split], standing.decisions)
    for seq, (kind, places) in enumerate(picks, start=1):
        # Ids that never arrive are decided, too: another result's decisions stay in the log.
        names = () if kind in ("undo", "redo") else tuple(f"q-{place}" for place in places)
        changed = standing.apply(DecisionEvent(seq, 0.0, Action(kind, names)))
        tally.update(changed, standing.decisions)
        _check(tally, entries[:split], standing.decisions, threshold)
    tally.add(entries[split:], standing.decisions)
    for moved in (threshold, 0.0, 7.0, 10.0):
        _check(tally, entries, standing.decisions, moved)
    histogram = tally.histogram()
    scored = [e for e in entries if e.score is not None]
    assert histogram.unscored == len(entries) - len(scored)
    assert len(histogram.bins) == BINS
    for place, bar in enumerate(histogram.bins):
        inside = [e for e in scored if min(int(e.score / BIN), BINS - 1) == place]
        verdicts = [standing.decisions[e.id].verdict for e in inside if e.id in standing.decisions]
        assert bar.low == place * BIN
        assert bar.count == len(inside)
        assert bar.accepted == verdicts.count("accept")
        assert bar.rejected == verdicts.count("reject")


@pytest.mark.parametrize("many", [3, 200, 600])
def test_many_decisions_at_once_count_like_few(make_entry, many):
    entries = [make_entry(f"q-{n}", n / 100) for n in range(1000)]
    tally = Tally()
    tally.add(entries, {})
    decisions = {e.id: Decision("reject") for e in entries[-many:]}
    tally.update(decisions, decisions)
    _check(tally, entries, decisions, 2.0)
    assert tally.counts(2.0).kept == 800 - many
    tally.update(decisions, {})
    _check(tally, entries, {}, 2.0)
    assert sum(bar.rejected for bar in tally.histogram().bins) == 0


def test_a_score_of_ten_stands_in_the_last_bar(make_entry):
    tally = Tally()
    tally.add([make_entry("q-1", 10.0), make_entry("q-2", 7.5), make_entry("q-3", 7.49)], {})
    counts = {bar.low: bar.count for bar in tally.histogram().bins if bar.count}
    assert counts == {9.5: 1, 7.5: 1, 7.0: 1}
