"""The shape of the learning rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.rates import FIRST_SHARE, LAST_SHARE, learning_rate
from pipeline.schedule import schedule_for
from pipeline.settings import FinetuneSettings


@given(examples=st.integers(1, 600), kind=st.sampled_from(["cosine", "linear"]))
def test_it_rises_then_falls_for_any_number_of_examples(examples, kind):
    settings = FinetuneSettings(schedule=kind)
    schedule = schedule_for(examples, settings)
    assert schedule.warmup_steps <= schedule.total_steps / 10
    rates = [learning_rate(step, schedule, settings) for step in range(schedule.total_steps)]
    peak = schedule.warmup_steps
    assert rates[peak] == settings.learning_rate
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(0 < rate <= settings.learning_rate for rate in rates)
    if peak:
        assert rates[0] == pytest.approx(FIRST_SHARE * settings.learning_rate)
    if len(rates) > peak + 1:
        assert rates[-1] == pytest.approx(LAST_SHARE * settings.learning_rate)


def test_cosine_stays_above_the_line_in_the_first_half():
    settings = FinetuneSettings(warmup_steps=0)
    schedule = schedule_for(512, settings)
    linear = FinetuneSettings(warmup_steps=0, schedule="linear")
    step = schedule.total_steps // 4
    assert learning_rate(step, schedule, settings) > learning_rate(step, schedule, linear)
