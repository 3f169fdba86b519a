"""The paired bootstrap and the verdict."""

import numpy as np
import pytest

from pipeline.eval import statistics
from pipeline.eval.records import Difference
from pipeline.eval.statistics import headline_metric, paired_differences, verdict_of


def _rows(values, name="ndcg@10"):
    return [{name: float(value)} for value in values]


def test_the_interval_of_a_mean_agrees_with_the_normal_one():
    generator = np.random.default_rng(0)
    base = generator.random(400)
    ours = base + generator.normal(0.05, 0.2, 400)
    found = paired_differences(_rows(ours), _rows(base))["ndcg@10"]
    differences = ours - base
    error = differences.std() / np.sqrt(400)
    assert found.mean == pytest.approx(differences.mean(), abs=1e-12)
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.05 * error + 0.0005)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.05 * error + 0.0005)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        sample = generator.normal(0.1, 0.3, 80)
        found = paired_differences(_rows(sample), _rows(np.zeros(80)))["ndcg@10"]
        covered += found.low <= 0.1 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


def test_pairing_counts_a_steady_small_gain_as_clear():
    generator = np.random.default_rng(2)
    base = generator.random(100)
    found = paired_differences(_rows(base + 0.01), _rows(base))["ndcg@10"]
    assert found.low == pytest.approx(0.01)
    assert verdict_of(found, 100) == "better"


def test_all_metrics_share_one_draw_and_the_draw_is_always_the_same():
    generator = np.random.default_rng(3)
    values = generator.random(60)
    rows = [{"ndcg@10": float(v), "recall@10": 2 * float(v)} for v in values]
    zeros = [{"ndcg@10": 0.0, "recall@10": 0.0}] * 60
    first = paired_differences(rows, zeros)
    assert first == paired_differences(rows, zeros)
    assert first["recall@10"].low == pytest.approx(2 * first["ndcg@10"].low)


def test_working_in_blocks_changes_no_number(monkeypatch):
    rows, zeros = _rows(np.random.default_rng(4).random(50)), _rows(np.zeros(50))
    whole = paired_differences(rows, zeros)["ndcg@10"]
    monkeypatch.setattr(statistics, "_CELLS", 50 * 777)
    parts = paired_differences(rows, zeros)["ndcg@10"]
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=1e-12)


def test_one_query_gives_an_interval_without_width():
    found = paired_differences(_rows([0.75]), _rows([0.5]))["ndcg@10"]
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)
    assert verdict_of(found, 1) == "too few queries"


def test_systems_measured_on_different_queries_are_refused():
    with pytest.raises(ValueError, match="zip"):
        paired_differences(_rows([1, 2]), _rows([1]))


@pytest.mark.parametrize(
    ("low", "high", "queries", "verdict"),
    [
        (0.01, 0.05, 50, "better"),
        (-0.05, -0.01, 50, "worse"),
        (-0.01, 0.05, 50, "no clear difference"),
        (0.0, 0.0, 500, "no clear difference"),
        (0.01, 0.05, 49, "too few queries"),
    ],
)
def test_the_verdict_says_what_the_interval_allows(low, high, queries, verdict):
    assert verdict_of(Difference((low + high) / 2, low, high), queries) == verdict


@pytest.mark.parametrize(
    ("names", "headline"),
    [
        (["ndcg@1", "ndcg@5", "ndcg@10", "ndcg@100", "map@10"], "ndcg@10"),
        (["ndcg@1", "ndcg@5", "ndcg@100"], "ndcg@5"),
        (["recall@3", "ndcg@3"], "ndcg@3"),
    ],
)
def test_the_headline_is_ndcg_at_ten_or_the_nearest_rank(names, headline):
    assert headline_metric(names) == headline
