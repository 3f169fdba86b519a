"""The one rule of what is kept, and the digest of the kept set."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.files import write_jsonl
from pipeline.review.decisions import Action, Decision, ReviewState, fold
from pipeline.review.kept import is_kept, kept_digest, kept_samples, load_kept
from pipeline.review.log import append_decision
from pipeline.run import Run
from pipeline.sdg.records import SAMPLES, Flag


@pytest.mark.parametrize(
    ("score", "blocked", "kept"),
    [
        (7.0, False, True),
        (7.1, False, True),
        (6.9, False, False),
        (None, False, True),
        (9.0, True, False),
        (None, True, False),
        (0.0, True, False),
    ],
)
def test_without_a_decision_score_and_blocking_flags_say_what_is_kept(
    make_sample, score, blocked, kept
):
    assert is_kept(make_sample("q-a", score, blocked=blocked), None, 7.0) is kept


@pytest.mark.parametrize(
    ("score", "blocked"), list(itertools.product((2.0, 9.0, None), (True, False)))
)
def test_a_decision_outweighs_score_and_flags(make_sample, score, blocked):
    sample = make_sample("q-a", score, blocked=blocked)
    assert is_kept(sample, Decision("accept"), 7.0)
    assert not is_kept(sample, Decision("reject"), 7.0)


def test_a_flag_that_does_not_block_drops_nothing(make_sample):
    assert is_kept(make_sample("q-a", 8.0, flagged=True), None, 7.0)


def test_kept_samples_have_edits_applied_keep_their_id_and_stay_in_order(make_sample):
    samples = [make_sample(name, score) for name, score in (("q-c", 3), ("q-a", 9), ("q-b", 8))]
    state = ReviewState(
        {
            "q-c": Decision("accept", question="Rewritten?", source="edit"),
            "q-b": Decision("accept", answer=""),
        }
    )
    kept = kept_samples(samples, state, 7.0)
    assert [sample.id for sample in kept] == ["q-c", "q-a", "q-b"]
    assert (kept[0].question, kept[0].answer) == ("Rewritten?", "A thing.")
    assert (kept[2].question, kept[2].answer) == ("What is q-b?", "")


def test_a_moved_threshold_stands_in_for_the_recipes(make_sample):
    samples = [make_sample("q-a", 6.0), make_sample("q-b", 8.0)]
    assert len(kept_samples(samples, ReviewState(), 7.0)) == 1
    assert len(kept_samples(samples, ReviewState(threshold=5.0), 7.0)) == 2
    assert len(kept_samples(samples, ReviewState(threshold=9.0), 7.0)) == 0


@given(
    scores=st.lists(st.none() | st.floats(0, 10), min_size=1, max_size=8),
    first=st.floats(0, 10),
    moved=st.floats(0, 10),
)
def test_the_digest_changes_exactly_when_the_kept_set_does(make_sample, scores, first, moved):
    samples = [make_sample(f"q-{n}", score) for n, score in enumerate(scores)]
    before = kept_samples(samples, ReviewState(), first)
    after = kept_samples(samples, ReviewState(threshold=moved), first)
    assert (kept_digest(before) == kept_digest(after)) == (before == after)


def test_accepting_what_is_kept_anyway_leaves_the_digest(make_sample, as_events):
    samples = [make_sample("q-a", 9.0), make_sample("q-b", 2.0)]

    def digest(*actions):
        return kept_digest(kept_samples(samples, fold(as_events(list(actions))), 7.0))

    untouched = digest()
    assert digest(Action("accept", ("q-a",))) == untouched
    assert digest(Action("accept", ("q-b",))) != untouched
    assert digest(Action("accept", ("q-b",)), Action("undo")) == untouched
    edit = Action("edit", ("q-a",), question="Rewritten?", source="edit")
    assert digest(edit) != untouched
    assert digest(edit, Action("undo")) == untouched


def test_where_a_retriever_has_the_evidence_leaves_the_digest(make_sample):
    sample = make_sample("q-a", 9.0)
    easy = Flag("easy", "the base model finds its evidence first already", blocking=False)
    ranked = dataclasses.replace(sample, ranks={"bm25": 1, "base": 1}, flags=(easy,))
    assert kept_digest([ranked]) == kept_digest([sample])
    assert kept_digest([dataclasses.replace(sample, style="keyword")]) != kept_digest([sample])


def test_load_kept_reads_samples_and_decisions_of_a_run(tmp_path, make_sample):
    run, sdg = Run(tmp_path / "run"), tmp_path / "sdg"
    rows = [make_sample("q-a", 9.0), make_sample("q-b", 2.0), make_sample("q-c", 8.0)]
    write_jsonl(sdg / SAMPLES, (dataclasses.asdict(row) for row in rows))
    assert [s.id for s in load_kept(run, sdg, 7.0)] == ["q-a", "q-c"]
    append_decision(run.decisions_path, Action("accept", ("q-b",)), lambda: 1.0)
    append_decision(run.decisions_path, Action("threshold", value=8.5), lambda: 2.0)
    assert load_kept(run, sdg, 7.0) == (rows[0], rows[1])
    append_decision(run.decisions_path, Action("undo"), lambda: 3.0)
    assert [s.id for s in load_kept(run, sdg, 7.0)] == ["q-a", "q-b", "q-c"]
