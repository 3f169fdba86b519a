"""Early stopping: only where the dev set could have shown a gain."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.finetune.stopping import (
    QUERIES_MIN,
    WORTHWHILE,
    Comparison,
    compare,
    judge,
    queries_needed,
    student_t,
)


def test_a_comparison_is_that_of_the_differences():
    generator = np.random.default_rng(1)
    ours, theirs = generator.random(40), generator.random(40)
    found = compare(tuple(ours), tuple(theirs))
    assert found.mean == pytest.approx((ours - theirs).mean())
    assert found.deviation == pytest.approx((ours - theirs).std(ddof=1))
    assert found.error == pytest.approx((ours - theirs).std(ddof=1) / math.sqrt(40))
    assert found.low < found.mean < found.high


def test_what_the_queries_have_in_common_is_no_noise():
    hard_and_easy = (0.0, 1.0) * 50
    better = tuple(score * 0.9 + 0.05 + 0.01 for score in hard_and_easy)
    assert compare(hard_and_easy, hard_and_easy) == Comparison(100, 0.0, 0.0)
    assert compare(better, tuple(s * 0.9 + 0.05 for s in hard_and_easy)).clear


def test_one_query_has_no_deviation():
    assert compare((0.5,), (0.25,)) == Comparison(1, 0.25, 0.0)


@pytest.mark.parametrize("queries", [1, 2, 3, 5])
def test_a_few_queries_never_show_a_gain(queries):
    found = compare((1.0,) * queries, (0.5,) * queries)
    assert not found.clear
    assert (found.low, found.high) == (-1.0, 1.0)
    assert found.text == f"+0.5000 (too few queries for an interval: {queries})"


@pytest.mark.parametrize(("degrees", "table"), [(5, 2.571), (9, 2.262), (15, 2.131), (60, 2.0003)])
def test_the_width_of_an_interval_is_that_of_the_published_table(degrees, table):
    assert student_t(degrees) == pytest.approx(table, rel=2e-3)


def test_of_models_that_are_equal_one_in_twenty_seems_better_or_worse():
    generator = np.random.default_rng(0)
    runs = generator.normal(0.0, 0.2, (4000, 8))
    seen = [compare(tuple(run), (0.0,) * 8).clear for run in runs]
    assert np.mean(seen) == pytest.approx(0.05, abs=0.01)


def test_the_queries_needed_are_those_of_a_simulated_test_of_80_percent_power():
    deviation = 0.15
    needed = queries_needed(deviation)
    generator = np.random.default_rng(0)
    differences = generator.normal(WORTHWHILE, deviation, (4000, needed))
    errors = differences.std(axis=1, ddof=1) / math.sqrt(needed)
    seen = (np.abs(differences.mean(axis=1)) > 1.96 * errors).mean()
    assert seen == pytest.approx(0.8, abs=0.02)
    assert queries_needed(0.0) == QUERIES_MIN


@pytest.mark.parametrize(
    ("without_gain", "patience", "queries", "stop", "said"),
    [
        (5, 0, 5000, False, ""),
        (1, 2, 5000, False, ""),
        (2, 2, 5000, True, "training ends here"),
        (2, 2, 45, False, "45 dev questions can't tell"),
        (3, 2, 45, False, ""),
        (3, 2, 5000, True, "3 validations"),
    ],
)
def test_training_ends_after_patience_where_the_dev_set_can_tell(
    without_gain, patience, queries, stop, said
):
    found = judge(without_gain, patience, Comparison(queries, -0.01, 0.2))
    assert found.stop is stop
    assert said in found.reason
    assert bool(said) == bool(found.reason)
