"""The learning rate of every step: a pure function, so nothing of it needs a checkpoint."""

from __future__ import annotations

import math

from pipeline.schedule import Schedule
from pipeline.settings import FinetuneSettings

FIRST_SHARE = 0.1
"""Of the peak, at the first step of the warm-up; the published recipe's."""

LAST_SHARE = 0.01
"""Of the peak, at the last step; the published recipe's."""


def learning_rate(step: int, schedule: Schedule, settings: FinetuneSettings) -> float:
    """The learning rate of one step, from 0.

    It rises linearly from `FIRST_SHARE` to the peak in the warm-up and falls to `LAST_SHARE`
    at the last step, along half a cosine (Loshchilov and Hutter, "SGDR", 2017, equation 5) or
    a straight line.
    """
    if step < schedule.warmup_steps:
        share = FIRST_SHARE + (1 - FIRST_SHARE) * step / schedule.warmup_steps
    else:
        falling = max(1, schedule.total_steps - 1 - schedule.warmup_steps)
        done = min(1.0, (step - schedule.warmup_steps) / falling)
        left = (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1 - done
        share = LAST_SHARE + (1 - LAST_SHARE) * left
    return settings.learning_rate * share
