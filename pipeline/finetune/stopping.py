"""When a training has stopped getting better, and whether its dev set can tell.

Two models on the same queries are compared query by query: what the queries have in common
falls away, and only the noise of their differences is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE_Z = 1.96
"""Standard errors on each side of a 95 % interval, where the error is known."""

QUERIES_FOR_INTERVAL = 6
"""Below, even five gains out of five are no surprise: 2 * 0.5^5 = 6 % by the sign test."""

POWER_Z = 0.84
"""What a power of 80 % adds: a change that is there is seen four times out of five."""

WORTHWHILE = 0.02
"""nDCG@10. A smaller gain ends the search for more in the published recipe: "less than
approximately 1-2 absolute points" is saturation (recipes/embed/README.md)."""

QUERIES_MIN = 50
"""The published recipe warns below so many queries; no measured deviation makes fewer enough."""


@dataclass(frozen=True)
class Comparison:
    """One model against another on the same queries.

    Attributes:
        queries: how many.
        mean: of the differences of nDCG@10.
        deviation: their standard deviation; 0 for a single query, which has none.
    """

    queries: int
    mean: float
    deviation: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.queries)

    @property
    def low(self) -> float:
        """Lower end of the mean's 95 % interval; -1, the least there is, for too few queries."""
        return self.mean - self._half_width if self.has_interval else -1.0

    @property
    def high(self) -> float:
        """Upper end of the mean's 95 % interval; 1, the most there is, for too few queries."""
        return self.mean + self._half_width if self.has_interval else 1.0

    @property
    def has_interval(self) -> bool:
        """Whether there are enough queries to say how far the mean may be off."""
        return self.queries >= QUERIES_FOR_INTERVAL

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of 0: more than noise."""
        return self.low > 0 or self.high < 0

    @property
    def text(self) -> str:
        """The mean with its interval, for a person."""
        if not self.has_interval:
            return f"{self.mean:+.4f} (too few queries for an interval: {self.queries})"
        return f"{self.mean:+.4f} (95 % interval {self.low:+.4f} to {self.high:+.4f})"

    @property
    def _half_width(self) -> float:
        return student_t(self.queries - 1) * self.error


def student_t(degrees: int) -> float:
    """Standard errors on each side of a mean's 95 % interval, the error being an estimate itself.

    Three terms of the Cornish-Fisher expansion of Student's t (Abramowitz and Stegun, "Handbook
    of Mathematical Functions", 1964, formula 26.7.5): within 0.2 % from five degrees on.

    Args:
        degrees: of freedom: queries less one, at least five.
    """
    z = CONFIDENCE_Z
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Compare per query.

    Args:
        ours: nDCG@10 of each query, at least one.
        theirs: the other model's, of the same queries in the same order.
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    count = len(differences)
    mean = math.fsum(differences) / count
    squares = math.fsum((difference - mean) ** 2 for difference in differences)
    return Comparison(count, mean, math.sqrt(squares / max(1, count - 1)))


def queries_needed(deviation: float) -> int:
    """How many queries show a change of `WORTHWHILE` between two models.

    n = ((z + z') * deviation / change)^2, the sample size of a paired test at 95 % confidence and
    80 % power (Cohen, "Statistical Power Analysis", 1988; for search, Sakai, "Statistical
    Significance, Power, and Sample Sizes", SIGIR 2016), and never below `QUERIES_MIN`.

    Args:
        deviation: standard deviation of the differences per query.
    """
    return max(QUERIES_MIN, math.ceil(((CONFIDENCE_Z + POWER_Z) * deviation / WORTHWHILE) ** 2))


@dataclass(frozen=True)
class Judgement:
    """Whether to end now.

    Attributes:
        stop: end the training.
        reason: why, or why not although nothing got better; empty while there is nothing to say.
    """

    stop: bool
    reason: str


def judge(without_gain: int, patience: int, last: Comparison) -> Judgement:
    """The rule of early stopping.

    Training ends after `patience` validations in a row without a gain, provided that the dev set
    could have shown one: with too few queries the best of several validations is the luckiest,
    and waiting for luck to repeat itself would end a training that still learns.

    Args:
        without_gain: validations since the best one.
        patience: `finetune.patience`; 0 never stops.
        last: the newest validation against the best one; its deviation says what is noise.
    """
    if not patience or without_gain < patience:
        return Judgement(False, "")
    needed = queries_needed(last.deviation)
    tried = f"{without_gain} validation{'s' if without_gain > 1 else ''} without a gain"
    if last.queries < needed:
        if without_gain > patience:
            return Judgement(False, "")  # it was said
        return Judgement(
            False,
            f"{tried}, but {last.queries} dev questions can't tell that from noise: a change of "
            f"{WORTHWHILE:g} nDCG@10 needs {needed:,}. Training goes on.",
        )
    return Judgement(True, f"{tried} on {last.queries:,} dev questions: training ends here.")
