"""From the judge's levels to a score: computed here, so that weights can change unpaid."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.settings import SdgSettings

LEVELS = ("answerable", "supported", "standalone", "specific", "natural")
"""The judge's criteria, each graded 0, 1 or 2; the recipe weighs each as `sdg.weight_NAME`."""
LEVEL_MAX = 2
CAPS: Mapping[str, float] = {"answerable": 3.0, "supported": 3.0, "standalone": 5.0}
"""The highest score where this criterion got 0. Ours: such a question is below any threshold that
makes sense, whatever else is good about it."""


def weights_of(settings: SdgSettings) -> dict[str, float]:
    """What each criterion counts, by its name."""
    return {name: getattr(settings, f"weight_{name}") for name in LEVELS}


def score_of(levels: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """10 x sum(weight x level / 2) / sum(weight), held down by `CAPS`; two decimals.

    Args:
        levels: 0 to 2 for each criterion.
        weights: as `weights_of` gives them, at least one above 0.
    """
    gained = sum(weight * levels[name] / LEVEL_MAX for name, weight in weights.items())
    score = 10 * gained / sum(weights.values())
    held = [cap for name, cap in CAPS.items() if levels[name] == 0]
    return round(min([score, *held]), 2)


def honest_hops(quoted: int, needed: int | None) -> int:
    """How many passages a question needs: as many as quotes stand in, fewer if the judge says so.

    A shortcut makes no question worse; it makes it one of fewer hops.

    Args:
        quoted: distinct passages with a located quote.
        needed: what the judge said, if it did.
    """
    return quoted if needed is None else min(quoted, max(1, needed))
