"""The time that is left, by steps and validations."""

import pytest

from pipeline.finetune.pace import Pace, validations_left
from pipeline.schedule import Schedule


def schedule(total, every):
    return Schedule(8, 6, total, 4, 7, every)


@pytest.mark.parametrize("total", [1, 10, 47, 48, 50])
@pytest.mark.parametrize("every", [1, 7, 10, 100])
def test_validations_left_are_those_that_the_loop_makes(total, every):
    for step in range(1, total + 1):
        made = sum(1 for s in range(step, total + 1) if s % every == 0 or s == total)
        assert validations_left(step, schedule(total, every)) == made


def test_steps_and_validations_count_at_their_own_mean():
    pace = Pace().after_step(1.0).after_step(3.0)
    assert pace.seconds_left(2, schedule(12, 5)) == 20.0
    pace = pace.after_validation(6.0)
    assert pace.seconds_left(2, schedule(12, 5)) == 20.0 + 3 * 6.0
    assert Pace(2, 4.0, validates=False).seconds_left(2, schedule(12, 5)) == 20.0
