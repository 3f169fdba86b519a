"""From the judge's levels to a score: computed here, so that weights can change unpaid."""

from __future__ import annotations

from collections.abc import Mapping

WEIGHTS: Mapping[str, float] = {
    "answerable": 3.0,
    "supported": 3.0,
    "standalone": 2.0,
    "specific": 2.0,
    "natural": 1.0,
}
"""What each criterion counts. Ours."""
CAPS: Mapping[str, float] = {"answerable": 3.0, "supported": 3.0, "standalone": 5.0}
"""The highest score where this criterion got 0. Ours."""
LEVEL_MAX = 2


def score_of(levels: Mapping[str, float]) -> float:
    """10 x sum(weight x level / 2) / sum(weight), held down by `CAPS`; two decimals."""
    gained = sum(weight * levels[name] / LEVEL_MAX for name, weight in WEIGHTS.items())
    score = 10 * gained / sum(WEIGHTS.values())
    held = [cap for name, cap in CAPS.items() if levels[name] == 0]
    return round(min([score, *held]), 2)
