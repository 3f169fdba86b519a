"""What the published guidance says to a training of some size."""

from __future__ import annotations

import pytest

from pipeline.recipe import Recipe, apply
from pipeline.schedule import schedule_for, suggestion
from pipeline.settings import FinetuneSettings


@pytest.mark.parametrize(
    ("examples", "dev_queries", "given", "epochs"),
    [
        pytest.param(300, 40, 3, 3, id="small, and the dev set chooses"),
        pytest.param(300, 0, 3, 2, id="small, and nothing would see a third epoch fail"),
        pytest.param(300, 40, 1, 2, id="small, one epoch is too little"),
        pytest.param(300, 40, 8, 3, id="small, eight are too many"),
        pytest.param(1000, 100, 3, 2, id="medium"),
        pytest.param(9999, 100, 1, 1, id="medium, one fits"),
        pytest.param(10_000, 500, 3, 1, id="large"),
    ],
)
def test_epochs_follow_the_published_table(examples, dev_queries, given, epochs):
    found = suggestion(examples, dev_queries, FinetuneSettings(epochs=given, warmup_steps=10**6))
    assert found.settings.get("finetune.epochs", given) == epochs
    assert f"{examples:,} training questions" in found.reason


def test_the_warm_up_is_a_share_of_the_steps_that_would_be_done():
    settings = FinetuneSettings(epochs=3)
    found = suggestion(60_000, 500, settings)
    steps = schedule_for(60_000, FinetuneSettings(epochs=1)).total_steps
    assert found.settings["finetune.warmup_steps"] == round(0.05 * steps)


def test_settings_that_fit_are_left_alone():
    found = suggestion(300, 40, FinetuneSettings(epochs=2))
    assert found.settings == {}
    assert found.arguments == ""


def test_what_is_suggested_can_be_set_as_it_is_shown():
    found = suggestion(60_000, 500, FinetuneSettings())
    assert found.arguments.startswith("--set finetune.epochs=1 --set finetune.warmup_steps=")
    taken = apply(Recipe(), found.settings, "test")
    assert suggestion(60_000, 500, taken.finetune).settings == {}
