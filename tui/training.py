"""A training's events, folded into what a screen shows of it: its whole history, every attempt."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, NamedTuple

from pipeline.finetune.pace import validations_left
from pipeline.journal import ENDINGS, Event
from pipeline.schedule import Schedule

RECENT_STEPS = 64
"""Steps whose times say how long the others will take."""
LEAST_STEPS = 5
"""Fewer steps say nothing of those to come."""
_SMOOTHED_SHARE = 0.02
_SMOOTHED_LEAST, _SMOOTHED_MOST = 5, 50
"""The average looks back on a fiftieth of the steps, within these bounds."""


class Validation(NamedTuple):
    """dev nDCG@10 after a step."""

    step: int
    score: float


class Remaining(NamedTuple):
    """How long a training still takes, in seconds: from quick to slow, and in the middle."""

    low: float
    middle: float
    high: float


@dataclass
class TrainingView:
    """One training. It grows with its journal: a million steps are eight megabytes a series.

    Attributes:
        losses: of step i + 1 at i; NaN where a step gave none.
        averages: their exponential moving average, gaps bridged.
        validations: in the order of their steps.
        base: dev nDCG@10 of the base; None without dev questions.
        total: steps planned; 0 while unknown.
        gaps: steps without a loss.
        rewinds: how often steps were taken back; another number: draw anew.
        resumed: the steps from which training went on.
        latest: the newest numbers of a step: epoch, learning_rate, gradient_norm ...
        gpu: the UUID of the GPU that it runs on; empty on the CPU.
        doing: what is done beside the steps now, such as validating; empty for nothing.
        paused: whether it waits.
    """

    losses: array[float] = field(default_factory=lambda: array("d"))
    averages: array[float] = field(default_factory=lambda: array("d"))
    validations: list[Validation] = field(default_factory=list)
    base: float | None = None
    total: int = 0
    gaps: int = 0
    rewinds: int = 0
    resumed: list[int] = field(default_factory=list)
    latest: dict[str, float] = field(default_factory=dict)
    gpu: str = ""
    doing: str = ""
    paused: bool = False
    _low: float = math.inf
    _high: float = -math.inf
    _step_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    _validation_seconds: list[float] = field(default_factory=list)
    _step_time: float | None = None
    """When the last step ended; None where what follows isn't a step's length."""
    _since: float | None = None
    _worked: float = 0.0
    _now: float = 0.0

    @property
    def step(self) -> int:
        """Finished steps."""
        return len(self.losses)

    @property
    def best(self) -> Validation | None:
        """The validation with the highest score, the earliest of equals."""
        return max(self.validations, key=lambda point: point.score, default=None)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest loss; None without one."""
        return None if self._high < self._low else (self._low, self._high)

    def elapsed(self, now: float | None = None) -> float:
        """Seconds that were worked, in all attempts, pauses left out.

        Args:
            now: the time, in seconds since the epoch; None: the last event's.
        """
        end = self._now if now is None else max(now, self._now)
        return self._worked + (end - self._since if self._since is not None else 0.0)

    def remaining(self, schedule: Schedule | None, now: float | None = None) -> Remaining | None:
        """How long the rest takes: quartiles of recent steps, and the validations that follow.

        Args:
            schedule: says how many validations follow; None counts none.
            now: the time, in seconds since the epoch; None: the last event's.

        Returns:
            None while there are too few steps to tell.
        """
        recent = list(self._step_seconds)
        if not self.total or len(recent) < LEAST_STEPS:
            return None
        left = max(self.total - self.step, 0)
        validating = 0.0
        if schedule and self._validation_seconds:
            validating = median(self._validation_seconds) * validations_left(self.step, schedule)
        low, middle, high = quantiles(recent, method="inclusive")
        # The step at hand is under way; one that takes longer than others says nothing yet.
        begun = min(max((now or self._now) - self._now, 0.0), middle)
        spans = (left * seconds + validating - begun for seconds in (low, middle, high))
        return Remaining(*(max(span, 0.0) for span in spans))

    def take(self, event: Event) -> None:
        """Fold one more event in."""
        data = event.data
        if event.type == "metric" and "loss" in data:
            self._take_step(event)
        elif event.type == "metric" and "ndcg_at_10" in data:
            self._take_validation(event)
        elif event.type == "progress":
            self._take_progress(data)
        elif event.type == "log":
            self.gpu = str(data.get("gpu", "")) or self.gpu
        else:
            self._take_turn(event)
        self._now = event.time

    def _take_step(self, event: Event) -> None:
        data = event.data
        step, loss = int(data["step"]), _number(data["loss"])
        self.total = int(data.get("steps", self.total))
        if step <= self.step:
            self._rewind(step - 1)
        while self.step < step - 1:
            self._append(math.nan)
        self._append(math.nan if loss is None else loss)
        if self._step_time is not None:
            self._step_seconds.append(event.time - self._step_time)
        self._step_time = event.time
        self.doing = ""
        numbers = {name: _number(value) for name, value in data.items()}
        self.latest = {name: value for name, value in numbers.items() if value is not None}

    def _append(self, loss: float) -> None:
        before = self.averages[-1] if self.averages else math.nan
        self.losses.append(loss)
        if math.isnan(loss):
            self.gaps += 1
            self.averages.append(before)
            return
        self._low, self._high = min(self._low, loss), max(self._high, loss)
        share = 2 / (1 + smoothed_over(self.total))
        self.averages.append(loss if math.isnan(before) else before + share * (loss - before))

    def _take_validation(self, event: Event) -> None:
        step, score = int(event.data["step"]), _number(event.data["ndcg_at_10"])
        if step < self.step:
            self._rewind(step)
        self.base = _number(event.data.get("base_ndcg_at_10"))
        if step and score is not None:
            self.validations = [point for point in self.validations if point.step < step]
            self.validations.append(Validation(step, score))
        if step and self._step_time is not None:
            self._validation_seconds.append(event.time - self._step_time)
        self._step_time, self.doing = None, ""

    def _take_progress(self, data: Mapping[str, Any]) -> None:
        what = str(data["what"])
        if "steps" in what:
            return
        self.doing = f"{what} {data['done']:,}/{data['total']:,}"

    def _take_turn(self, event: Event) -> None:
        """A beginning, a pause, an ending: what comes next is no step's length."""
        self._step_time = None
        if event.type == "started":
            # An attempt that was killed worked until its last word.
            self._worked += self._now - self._since if self._since is not None else 0.0
            self._since, self.paused, self.doing = event.time, False, ""
            self._step_seconds.clear()
            self._validation_seconds.clear()
        elif event.type == "resumed":
            step = int(event.data["step"])
            self.resumed.append(step)
            if step < self.step:
                self._rewind(step)
        elif event.type == "continued":
            self._since, self.paused = event.time, False
        elif event.type == "paused" or event.type in ENDINGS:
            self._worked += event.time - self._since if self._since is not None else 0.0
            self._since, self.paused = None, event.type == "paused"
            self.doing = self.doing if self.paused else ""

    def _rewind(self, step: int) -> None:
        del self.losses[step:], self.averages[step:]
        self.validations = [point for point in self.validations if point.step <= step]
        known = [loss for loss in self.losses if not math.isnan(loss)]
        self.gaps = len(self.losses) - len(known)
        self._low, self._high = min(known, default=math.inf), max(known, default=-math.inf)
        self.rewinds += 1
        self._step_time = None


def smoothed_over(total: int) -> int:
    """How many steps the moving average looks back on, for so many in all."""
    return round(min(max(_SMOOTHED_SHARE * total, _SMOOTHED_LEAST), _SMOOTHED_MOST))


def _number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
