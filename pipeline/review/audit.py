"""How far a person's reading of a random few speaks for all."""

from __future__ import annotations

import math
from dataclasses import dataclass

AUDIT_SIZE = 30
"""Samples read at random: when all are good, at least 0.89 of the kept ones are."""

_Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Interval:
    """A share's 95 % interval, 0 to 1."""

    low: float
    high: float


def share_interval(good: int, read: int) -> Interval:
    """Wilson's 95 % score interval of the share of good samples.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927). Unlike the plain interval it holds for 20 good of 20.

    Args:
        good: samples that were found good.
        read: samples that were read.

    Raises:
        ValueError: `good` is not between 0 and `read`.
    """
    if not 0 <= good <= read:
        raise ValueError(f"{good} good of {read} read")
    if read == 0:
        return Interval(0.0, 1.0)
    share, z2 = good / read, _Z95**2
    centre = share + z2 / (2 * read)
    spread = _Z95 * math.sqrt(share * (1 - share) / read + z2 / (4 * read**2))
    scale = 1 + z2 / read
    return Interval(max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))
