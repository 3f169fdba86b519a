"""A training's journal, folded into what its screen shows."""

import math

import pytest

from pipeline.journal import Event
from pipeline.schedule import schedule_for
from pipeline.settings import FinetuneSettings
from tui.training import TrainingView


class Journal:
    """Events with times, as a worker would write them."""

    def __init__(self, seconds_a_step=1.0, total=100):
        self.events, self.now = [], 1000.0
        self._seconds, self._total = seconds_a_step, total

    def say(self, type, after=0.0, **data):  # noqa: A002
        self.now += after
        self.events.append(Event(len(self.events) + 1, self.now, type, data))
        return self

    def steps(self, first, last, loss=lambda step: 1 / step, seconds=None):
        for step in range(first, last + 1):
            self.say(
                "metric",
                seconds or self._seconds,
                step=step,
                steps=self._total,
                epoch=step / 100,
                loss=loss(step),
                learning_rate=1e-5,
                gradient_norm=1.5,
                samples_per_second=16.0,
                tokens_per_second=2000.0,
            )
            self.say("progress", done=step, total=self._total, what="training steps")
        return self

    def validation(self, step, score, after=0.0, base=0.4):
        return self.say("metric", after, step=step, ndcg_at_10=score, base_ndcg_at_10=base)

    def view(self):
        view = TrainingView()
        for event in self.events:
            view.take(event)
        return view


def test_losses_stand_at_their_steps_and_the_newest_numbers_are_kept():
    view = Journal().say("started").validation(0, 0.4).steps(1, 3).validation(3, 0.5).view()
    assert list(view.losses) == [1, 1 / 2, 1 / 3]
    assert view.step == 3
    assert view.total == 100
    assert view.base == 0.4
    assert view.validations == [(3, 0.5)]
    assert view.latest["tokens_per_second"] == 2000
    assert view.bounds == (1 / 3, 1)
    # With 100 steps the mean looks back on five: a third of each new loss goes in.
    assert view.averages[1] == pytest.approx(1 + (1 / 2 - 1) / 3)


def test_an_attempt_that_goes_on_takes_back_what_its_checkpoint_does_not_have():
    journal = Journal().say("started").validation(0, 0.4).steps(1, 10, lambda _: 2.0)
    journal.validation(10, 0.45).steps(11, 14, lambda _: 9.0).validation(14, 0.9)
    undisturbed = journal.view()
    journal.say("started", 50.0).say("resumed", step=10).steps(11, 12, lambda _: 1.0)
    view = journal.view()
    assert list(view.losses) == [2.0] * 10 + [1.0] * 2
    assert view.validations == [(10, 0.45)]
    assert view.bounds == (1.0, 2.0)
    assert view.resumed == [10]
    assert view.rewinds == undisturbed.rewinds + 1


def test_an_attempt_without_a_checkpoint_begins_again():
    journal = Journal().say("started").validation(0, 0.4).steps(1, 5).validation(5, 0.7)
    journal.say("started").validation(0, 0.4).steps(1, 2, lambda _: 3.0)
    view = journal.view()
    assert list(view.losses) == [3.0, 3.0]
    assert view.validations == []


def test_an_attempt_without_dev_questions_begins_again_too():
    view = Journal().say("started").steps(1, 5).say("started").steps(1, 1).view()
    assert view.step == 1
    assert view.base is None


@pytest.mark.parametrize("lost", [None, math.nan, math.inf, "NaN"])
def test_a_step_without_a_loss_is_a_gap(lost):
    view = Journal().steps(1, 4, lambda step: lost if step == 3 else float(step)).view()
    assert [math.isnan(loss) for loss in view.losses] == [False, False, True, False]
    assert view.gaps == 1
    assert view.bounds == (1, 4)
    assert not any(map(math.isnan, view.averages))


def test_the_best_validation_is_the_earliest_of_equals():
    view = Journal().steps(1, 9).validation(3, 0.5).validation(6, 0.6).validation(9, 0.6).view()
    assert view.best == (6, 0.6)


def test_the_time_left_is_the_median_of_recent_steps_within_their_quartiles():
    journal = Journal(total=20).say("started")
    assert journal.steps(1, 5).view().remaining(None) is None
    journal.steps(6, 9, seconds=1.0).steps(10, 10, seconds=60.0)
    remaining = journal.view().remaining(None)
    assert remaining == (10, 10, 10)
    journal.steps(11, 14, seconds=2.0)
    low, middle, high = journal.view().remaining(None)
    assert (low, middle, high) == (6, 6, 12)


def test_the_step_that_is_under_way_counts_but_one_that_hangs_says_nothing():
    journal = Journal(seconds_a_step=10.0, total=20).say("started").steps(1, 10)
    view = journal.view()
    assert view.remaining(None, journal.now + 4) == (96, 96, 96)
    assert view.remaining(None, journal.now + 400) == (90, 90, 90)


def test_validations_and_pauses_are_no_steps_but_validations_still_to_come_count():
    schedule = schedule_for(160, FinetuneSettings(epochs=1, validation_steps=4, auto_scale=False))
    assert schedule.total_steps == 2
    schedule = schedule_for(
        160, FinetuneSettings(epochs=2, batch_size=16, validation_steps=4, auto_scale=False)
    )
    assert schedule.total_steps == 20
    journal = Journal(total=20).say("started").steps(1, 8).validation(8, 0.5, after=5.0)
    journal.say("paused").say("continued", 1000.0).steps(9, 9)
    remaining = journal.view().remaining(schedule)
    # 11 steps of a second, and validations at 12, 16 and 20 of 5 seconds each.
    assert remaining == (26, 26, 26)


def test_elapsed_counts_work_in_all_attempts_without_pauses_and_gaps():
    journal = Journal().say("started").steps(1, 4)
    journal.say("paused", 1.0).say("continued", 100.0).steps(5, 5).say("terminated")
    journal.say("started", 1000.0).say("resumed", step=5).steps(6, 7)
    view = journal.view()
    assert view.elapsed() == 4 + 1 + 1 + 2
    assert view.elapsed(journal.now + 3) == 11
    assert journal.say("finished").view().elapsed(journal.now + 99) == 8


def test_a_worker_that_was_killed_worked_until_its_last_word():
    journal = Journal().say("started").steps(1, 4)
    assert journal.say("started", 500.0).view().elapsed() == 4


def test_the_gpu_is_told_by_the_log_and_what_is_done_by_progress():
    journal = Journal().say("started").say("log", message="GPU", level="info", gpu="GPU-1")
    journal.say("progress", done=10, total=1200, what="dev passages encoded")
    assert journal.view().gpu == "GPU-1"
    assert journal.view().doing == "dev passages encoded 10/1,200"
    assert journal.steps(1, 1).view().doing == ""
    assert journal.say("paused").view().paused
    assert not journal.say("continued").view().paused


def test_an_attempt_that_goes_on_takes_back_what_it_does_again():
    journal = Journal().say("started").validation(0, 0.4).steps(1, 8).validation(8, 0.5)
    journal.say("started").say("resumed", step=6).steps(7, 9)
    view = journal.view()
    assert view.step == 9
    assert view.rewinds == 1
    assert view.resumed == [6]
