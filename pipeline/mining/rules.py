"""Which candidates are taken for hard negatives: the positive-aware family of NV-Retriever.

Rules of arXiv 2407.15831, sections 3.1 and 3.2, by the name that `prep.rule` has for them:

- `top`: the best candidates (naive top-k).
- `shifted`: the best after the first `prep.skip` (top-k shifted by n).
- `absolute`: none that scores above `prep.score_max` (top-k abs).
- `margin`: none above the lowest positive's score less `prep.positive_margin` (top-k MarginPos).
- `percentage`: none above `prep.positive_percentage` of it (top-k PercPos, the paper's best).

With `prep.sample_from` negatives are drawn among that many of the best that a rule leaves (the
paper's sampled top-k), and never among fewer than are wanted. What a rule excludes never comes
back: where too few are left, the query has fewer negatives, and says why.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.mining.scores import SCORE_DECIMALS, Doubles
from pipeline.settings import PrepSettings

Reason = Literal["answers", "same_document", "near_copy", "too_close", "skipped"]
"""Why a candidate is no negative: its text answers the question; its document, or one that nearly
repeats that, does; it is nearly a text that does; it scores too high; it is among the first n."""

_REASONS: tuple[Reason, ...] = get_args(Reason)
NUMBERS: Mapping[Reason, int] = {reason: number for number, reason in enumerate(_REASONS, 1)}
"""Reasons as numbers, for many candidates."""

Reasons = NDArray[np.uint8]
"""Numbers of reasons; 0 where there is none."""

_CEILING_DECIMALS = 2 * SCORE_DECIMALS
"""A score's decimals and as many of the share that is taken of it."""

_SAID: Mapping[Reason, str] = {
    "answers": "{} answer it",
    "same_document": "{} come from a document that does",
    "near_copy": "{} are nearly a passage that does",
    "too_close": "{} score above {limit}",
    "skipped": "{} are skipped as the first",
}


@dataclass(frozen=True)
class Choice:
    """What a rule leaves of the candidates of one query.

    Attributes:
        places: of the negatives in the candidates' order, best first.
        set_aside: how many were passed over before there were enough, by reason.
        enough: whether looking at further candidates could change nothing.
    """

    places: tuple[int, ...]
    set_aside: Mapping[Reason, int]
    enough: bool


def ceiling(lowest: float, settings: PrepSettings) -> float:
    """The score above which a candidate is excluded, given the lowest positive's score.

    A percentage of a negative score would lie above the score itself, so there the same share is
    taken off. A candidate that scores just as much stays: 0.7 - 0.05 is 0.65 here, although it is
    less in floating point.
    """
    if settings.rule == "percentage":
        below = (1.0 - settings.positive_percentage) * abs(lowest)
        return round(lowest - below, _CEILING_DECIMALS)
    if settings.rule == "margin":
        return round(lowest - settings.positive_margin, _CEILING_DECIMALS)
    return settings.score_max if settings.rule == "absolute" else math.inf


def looked_for(settings: PrepSettings) -> int:
    """Of how many candidates that the rule doesn't exclude the negatives are taken."""
    return _skipped(settings) + max(settings.hard_negatives, settings.sample_from)


def choose(
    scores: Doubles,
    known: Reasons,
    limits: Doubles,
    settings: PrepSettings,
    name: Callable[[int, int], str],
) -> list[Choice]:
    """Apply the rule to the candidates of some queries.

    Args:
        scores: (n, depth) theirs, highest first.
        known: (n, depth) why they are no negatives whatever they score.
        limits: (n,) see `ceiling`.
        settings: the rule, its parameters, and how many negatives are wanted.
        name: what a query and its candidate at a place are called together, for drawing.
    """
    skipped, wanted = _skipped(settings), looked_for(settings)
    too_close = (known == 0) & (scores > limits[:, None])
    reasons = np.where(too_close, np.uint8(NUMBERS["too_close"]), known)
    free = reasons == 0
    # None is looked at after the last that is wanted.
    looked = np.cumsum(free, axis=1, dtype=np.int32) - free < wanted
    places = iter(np.nonzero(free & looked)[1].tolist())
    counts = zip(looked.sum(axis=1).tolist(), (free & looked).sum(axis=1).tolist(), strict=True)
    choices: list[Choice] = []
    for query, (seen, count) in enumerate(counts):
        left = [*islice(places, count)]
        aside = _counted(reasons[query, :seen].tobytes())
        if skipped and left:
            aside["skipped"] = min(skipped, count)
        drawn = _drawn(left[skipped:], settings, partial(name, query))
        choices.append(Choice(tuple(drawn), aside, count == wanted))
    return choices


def _counted(reasons: bytes) -> dict[Reason, int]:
    """How often each reason stands there, in the order in which they come."""
    return {_REASONS[r - 1]: reasons.count(r) for r in dict.fromkeys(reasons) if r}


def _skipped(settings: PrepSettings) -> int:
    return settings.skip if settings.rule == "shifted" else 0


def _drawn(
    left: Sequence[int], settings: PrepSettings, name: Callable[[int], str]
) -> Sequence[int]:
    """Of as many of the best as the rule looks at: the first, or some, drawn by their names."""
    if not settings.sample_from:
        return left[: settings.hard_negatives]
    drawn = sorted(left, key=lambda place: _lot(name(place)))
    return sorted(drawn[: settings.hard_negatives])


def _lot(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def shortfall(found: int, wanted: int, looked: str, choice: Choice, limit: float) -> str:
    """Why a query has fewer negatives than wanted, in words; empty where it has them all.

    Args:
        found: how many it has.
        wanted: how many it should have.
        looked: what was looked at, such as "of 400 training passages".
        choice: what was set aside.
        limit: the rule's ceiling; infinite where it has none.
    """
    if found >= wanted:
        return ""
    limit = round(limit, SCORE_DECIMALS)
    always: tuple[Reason, ...] = ("answers",) if math.isinf(limit) else ("answers", "too_close")
    parts = [
        words.format(choice.set_aside.get(reason, 0), limit=limit)
        for reason, words in _SAID.items()
        if reason in choice.set_aside or reason in always
    ]
    said = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f"{found} of {wanted}: {looked}, {said}"


def main_reason(aside: Mapping[Reason, int]) -> Reason | Literal["few_passages"]:
    """What cost a query that fell short most candidates, in one word."""
    if not aside:
        return "few_passages"
    return max(aside, key=lambda reason: aside[reason])
