"""How scores lie, and what each rule would leave, before one of them is chosen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.mining.mine import Mined, Miner, Rescore, Wanted
from pipeline.settings import PrepSettings

BIN = 0.05
"""Width of a histogram's bar, where the scores are cosines."""
_BINS_MAX = 40
_PERCENTAGES = (0.90, 0.95, 0.98)
_MARGINS = (0.05, 0.10)


@dataclass(frozen=True)
class RulePreview:
    """What one rule would leave.

    Attributes:
        rule: the rule with its parameter, in words.
        chosen: whether it is the one that the recipe has.
        negatives_per_query: on average.
        full: questions with as many as asked for.
        short: questions with fewer, of which `without` have none.
        without: questions with none.
        mean_score: of the negatives; None where there are none.
        set_aside: candidates passed over, by reason.
    """

    rule: str
    chosen: bool
    negatives_per_query: float
    full: int
    short: int
    without: int
    mean_score: float | None
    set_aside: Mapping[str, int]


@dataclass(frozen=True)
class Preview:
    """The score distributions of a mining, and its rules side by side.

    Attributes:
        questions: how many there are.
        passages: in the pool.
        wanted: negatives asked for a question.
        edges: (bins + 1) of the histograms.
        positives: (bins) lowest positive scores, one a question.
        candidates: (bins) scores of each question's best passage that doesn't answer it.
        above: questions whose best such passage scores at least as high as a positive.
        rules: see `RulePreview`.
    """

    questions: int
    passages: int
    wanted: int
    edges: tuple[float, ...]
    positives: tuple[int, ...]
    candidates: tuple[int, ...]
    above: int
    rules: tuple[RulePreview, ...]


def rules_to_compare(settings: PrepSettings) -> list[PrepSettings]:
    """The rules that people choose between, the recipe's own among them."""
    variants = [
        settings,
        replace(settings, rule="top"),
        replace(settings, rule="shifted"),
        replace(settings, rule="absolute"),
        *(replace(settings, rule="margin", positive_margin=margin) for margin in _MARGINS),
        *(replace(settings, rule="percentage", positive_percentage=p) for p in _PERCENTAGES),
    ]
    return list({rule_name(variant): variant for variant in reversed(variants)}.values())[::-1]


def rule_name(settings: PrepSettings) -> str:
    """A rule with its parameter, in words."""
    parameter = {
        "shifted": f" by {settings.skip}",
        "absolute": f" {settings.score_max:g}",
        "margin": f" {settings.positive_margin:g}",
        "percentage": f" {settings.positive_percentage:g}",
    }
    return settings.rule + parameter.get(settings.rule, "")


def preview(
    miner: Miner,
    passages: int,
    queries: Sequence[Wanted],
    settings: PrepSettings,
    on_queries: Callable[[int, int], None] = lambda done, total: None,
    rescore: Rescore | None = None,
) -> Preview:
    """Mine by each rule and count; nothing is kept.

    Args:
        miner: of the pool.
        passages: in the pool.
        queries: what needs negatives.
        settings: the recipe's; its exclusions and its drawing hold for every rule.
        on_queries: called with (done, total) over all rules; it may raise to stop.
        rescore: the reranker, if there is one.
    """
    variants = rules_to_compare(settings)
    nearest = replace(settings, rule="top", hard_negatives=1, sample_from=0)
    best, *by_rule = miner.compare(queries, [nearest, *variants], on_queries, rescore)
    positives = [min(one.positive_scores) for one in best if one.positive_scores]
    candidates = [one.negatives[0][1] for one in best if one.negatives]
    edges = bin_edges([*positives, *candidates])
    return Preview(
        questions=len(queries),
        passages=passages,
        wanted=settings.hard_negatives,
        edges=tuple(edges),
        positives=_counts(positives, edges),
        candidates=_counts(candidates, edges),
        above=sum(
            1 for one in best if one.negatives and one.negatives[0][1] >= min(one.positive_scores)
        ),
        rules=tuple(
            _row(variant, settings, mined) for variant, mined in zip(variants, by_rule, strict=True)
        ),
    )


def bin_edges(scores: Sequence[float]) -> list[float]:
    """Edges that hold all scores: multiples of `BIN`, or of as many times it as it takes."""
    if not scores:
        return [0.0, BIN]
    low, high = min(scores), max(scores)
    width = BIN * max(1, math.ceil((high - low) / (BIN * _BINS_MAX)))
    first, last = math.floor(low / width) - 1, math.floor(high / width) + 2
    edges = [round(number * width, 6) for number in range(first, last + 1)]
    # Division may round across an edge, so one bar more at either end was a candidate.
    inner = slice(edges[1] <= low, -1 if edges[-2] > high else None)
    return edges[inner]


def _counts(scores: Sequence[float], edges: Sequence[float]) -> tuple[int, ...]:
    return tuple(np.histogram(scores, bins=np.asarray(edges))[0].tolist())


def _row(variant: PrepSettings, settings: PrepSettings, mined: Sequence[Mined]) -> RulePreview:
    scores = [score for one in mined for _, score in one.negatives]
    short = sum(len(one.negatives) < variant.hard_negatives for one in mined)
    aside: Counter[str] = Counter()
    for one in mined:
        aside.update(one.set_aside)
    return RulePreview(
        rule=rule_name(variant),
        chosen=variant == settings,
        negatives_per_query=round(len(scores) / max(1, len(mined)), 3),
        full=len(mined) - short,
        short=short,
        without=sum(not one.negatives for one in mined),
        mean_score=round(float(np.mean(scores)), 4) if scores else None,
        set_aside=dict(sorted(aside.items())),
    )
