"""The rows around the charts of the Train step."""

import time

import pytest

from pipeline.profiles import base_recipe, find_profile
from pipeline.recipe import Recipe
from pipeline.schedule import schedule_for
from pipeline.usage import GpuUsage
from tui.glyphs import UNICODE
from tui.kept_counts import KeptCounts
from tui.progress import View
from tui.rows import plain, width_of
from tui.steps import StageState
from tui.train_rows import (
    before_rows,
    clock_words,
    device_numbers,
    ended_rows,
    mining_rows,
    number_rows,
    numbers,
    setting_choices,
    span_words,
    standing_rows,
    training_row,
)
from tui.training import Remaining, TrainingView

RECIPE = Recipe()


def text(rows):
    return "\n".join(plain(cells) for cells in rows)


def counts(**roles):
    return KeptCounts(roles, 900, 40, 7.5)


def trained_view():
    view = TrainingView(total=1200)
    for step in range(340):
        view._append(1 / (1 + step))
    view.latest = {"loss": 0.4312, "epoch": 0.85, "tokens_per_second": 12345.6}
    return view


def around(seconds):
    return Remaining(0.8 * seconds, seconds, 1.2 * seconds)


def test_what_some_trainings_tell_besides_is_shown_where_it_is_told():
    view = trained_view()
    plainly = dict(numbers(view, None, [], 1e9))
    assert not {"MFU", "memory", "masked/query"} & set(plainly)
    told = {"mfu": 0.413, "memory_bytes": 61.25e9, "masked_per_query": 1.27}
    view.latest |= told | {"loss_contrastive": 0.5, "loss_distil": 0.25}
    shown = dict(numbers(view, None, [], 1e9))
    assert {name: shown[name] for name in shown if name not in plainly} == {
        "MFU": "41%",
        "memory": "61.2 GB",
        "masked/query": "1.3",
        "loss contrastive": "0.500",
        "loss distil": "0.250",
    }
    view.latest |= {"negatives_per_query": 636.25, "hard_negatives_per_query": 2.125}
    assert dict(numbers(view, None, [], 1e9))["hard+in-batch"] == "2.1+634.1"
    shown = dict(numbers(view, None, [], 1e9))
    rows = number_rows(list(shown.items()), 26, 40)
    assert all(width_of(cells) <= 26 for cells in rows)


def test_hard_negatives_have_room_on_a_small_screen():
    view = trained_view()
    view.latest |= {"mfu": 0.4, "memory_bytes": 6e10, "masked_per_query": 1.0}
    view.latest |= {"negatives_per_query": 636.0, "hard_negatives_per_query": 2.0}
    usage = device_numbers(GpuUsage(61_200_000_000, 85_000_000_000, 97, 60), False)
    said = text(number_rows(numbers(view, around(700), usage, 1e9), 80, 5))
    assert "hard+in-batch   2.0+634.0" in said
    assert width_of(number_rows([("hard+in-batch", "2.0+634.0")], 26, 1)[0]) == 26


def test_before_it_says_what_is_kept_and_what_follows_from_it():
    schedule = schedule_for(412, RECIPE.finetune)
    said = text(before_rows(counts(train=412, dev=51, test=49), schedule, RECIPE, 79))
    assert "412 train  51 dev  49 test" in said
    assert "900 questions; 40 decided, threshold 7.5" in said
    assert f"{schedule.total_steps} steps: 3 epochs of {schedule.steps_per_epoch}" in said
    assert f"batch {schedule.batch_size}" in said


def test_without_training_or_dev_questions_it_says_what_that_means():
    assert "No training question is kept" in text(before_rows(counts(dev=3), None, RECIPE, 79))
    schedule = schedule_for(412, RECIPE.finetune)
    assert "No dev question" in text(before_rows(counts(train=412), schedule, RECIPE, 79))
    assert "counting" in text(before_rows(None, None, RECIPE, 79))


def test_settings_say_what_they_resolve_to():
    usual = base_recipe(find_profile(RECIPE.profile))
    choices = setting_choices(RECIPE, usual, schedule_for(412, RECIPE.finetune), 412)
    by_name = {choice.setting: choice for choice in choices}
    assert by_name["finetune.batch_size"].value == "128"
    assert "here 51, scaled to 412 questions" in by_name["finetune.batch_size"].hint
    assert "here every 9" in by_name["finetune.validation_steps"].hint
    assert by_name["finetune.micro_batch_size"].hint == "default; what memory holds"
    large = setting_choices(RECIPE, usual, schedule_for(50_000, RECIPE.finetune), 50_000)
    assert not any("here" in choice.hint for choice in large)


def test_mining_shows_its_parts_and_the_one_at_hand():
    view = View("queries encoded", 30, 400, 100.0, 0, 110.0)
    said = text(mining_rows(view, False, UNICODE, 79))
    assert "✓ passages encoded (done)" in said
    assert "▶ queries encoded (now)" in said
    assert "30/400" in said
    assert "3.0/s" in said
    assert "ETA 2 min 03 s" in said


def test_a_pause_and_a_validation_are_said():
    view = trained_view()
    assert "28%" in plain(training_row(view, UNICODE, 79))
    view.doing = "dev passages encoded 10/400"
    assert "dev passages encoded 10/400" in plain(training_row(view, UNICODE, 79))
    view.paused = True
    assert "paused: p goes on" in plain(training_row(view, UNICODE, 79))
    assert width_of(training_row(view, UNICODE, 79)) == 79
    assert "loading the model" in plain(training_row(TrainingView(), UNICODE, 79))


def test_numbers_keep_their_places_whatever_they_are():
    view = trained_view()
    one = number_rows(numbers(view, around(700), [("device", "CPU")], 1e9), 80, 5)
    view.latest["loss"], view.latest["tokens_per_second"] = 0.0001, 9.0
    other = number_rows(numbers(view, None, [("device", "CPU")], 1e9), 80, 5)
    assert len(one) == len(other) == 4
    assert {width_of(cells) for cells in (*one, *other)} == {78}
    for before, after in zip(one, other, strict=True):
        assert [len(span.text) for span in before] == [len(span.text) for span in after]
    said = text(one)
    assert "340/1,200" in said
    assert "0.4312" in said
    assert "12,346" in said


@pytest.mark.parametrize(("width", "lines", "rows"), [(27, 30, 12), (60, 4, 4), (80, 5, 4)])
def test_numbers_take_the_room_there_is_and_the_first_ones_come_first(width, lines, rows):
    shown = number_rows(numbers(trained_view(), None, [("device", "CPU")], 1e9), width, lines)
    assert len(shown) == rows
    assert all(width_of(cells) <= width for cells in shown)
    assert "step" in plain(shown[0])


def test_the_time_left_is_no_finer_than_it_can_be_known():
    assert span_words(Remaining(41, 42, 44)) == "45 s"
    assert span_words(Remaining(41, 50, 59)) == "45-60 s"
    assert span_words(around(720)) == "10-15 min"
    assert span_words(Remaining(7300, 7300, 9100)) == "2.1-2.6 h"
    now = time.mktime((2026, 3, 4, 14, 20, 0, 0, 0, -1))
    assert clock_words(Remaining(720, 800, 900), now) == "14:32-14:35"
    assert clock_words(Remaining(720, 721, 722), now) == "14:32"
    assert clock_words(Remaining(43_200, 43_200, 43_200), now) == "Thu 02:20"


def test_the_gpu_is_named_and_the_cpu_is_said():
    usage = GpuUsage(61_200_000_000, 85_000_000_000, 97, 60)
    assert device_numbers(usage, False) == [("GPU memory", "61.2/85.0 GB"), ("GPU load", "97%")]
    assert device_numbers(None, False) == [("GPU memory", "-"), ("GPU load", "-")]
    assert device_numbers(usage, True) == [("device", "CPU")]


SUMMARY = {
    "steps": 340,
    "steps_planned": 1200,
    "best_step": 300,
    "seconds": 754.0,
    "dev_ndcg_at_10_base": 0.41,
    "dev_ndcg_at_10": 0.6134,
    "dev_queries": 51,
    "warnings": ["Ended early, after 340 of 1200 steps."],
}


def test_afterwards_it_says_what_came_of_it_and_that_it_ended_early():
    said = text(ended_rows(SUMMARY, True, {"warnings": ["Only 9 test questions."]}, UNICODE, 79))
    assert "! trained in part: 340 of 1,200 steps, 12 min 34 s, the weights of step 300." in said
    assert "base 0.4100 → 0.6134  (+0.2034)  on 51 questions" in said
    assert "! Ended early" in said
    assert "! Only 9 test questions." in said
    whole = text(ended_rows({"steps": 48, "best_step": 48}, False, {}, UNICODE, 79))
    assert "✓ trained: 48 steps, the weights of step 48." in whole
    assert "nDCG" not in whole


@pytest.mark.parametrize("state", ["stale", "stopped", "vanished", "failed"])
def test_every_interrupted_state_has_its_word_and_its_key(state):
    stage = StageState(state, "the reason for it")
    rows = standing_rows("finetune", stage, True, "goes on", UNICODE, 79)
    assert f"finetune {state}: the reason for it" in text(rows)
    assert "enter" in text(rows)


def test_what_never_ran_has_no_state_to_tell():
    assert standing_rows("finetune", StageState("new", ""), False, "", UNICODE, 79) == []
