"""Scores: weighted, gated, and re-weighted without a call."""

from __future__ import annotations

import pytest

from pipeline.errors import BadRecipe
from pipeline.recipe import Recipe, apply
from pipeline.sdg.scoring import LEVELS, honest_hops, score_of, weights_of
from pipeline.settings import SdgSettings

PUBLISHED = weights_of(SdgSettings())


def test_scores_are_weighted_and_gated():
    best = dict.fromkeys(LEVELS, 2.0)
    assert score_of(best, PUBLISHED) == 10.0
    assert score_of(dict.fromkeys(LEVELS, 1.0), PUBLISHED) == 5.0
    assert score_of(best | {"natural": 0}, PUBLISHED) == 9.09
    assert score_of(best | {"answerable": 0}, PUBLISHED) == 3.0
    assert score_of(best | {"supported": 0}, PUBLISHED) == 3.0
    assert score_of(best | {"standalone": 0}, PUBLISHED) == 5.0
    assert score_of(dict.fromkeys(LEVELS, 0.0), PUBLISHED) == 0.0


def test_other_weights_give_other_scores():
    settings = apply(Recipe(), {"sdg.weight_natural": 0, "sdg.weight_specific": 9}, "a test").sdg
    levels = dict.fromkeys(LEVELS, 2.0)
    assert score_of(levels | {"natural": 0}, weights_of(settings)) == 10.0
    assert score_of(levels | {"specific": 0}, weights_of(settings)) == 4.71


def test_weights_that_weigh_nothing_are_refused():
    with pytest.raises(BadRecipe, match="weight"):
        apply(Recipe(), {f"sdg.weight_{name}": 0 for name in LEVELS}, "a test")


@pytest.mark.parametrize(
    ("quoted", "needed", "hops"), [(3, None, 3), (3, 1, 1), (2, 3, 2), (1, 0, 1)]
)
def test_a_shortcut_makes_a_question_one_of_fewer_hops(quoted, needed, hops):
    assert honest_hops(quoted, needed) == hops
