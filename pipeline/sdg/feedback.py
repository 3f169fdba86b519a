"""Rejected questions with reasons, fed back to the writer from a round on."""

from __future__ import annotations

from pipeline.recipe import SdgSettings


def avoid_for(settings: SdgSettings, round: int) -> tuple[str, ...]:  # noqa: A002 - the recipe's
    """What a round's writer is told not to write: the entries of `sdg.avoid` up to that round.

    Args:
        settings: `avoid` holds entries as `ROUND: text`.
        round: from 1; the first one is told nothing.
    """
    entries = (entry.partition(":") for entry in settings.avoid)
    return tuple(
        text.strip()
        for number, _, text in entries
        if round > 1 and number.strip().isdigit() and int(number) <= round
    )
