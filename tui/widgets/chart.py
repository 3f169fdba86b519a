"""Charts over the steps of a training, as rows: braille dots, or characters. Pure.

The x axis never moves, for a training's length is known, and the y axis only at a value outside of
it: so a new step changes a cell or two, and only those are sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tui.glyphs import Glyphs
from tui.rows import Row, Span, Tone, pad_left, row
from tui.training import TrainingView, smoothed_over

LABEL = 7
"""Columns of the y axis's labels, a blank after them included."""
_NICE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_NICE_LOG = (1.0, 2.0, 5.0, 10.0)
_LEAST_LOG = 1e-4
"""Of the highest loss: what is lower, zero for one, stands at the foot of a logarithmic axis."""
_PAD = 0.02
_SCORE_STEP = 0.05
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, by row and column of its dots (Unicode, chapter 21.1)."""


@dataclass(frozen=True)
class Axis:
    """The values between the foot and the top of a chart.

    Attributes:
        low: at the foot.
        high: at the top.
        log: whether equal ratios take equal heights.
    """

    low: float
    high: float
    log: bool = False

    def height_of(self, value: float) -> float:
        """0 at the foot, 1 at the top; what lies outside stands at the edge."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def at(self, height: float) -> float:
        """The value at a height from 0 to 1."""
        if self.log:
            return float(self.low * (self.high / self.low) ** height)
        return self.low + height * (self.high - self.low)


def loss_axis(low: float, high: float, log: bool) -> Axis:
    """An axis with some room around the values, the same for every window that shows them.

    It depends on the lowest and the highest value alone and has few positions, so it seldom moves.
    """
    if log:
        high = max(high, 1e-12)
        low = max(low, high * _LEAST_LOG)
        top, foot = _nice(high * (1 + _PAD), _NICE_LOG), _nice(low, _NICE_LOG, up=False)
        return Axis(foot, top, True)
    top = _nice(max(high, 1e-12) * (1 + _PAD), _NICE)
    part = top / 5
    foot = math.floor((low - _PAD * top) / part) * part
    return Axis(foot if low < 0 else max(foot, 0.0), top)


def score_axis(low: float, high: float) -> Axis:
    """An axis for scores between 0 and 1, in steps of a twentieth."""
    foot = max(0.0, math.floor((low - _PAD) / _SCORE_STEP) * _SCORE_STEP)
    return Axis(foot, min(1.0, math.ceil((high + _PAD) / _SCORE_STEP) * _SCORE_STEP))


def _nice(value: float, steps: Sequence[float], up: bool = True) -> float:
    unit = 10.0 ** math.floor(math.log10(value))
    if up:
        return next(step * unit for step in steps if step * unit >= value * (1 - 1e-9))
    return next(step * unit for step in reversed(steps) if step * unit <= value * (1 + 1e-9))


@dataclass
class Columns:
    """A series squeezed into columns of dots: the lowest and the highest value of each.

    A new value touches one column, whatever came before.

    Attributes:
        count: columns.
        total: values that there will be.
        low: the lowest value of a column; infinity where it has none.
        high: the highest one.
        broken: columns that hold a gap.
        taken: values that were squeezed in.
    """

    count: int
    total: int
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    taken: int = 0

    def __post_init__(self) -> None:
        self.low, self.high = [math.inf] * self.count, [-math.inf] * self.count

    def take(self, values: Sequence[float]) -> None:
        """Squeeze in what came since the last time; `values` only ever grow."""
        low, high = self.low, self.high
        for index in range(self.taken, len(values)):
            column, value = column_of(index + 1, self.total, self.count), values[index]
            if value != value:  # NaN
                self.broken.add(column)
                continue
            low[column] = min(low[column], value)
            high[column] = max(high[column], value)
        self.taken = len(values)


def column_of(step: int, total: int, count: int) -> int:
    """The column of a step, from 1: steps stand in the middle of their share of the width."""
    return min((2 * step - 1) * count // (2 * max(total, 1)), count - 1)


@dataclass(frozen=True)
class Layer:
    """Something drawn into a chart; later layers lie over earlier ones.

    Attributes:
        strokes: columns of dots with the first and the last row of dots, from the top.
        tone: its colour.
        sign: what draws it without braille.
    """

    strokes: Iterable[tuple[int, int, int]]
    tone: Tone
    sign: str


def draw(
    layers: Sequence[Layer],
    width: int,
    height: int,
    glyphs: Glyphs,
    marks: Mapping[tuple[int, int], Span] | None = None,
) -> list[Row]:
    """Layers as rows.

    Args:
        layers: from the lowest to the uppermost.
        width: columns of characters.
        height: rows of characters.
        glyphs: whether dots are braille's.
        marks: characters over everything, by row and column.
    """
    across, down = dots_of(glyphs)
    bits = [[0] * width for _ in range(height)]
    over: list[list[Layer | None]] = [[None] * width for _ in range(height)]
    for layer in layers:
        for x, first, last in layer.strokes:
            column, side = divmod(x, across)
            for y in range(first, last + 1):
                line, part = divmod(y, down)
                bits[line][column] |= _DOTS[part][side]
                over[line][column] = layer
    marks = marks or {}
    rows: list[Row] = []
    for line in range(height):
        spans: list[Span] = []
        for column in range(width):
            layer_here, mark = over[line][column], marks.get((line, column))
            if mark:
                text, tone = mark
            elif layer_here is None:
                text, tone = " ", spans[-1].tone if spans else "muted"
            else:
                text = chr(0x2800 | bits[line][column]) if glyphs.dots else layer_here.sign
                tone = layer_here.tone
            if spans and spans[-1].tone == tone:
                spans[-1] = Span(spans[-1].text + text, tone)
            else:
                spans.append(Span(text, tone))
        rows.append(tuple(spans))
    return rows


def dots_of(glyphs: Glyphs) -> tuple[int, int]:
    """Columns and rows of dots in a character."""
    return (2, 4) if glyphs.dots else (1, 1)


def line_strokes(
    columns: Columns, axis: Axis, dots: int, *, joined: bool = True
) -> list[tuple[int, int, int]]:
    """A series as strokes: neighbours are joined, across empty columns too, but not across a gap.

    Args:
        columns: the series.
        axis: of the chart.
        dots: rows of dots.
        joined: whether neighbours are.
    """
    strokes: list[tuple[int, int, int]] = []
    before: tuple[int, int, int] | None = None
    for x in range(columns.count):
        if x in columns.broken:
            before = None
        if columns.high[x] < columns.low[x]:
            continue
        first = _dot(columns.high[x], axis, dots)
        last = _dot(columns.low[x], axis, dots)
        here = (x, first, last)
        if before and joined:
            strokes += _between(before, here)
            # So that no hole stands between this column and the one before.
            reached = strokes[-1] if strokes[-1][0] == x - 1 else before
            here = (x, min(first, reached[2] + 1), max(last, reached[1] - 1))
        strokes.append(here)
        before = None if x in columns.broken else (x, first, last)
    return strokes


def _between(
    before: tuple[int, int, int], here: tuple[int, int, int]
) -> list[tuple[int, int, int]]:
    """A straight line through the empty columns between two columns, without holes."""
    (x0, first0, last0), (x1, first1, last1) = before, here
    y0, y1 = (first0 + last0) / 2, (first1 + last1) / 2
    strokes: list[tuple[int, int, int]] = []
    at = round(y0)
    for x in range(x0 + 1, x1):
        y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        # Only as far as needed to touch the last dot.
        strokes.append((x, min(y, at + 1), max(y, at - 1)) if y != at else (x, y, y))
        at = y
    return strokes


def _dot(value: float, axis: Axis, dots: int) -> int:
    return round((1 - axis.height_of(value)) * (dots - 1))


class LossChart:
    """The loss over all steps: every step's range, and the moving average over it."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._losses = Columns(0, 1)
        self._averages = Columns(0, 1)

    def rows(
        self, view: TrainingView, log: bool, glyphs: Glyphs, width: int, height: int
    ) -> list[Row]:
        """The chart in exactly `height` rows: a title, the curve, the steps.

        Args:
            view: the training.
            log: whether the loss stands on a logarithmic axis.
            glyphs: the signs.
            width: columns.
            height: rows; below 4 there is only the title.
        """
        title = _loss_title(view, log, glyphs)
        inner, lines = width - LABEL - 1, height - 2
        if view.bounds is None or inner < 4 or lines < 2:
            return [title]
        across, down = dots_of(glyphs)
        total = max(view.total, view.step)
        self._squeeze(view, inner * across, total)
        axis = loss_axis(*view.bounds, log)
        dots = lines * down
        layers = [
            Layer(line_strokes(self._losses, axis, dots), "muted", "."),
            Layer(line_strokes(self._averages, axis, dots), "series_1", "#"),
        ]
        drawn = draw(layers, inner, lines, glyphs)
        labels = axis_labels(axis, lines)
        body = [(Span(label, "muted"), *cells) for label, cells in zip(labels, drawn, strict=True)]
        return [title, *body, step_row(total, width)]

    def _squeeze(self, view: TrainingView, count: int, total: int) -> None:
        key = (id(view), view.rewinds, count, total)
        if key != self._key:
            self._key = key
            self._losses, self._averages = Columns(count, total), Columns(count, total)
        self._losses.take(view.losses)
        self._averages.take(view.averages)


def _loss_title(view: TrainingView, log: bool, glyphs: Glyphs) -> Row:
    dot, line = ("⣿", "⠒⠒") if glyphs.dots else (".", "##")
    gaps = f"   {view.gaps:,} steps without a loss" if view.gaps else ""
    return row(
        (" loss", "strong"),
        (", logarithmic" if log else "", "muted"),
        (f"   {dot} each step", "muted"),
        ("   " + line, "series_1"),
        (f" mean of some {smoothed_over(view.total)}", "muted"),
        (gaps, "warn"),
    )


def score_rows(view: TrainingView, glyphs: Glyphs, width: int, height: int) -> list[Row]:
    """Validation nDCG@10 over the steps, the base as a line, the best marked and named.

    Args:
        view: the training.
        glyphs: the signs.
        width: columns.
        height: rows; below 4 there is only the title.
    """
    inner, lines = width - LABEL - 1, height - 1
    title = _score_title(view, glyphs)
    scores = [point.score for point in view.validations]
    known = scores + ([view.base] if view.base is not None else [])
    if not known or inner < 4 or lines < 3:
        return [title]
    across, down = dots_of(glyphs)
    axis, dots, count = score_axis(min(known), max(known)), lines * down, inner * across
    total = max(view.total, view.step, 1)
    layers: list[Layer] = []
    if view.base is not None:
        y = _dot(view.base, axis, dots)
        step = 2 * across
        layers.append(Layer([(x, y, y) for x in range(0, count, step)], "series_2", "-"))
    columns, marks = Columns(count, total), {}
    for point in view.validations:
        x = column_of(point.step, total, count)
        columns.low[x] = columns.high[x] = point.score
        place = (_dot(point.score, axis, dots) // down, x // across)
        tone: Tone = "good" if point == view.best else "series_1"
        marks[place] = Span("*" if point == view.best else "o", tone)
    layers.append(Layer(line_strokes(columns, axis, dots), "series_1", "."))
    drawn = draw(layers, inner, lines, glyphs, marks)
    labels = [Span(label, "muted") for label in axis_labels(axis, lines)]
    return [title, *((label, *cells) for label, cells in zip(labels, drawn, strict=True))]


def _score_title(view: TrainingView, glyphs: Glyphs) -> Row:
    if view.base is None and not view.validations:
        return row((" validation", "strong"), ("   none yet", "muted"))
    line = "⠄⠄" if glyphs.dots else "- -"
    parts: list[tuple[str, Tone]] = [(" validation nDCG@10", "strong")]
    if view.best:
        parts += [("   * ", "good"), (f"best {view.best.score:.3f} at {view.best.step:,}", "text")]
    if view.base is not None:
        parts += [(f"   {line} ", "series_2"), (f"base {view.base:.3f}", "muted")]
    return row(*parts)


def axis_labels(axis: Axis, lines: int) -> list[str]:
    """Labels for the rows of a chart: at the top, the middle and the foot."""
    places = {0: 1.0, lines - 1: 0.0}
    # Only where a row stands at a round share of the height.
    parts = next((parts for parts in (2, 3, 5) if lines >= 5 and (lines - 1) % parts == 0), 1)
    places |= {(lines - 1) * part // parts: 1 - part / parts for part in range(1, parts)}
    return [
        pad_left(_short(axis.at(places[line])) if line in places else "", LABEL - 1) + " "
        for line in range(lines)
    ]


def _short(value: float) -> str:
    """A number in at most six characters."""
    return f"{value:.3g}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.0e}"


def step_row(total: int, width: int) -> Row:
    """The x axis: the first step and the last one."""
    right = f"{total:,} steps"
    left = " " * LABEL + "1"
    return row((left + pad_left(right, max(width - len(left) - 1, 0)), "muted"))
