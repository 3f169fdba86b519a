"""The stage from end to end, on MiniLM."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from pipeline.errors import BadInput, Cancelled, StageFailure, Terminated
from pipeline.eval.records import (
    SYSTEMS,
    read_eval,
    read_per_query,
    read_rankings,
    read_set,
    read_vectors,
)
from pipeline.eval.stage import execute
from pipeline.files import digest_folder
from pipeline.rankings import rank_vectors


@pytest.fixture
def user_set(small_set):
    """Two relevant passages for one of two queries."""
    queries = {key: small_set.queries[key] for key in ("q-0", "q-1")}
    qrels = {"q-0": {"p-0": 2, "p-3": 1}, "q-1": {"p-1": 1}}
    return dataclasses.replace(small_set, queries=queries, qrels=qrels, details={})


def test_every_system_is_measured_on_every_set(make_context, small_set, user_set):
    context = make_context(user={"mine": user_set})
    outcome = execute(context)
    result = read_eval(context.folder)
    assert [(s.name, s.queries, s.passages) for s in result.sets] == [
        ("synthetic", 8, 8),
        ("mine", 2, 8),
    ]
    names = {f"{m}@{k}" for m in ("ndcg", "recall", "precision", "map") for k in (1, 5, 10, 100)}
    for measured, content in zip(result.sets, (small_set, user_set), strict=True):
        assert set(measured.systems) == set(SYSTEMS)
        assert all(set(metrics) == names for metrics in measured.systems.values())
        assert measured.verdict == "too few queries"
        assert read_set(context.folder, measured.name) == content
        base, tuned = measured.systems["base"], measured.systems["finetuned"]
        for name in names:
            difference = measured.difference[name]
            assert difference.mean == pytest.approx(tuned[name] - base[name], abs=1e-12)
            assert difference.low <= difference.mean <= difference.high
    assert result.sets[0].systems["base"]["ndcg@10"] > 0.9
    assert result.sets[0].systems["bm25"]["recall@10"] == 1.0
    assert set(outcome.outputs) == {p.name for p in context.folder.iterdir()}
    json.dumps(outcome.summary)
    assert outcome.summary["sets"][1]["systems"]["bm25"].keys() == {"ndcg@10", "recall@10"}
    assert len(outcome.summary["warnings"]) == 2
    assert context.events.logs == [("warning", text) for text in outcome.summary["warnings"]]


def test_per_query_rows_rankings_and_means_agree(make_context, user_set):
    context = make_context(synthetic=None, user={"mine": user_set})
    execute(context)
    (measured,) = read_eval(context.folder).sets
    rows = list(read_per_query(context.folder, "mine"))
    assert [(row.query, row.system) for row in rows] == [
        (query, system) for system in SYSTEMS for query in user_set.queries
    ]
    for system in SYSTEMS:
        mine = [row for row in rows if row.system == system]
        rankings = read_rankings(context.folder, "mine", system)
        assert list(rankings) == list(user_set.queries)
        for name, value in measured.systems[system].items():
            assert value == pytest.approx(np.mean([row.metrics[name] for row in mine]), abs=1e-12)
        for row in mine:
            relevant = user_set.qrels[row.query]
            ranks = [n for n, (p, _) in enumerate(rankings[row.query], 1) if p in relevant]
            assert row.first_relevant == ranks[0]
            assert row.metrics["precision@1"] == float(ranks[0] == 1)


def test_stored_vectors_give_the_stored_rankings_again(make_context, small_set):
    context = make_context()
    execute(context)
    vectors = read_vectors(context.folder, "synthetic")
    assert vectors.query_ids == tuple(small_set.queries)
    assert vectors.passage_ids == tuple(small_set.passages)
    assert vectors.queries.dtype == vectors.passages.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors.passages, axis=1), 1, atol=1e-5)
    again = rank_vectors(vectors.queries, vectors.passages, vectors.passage_ids, 100)
    stored = read_rankings(context.folder, "synthetic", "finetuned")
    assert dict(zip(vectors.query_ids, again, strict=True)) == stored
    assert stored != read_rankings(context.folder, "synthetic", "base")


def test_progress_counts_every_text_of_both_models_once(make_context):
    context = make_context()
    execute(context)
    steps = context.events.steps
    assert {(total, what) for _, total, what in steps} == {(32, "texts encoded")}
    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)
    assert steps[-1][0] == 32


def test_what_is_encoded_is_said_before_a_cancel_ends_the_stage(make_context, interrupting_control):
    context = make_context(control=interrupting_control(0, Cancelled()))
    with pytest.raises(Cancelled):
        execute(context)
    ((done, total, _),) = context.events.steps
    assert 0 < done < total


def test_an_interrupted_stage_called_again_gives_the_same_files(make_context, interrupting_control):
    whole = make_context(result="whole", cache="cache-one")
    execute(whole)
    for polls in (3, 12, 20, 30, 20):
        stopped = make_context(
            result="stopped", cache="cache-two", control=interrupting_control(polls, Terminated())
        )
        with pytest.raises(Terminated):
            execute(stopped)
        # What `files.replacing` leaves behind when it is killed.
        rest = stopped.folder / "rankings" / "synthetic" / ".base.jsonl.x.part"
        rest.parent.mkdir(parents=True, exist_ok=True)
        rest.write_text("half")
    again = make_context(result="stopped", cache="cache-two")
    execute(again)
    assert digest_folder(again.folder) == digest_folder(whole.folder)


def test_a_bad_user_set_is_refused_before_anything_is_encoded(make_context, user_set):
    context = make_context(user={"mine": user_set})
    path = context.run.eval_sets_path / "mine" / "qrels" / "test.tsv"
    path.write_text(path.read_text() + "q-0\tp-0\tmuch\n")
    with pytest.raises(BadInput, match=r"mine/qrels/test\.tsv, line 5: the score 'much'"):
        execute(context)
    assert context.events.steps == []
    assert list(context.folder.iterdir()) == []


def test_without_test_questions_only_the_users_sets_are_measured(make_context, user_set):
    context = make_context(synthetic=None, user={"mine": user_set})
    outcome = execute(context)
    assert [s.name for s in read_eval(context.folder).sets] == ["mine"]
    assert "synthetic set is skipped" in outcome.summary["warnings"][0]


def test_with_no_set_at_all_the_stage_says_so(make_context):
    with pytest.raises(StageFailure, match="nothing to measure with"):
        execute(make_context(synthetic=None))


def test_records_are_read_without_a_heavy_import(make_context, user_set):
    context = make_context(synthetic=None, user={"mine": user_set})
    execute(context)
    code = (
        "import sys; from pathlib import Path; from pipeline.eval.records import read_eval; "
        "import pipeline.eval.sets, pipeline.review.kept, pipeline.review.queue; "
        "print(read_eval(Path(sys.argv[1])).sets[0].name); "
        "print(*{'torch', 'numpy', 'pytrec_eval', 'beir', 'transformers'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(context.folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["mine"]
