"""Charts of a training as rows."""

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.glyphs import ASCII, UNICODE
from tui.rows import plain, width_of
from tui.training import TrainingView, Validation
from tui.widgets.chart import (
    Columns,
    LossChart,
    column_of,
    loss_axis,
    score_axis,
    score_rows,
)

GLYPHS = pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])


def view_of(losses, total=None):
    view = TrainingView(total=total or len(losses))
    for loss in losses:
        view._append(loss)
    return view


def drawn(rows):
    return [plain(cells) for cells in rows]


def canvas(rows):
    """The rows between title and steps, without the axis's labels."""
    return [line[7:] for line in drawn(rows)[1:-1]]


def rows_of(view, glyphs=ASCII, width=40, height=10, log=False):
    return LossChart().rows(view, log, glyphs, width, height)


@GLYPHS
@pytest.mark.parametrize("steps", [1, 2, 7, 500])
@pytest.mark.parametrize(("width", "height"), [(20, 4), (61, 12), (120, 30)])
def test_a_chart_fills_its_place_and_no_more(glyphs, steps, width, height):
    view = view_of([1 + 1 / (1 + step) for step in range(steps)], total=1000)
    view.base, view.validations = 0.4, [Validation(1, 0.45)]
    for rows in (
        rows_of(view, glyphs, width, height),
        score_rows(view, glyphs, width, height),
    ):
        assert len(rows) == height
        assert all(width_of(cells) <= width for cells in rows[1:])


def test_steps_stand_where_they_stand_in_the_whole_training():
    rows = canvas(rows_of(view_of([1.0] * 50, total=100), width=48))
    filled = [column for column in range(40) if any(line[column] != " " for line in rows)]
    assert filled == list(range(20))


def test_a_million_steps_cost_what_a_thousand_cost_once_they_are_in():
    seconds = []
    for count in (1_000, 1_000_000):
        draw = random.Random(1)
        view = view_of([draw.random() for _ in range(count)], total=count + 10)
        chart = LossChart()
        chart.rows(view, False, UNICODE, 90, 20)
        view._append(0.5)
        began = time.perf_counter()
        chart.rows(view, False, UNICODE, 90, 20)
        seconds.append(time.perf_counter() - began)
    assert seconds[1] < 5 * seconds[0] + 0.01


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=300), st.integers(1, 60))
def test_a_column_holds_the_lowest_and_the_highest_of_its_steps(losses, count):
    columns = Columns(count, len(losses))
    for end in (len(losses) // 3, len(losses)):
        columns.take(losses[:end])
    for column in range(count):
        own = [
            loss
            for step, loss in enumerate(losses, start=1)
            if column_of(step, len(losses), count) == column
        ]
        assert columns.low[column] == min(own, default=math.inf)
        assert columns.high[column] == max(own, default=-math.inf)


def test_few_steps_are_joined_without_holes():
    rows = canvas(rows_of(view_of([5.0, 1.0, 4.0]), width=60, height=12))
    columns = ["".join(line[x] for line in rows) for x in range(52)]
    filled = [bool(column.strip()) for column in columns]
    first, last = filled.index(True), 51 - filled[::-1].index(True)
    assert all(filled[first : last + 1])


def test_a_gap_is_left_open_and_counted():
    losses = [1.0, 1.0, math.nan, 1.0, 1.0]
    with_gap = rows_of(view_of(losses), width=68)
    assert "1 steps without a loss" in plain(with_gap[0])
    view = view_of(losses)
    view.averages[:] = type(view.averages)("d", [math.nan] * 5)
    middle = [line[30] for line in canvas(rows_of(view, width=68))]
    assert set(middle) == {" "}


def test_a_new_step_changes_only_its_own_columns():
    draw = random.Random(2)
    view = view_of([1 + draw.random() for _ in range(500)], total=1000)
    chart = LossChart()
    before = drawn(chart.rows(view, False, UNICODE, 90, 20))
    view._append(1.5)
    after = drawn(chart.rows(view, False, UNICODE, 90, 20))
    changed = {
        column
        for old, new in zip(before, after, strict=True)
        for column, (one, other) in enumerate(zip(old, new, strict=False))
        if one != other
    }
    assert len(changed) <= 2


@given(st.floats(0, 20), st.floats(0, 20), st.booleans())
def test_an_axis_has_room_for_every_value_and_a_little_more(one, other, log):
    low, high = min(one, other), max(one, other)
    axis = loss_axis(low, high, log)
    assert axis.low < axis.high
    assert axis.high > high
    assert log or axis.low <= low
    assert 0 <= axis.height_of(low) <= axis.height_of(high) <= 1


def test_an_axis_stays_while_values_stay_within_it():
    axis = loss_axis(0.5, 2.7, False)
    assert all(loss_axis(low / 100, 2.7, False) == axis for low in range(7, 50))
    assert loss_axis(0.5, 3.1, False) != axis


def test_zero_stands_at_the_foot_of_a_logarithmic_axis():
    axis = loss_axis(0.0, 1.0, True)
    assert axis.height_of(0.0) == 0
    assert axis.height_of(1.0) > axis.height_of(0.1) > axis.height_of(0.01) > 0


def test_scores_stay_between_nothing_and_everything():
    assert score_axis(0.0, 1.0) == type(score_axis(0, 1))(0.0, 1.0)
    assert score_axis(0.41, 0.58).low == pytest.approx(0.35)
    assert score_axis(0.41, 0.58).high == pytest.approx(0.6)


def test_resumed_steps_are_drawn_anew():
    view = view_of([1.0] * 40 + [4.0] * 10, total=100)
    chart = LossChart()
    chart.rows(view, False, ASCII, 48, 10)
    view._rewind(40)
    view._append(1.0)
    assert chart.rows(view, False, ASCII, 48, 10) == LossChart().rows(view, False, ASCII, 48, 10)


@GLYPHS
def test_validations_have_their_base_and_their_best_in_words(glyphs):
    view = view_of([1.0] * 90, total=100)
    view.base = 0.41
    view.validations = [Validation(30, 0.45), Validation(60, 0.52), Validation(90, 0.5)]
    rows = drawn(score_rows(view, glyphs, 60, 8))
    assert "best 0.520 at 60" in rows[0]
    assert "base 0.410" in rows[0]
    marks = "".join(line[7:] for line in rows[1:])
    assert marks.count("o") == 2
    assert marks.count("*") == 1
    tones = {span.tone for cells in score_rows(view, glyphs, 60, 8)[1:] for span in cells}
    assert "series_2" in tones


def test_without_values_there_is_only_a_title():
    assert len(rows_of(TrainingView())) == 1
    assert "none yet" in plain(score_rows(TrainingView(), UNICODE, 60, 8)[0])


def test_ascii_has_no_other_characters():
    view = view_of([1 / step for step in range(1, 60)], total=80)
    view.base, view.validations = 0.4, [Validation(20, 0.5), Validation(40, 0.6)]
    for rows in (rows_of(view), score_rows(view, ASCII, 40, 8)):
        assert all(line.isascii() for line in drawn(rows))
