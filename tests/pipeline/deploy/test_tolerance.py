"""The published tolerance, and when a verdict can't be given."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.deploy.tolerance import (
    Drift,
    Row,
    SetCheck,
    compare_metrics,
    flipped_queries,
    identify,
    judge,
    measure_drift,
)
from pipeline.settings import VerifySettings

EXACT = Drift(10, 1.0, 1.0, 1.0, ())
OFF = Drift(10, 0.99, 0.9, 0.5, ())


def checked(*states, queries=200, drift=EXACT):
    rows = tuple(Row("ndcg@10", 0.5, 0.6, 0.01, state) for state in states)
    return SetCheck("synthetic", queries, rows, EXACT, drift, {})


@pytest.mark.parametrize(
    ("metric", "served", "state"),
    [
        ("ndcg@1", 0.53, "within"),
        ("ndcg@1", 0.5301, "outside"),
        ("recall@4", 0.47, "within"),
        ("ndcg@5", 0.51, "within"),
        ("ndcg@5", 0.5101, "outside"),
        ("recall@10", 0.49, "within"),
        ("recall@100", 0.4899, "outside"),
    ],
)
def test_the_tolerance_is_looser_below_five(metric, served, state):
    (row,) = compare_metrics({metric: 0.5, "map@1": 0.1}, {metric: served}, 200, VerifySettings())
    assert row.state == state
    assert row.difference == pytest.approx(served - 0.5)


def test_too_few_queries_for_the_tolerance_are_said_metric_by_metric():
    metrics = {"ndcg@1": 0.5, "ndcg@10": 0.5}
    states = {
        queries: [row.state for row in compare_metrics(metrics, metrics, queries, VerifySettings())]
        for queries in (33, 34, 99, 100)
    }
    assert states == {
        33: ["too few queries", "too few queries"],
        34: ["within", "too few queries"],
        99: ["within", "too few queries"],
        100: ["within", "within"],
    }


def test_verdicts():
    assert judge([], [checked("within")]) == ("PASS", ())
    assert judge([], [checked("within", drift=OFF)])[0] == "PASS"
    assert judge(["another model"], [checked("within")]) == ("FAIL", ("another model",))
    verdict, reasons = judge([], [checked("within"), checked("within", "outside")])
    assert (verdict, "moved by +0.1000" in reasons[0]) == ("FAIL", True)
    verdict, reasons = judge([], [checked("within", "too few queries", queries=20)])
    assert (verdict, "0.0500" in reasons[0]) == ("INCONCLUSIVE", True)
    assert judge([], [checked("too few queries", drift=OFF)])[0] == "FAIL"
    assert judge([], [checked("outside", "too few queries")])[0] == "FAIL"


def test_drift_names_the_worst_texts():
    stored = np.eye(4, dtype=np.float32)
    served = stored.copy()
    served[2] = [0, 0, 0.6, 0.8]
    drift = measure_drift(stored, served, list("abcd"), ["x", "xx", "xxx", "xxxx"])
    assert (drift.texts, drift.min) == (4, pytest.approx(0.6))
    assert (drift.worst[0].id, drift.worst[0].characters) == ("c", 3)
    assert drift.mean == pytest.approx(0.9)
    assert not drift.passes
    assert replace(drift, mean=0.9999, low=0.999).passes


def test_identity_counts_only_canaries_that_tell_the_models_apart():
    finetuned = np.eye(3, dtype=np.float32)
    base = finetuned.copy()
    base[0] = [0.9, np.sqrt(1 - 0.81), 0]
    right = identify(finetuned, finetuned, base)
    assert (right.telling, right.nearer_to_base, right.faults) == (1, 0, ())
    wrong = identify(base, finetuned, base)
    assert (wrong.nearer_to_base, len(wrong.faults)) == (1, 2)
    same = identify(finetuned, finetuned, finetuned)
    assert (same.telling, same.faults) == (0, ())


def test_flipped_queries_are_those_whose_compared_metrics_changed():
    stored = {"a": {"ndcg@1": 1.0, "map@1": 1.0}, "b": {"ndcg@1": 1.0, "map@1": 1.0}}
    served = {"a": {"ndcg@1": 0.0, "map@1": 0.0}, "b": {"ndcg@1": 1.0, "map@1": 0.5}}
    assert flipped_queries(stored, served) == {"a": {"ndcg@1": (1.0, 0.0)}}
