"""How a person and the scores agree, and where the threshold would agree best."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.review.decisions import Decision
from pipeline.review.index import Entry
from pipeline.review.tally import BIN, BINS, bin_of

ENOUGH_A_SIDE = 30
"""Accepts, and rejects, below which no threshold is suggested."""

STEP = 0.1
"""Points between the thresholds that are tried; the step by which a key moves it."""


@dataclass(frozen=True)
class AgreementBin:
    """Decisions on samples of like score.

    Attributes:
        low: the least score; the bin is `BIN` wide.
        accepted: accepted one by one.
        rejected: rejected one by one.
    """

    low: float
    accepted: int
    rejected: int


@dataclass(frozen=True)
class Suggestion:
    """Where the threshold would agree best with what a person decided.

    Attributes:
        threshold: the suggestion, in steps of `STEP`.
        agreed: decisions that it agrees with.
        agreed_now: decisions that the present threshold agrees with.
        decided: decisions that were compared.
        now: the present threshold.
        bins: decisions by score; bins without any are left out.
    """

    threshold: float
    agreed: int
    agreed_now: int
    decided: int
    now: float
    bins: tuple[AgreementBin, ...]

    @property
    def sentence(self) -> str:
        """The suggestion in words."""
        now = f"the threshold {self.now:g} agrees with {self.agreed_now} of your {self.decided}"
        if self.agreed == self.agreed_now:
            return f"{now} decisions, and no other does better"
        return f"{now} decisions, {self.threshold:g} would with {self.agreed}"


def suggest_threshold(
    entries: Iterable[Entry], decisions: Mapping[str, Decision], threshold: float
) -> Suggestion | None:
    """Where the threshold would agree best; None before `ENOUGH_A_SIDE` accepts and rejects.

    Compared are decisions that a person made one by one about the words that were scored: no
    bulk actions, no edits, nothing without a score or with a blocking flag. A threshold agrees
    with an accept at or above it, and with a reject below. Among equals the nearest to the
    present one wins, which itself is tried, too. It is never moved here.

    Args:
        entries: the samples that have a decision; others are left out.
        decisions: what was said, by sample id.
        threshold: the present one, of 10.
    """
    accepted: list[float] = []
    rejected: list[float] = []
    for entry in entries:
        decision = decisions.get(entry.id)
        if decision is None or entry.score is None or entry.blocking or not _judged(decision):
            continue
        (accepted if decision.verdict == "accept" else rejected).append(entry.score)
    if min(len(accepted), len(rejected)) < ENOUGH_A_SIDE:
        return None
    accepted.sort()
    rejected.sort()

    def agreed(at: float) -> int:
        return len(accepted) - bisect_left(accepted, at) + bisect_left(rejected, at)

    tried = [threshold, *(round(place * STEP, 1) for place in range(round(10 / STEP) + 1))]
    best = max(tried, key=lambda at: (agreed(at), -abs(at - threshold)))
    return Suggestion(
        threshold=best,
        agreed=agreed(best),
        agreed_now=agreed(threshold),
        decided=len(accepted) + len(rejected),
        now=threshold,
        bins=_bins(accepted, rejected),
    )


def _judged(decision: Decision) -> bool:
    edited = decision.question is not None or decision.answer is not None
    return decision.source == "manual" and not edited


def _bins(accepted: list[float], rejected: list[float]) -> tuple[AgreementBin, ...]:
    counts = [[0, 0] for _ in range(BINS)]
    for side, scores in enumerate((accepted, rejected)):
        for score in scores:
            counts[bin_of(score)][side] += 1
    return tuple(AgreementBin(n * BIN, yes, no) for n, (yes, no) in enumerate(counts) if yes or no)
