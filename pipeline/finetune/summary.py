"""What a training says of itself: the numbers of its summary, and the sentences of warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.finetune.card import Facts
from pipeline.finetune.checkpoint import Progress
from pipeline.finetune.ending import Ending
from pipeline.finetune.stopping import Comparison, compare
from pipeline.finetune.validation import Validation, mean
from pipeline.finetune.warmup import WarmedUp
from pipeline.schedule import Schedule, suggestion
from pipeline.settings import FinetuneSettings

FEW_STEPS = 50
"""The published recipe warns below so many optimizer steps."""


@dataclass(frozen=True)
class Account:
    """All that is known at the end of a training.

    Attributes:
        rehearsal: whether the profile is the rehearsal's.
        settings: the recipe's.
        schedule: its lengths.
        progress: where it ended.
        examples: training rows.
        passages: unique passages among them.
        cuts: widths at which vectors were trained; none for whole vectors only.
        validation: the dev questions, or None.
        ending: what was forgotten, and which weights were kept.
        notes: further warnings, met on the way.
        warmed_up: how the warm-up before it ended; None without one.
    """

    rehearsal: bool
    settings: FinetuneSettings
    schedule: Schedule
    progress: Progress
    examples: int
    passages: int
    cuts: tuple[int, ...]
    validation: Validation | None
    ending: Ending
    notes: Sequence[str]
    warmed_up: WarmedUp | None = None

    @property
    def partial(self) -> bool:
        """Whether the user ended it early, or its warm-up."""
        return self.ended_early or self.warm_up_ended_early

    @property
    def ended_early(self) -> bool:
        """Whether the user ended the training's steps; early stopping is no request."""
        return self.progress.step < self.schedule.total_steps and not self.progress.stopped

    @property
    def warm_up_ended_early(self) -> bool:
        """Whether the user ended the warm-up."""
        return self.warmed_up is not None and self.warmed_up.steps < self.warmed_up.steps_planned

    @property
    def score(self) -> float | None:
        """Dev nDCG@10 of the weights that were kept; None without dev questions."""
        return None if self.ending.dev is None else mean(self.ending.dev)

    @property
    def gain(self) -> Comparison | None:
        """The weights that were kept against the base; None without dev questions."""
        if self.validation is None or self.ending.dev is None:
            return None
        return compare(self.ending.dev, self.validation.base)


def facts_of(account: Account) -> Facts:
    """What the model card tells; no times, no paths."""
    validation, progress = account.validation, account.progress
    return Facts(
        examples=account.examples,
        passages=account.passages,
        steps=progress.best_step or progress.step,
        batch_size=account.schedule.batch_size,
        dev_queries=len(validation.dev.queries) if validation else 0,
        base_score=validation.base_score if validation else None,
        score=account.score,
        pooled=bool(validation and validation.pooled),
        gain=account.gain,
        forgetting=account.ending.forgetting,
        points=account.ending.points,
        kept=account.ending.kept,
        stopped=progress.stopped,
        cuts=account.cuts,
    )


def summarise(account: Account) -> dict[str, Any]:
    """The numbers and warnings of a finished training."""
    progress, schedule, validation = account.progress, account.schedule, account.validation
    told = {
        "rehearsal": account.rehearsal,
        "examples": account.examples,
        "epochs": account.settings.epochs,
        "batch_size": schedule.batch_size,
        "steps": progress.step,
        "steps_planned": schedule.total_steps,
        "warmup_steps": schedule.warmup_steps,
        "schedule": account.settings.schedule,
        "best_step": progress.best_step or progress.step,
        "stopped_early": progress.stopped,
        "dev_queries": len(validation.dev.queries) if validation else 0,
        "dev_passages": len(validation.dev.passages) if validation else 0,
        "dev_pooled": bool(validation and validation.pooled),
        "dev_ndcg_at_10_base": validation.base_score if validation else None,
        "dev_ndcg_at_10": account.score,
        "final_loss": progress.loss,
        "seconds": round(progress.seconds, 3),
        "samples_per_second": round(progress.samples / progress.seconds, 3),
        "warnings": _warnings(account),
    }
    return told | _techniques(account)


def _techniques(account: Account) -> dict[str, Any]:
    """What only some trainings have."""
    told: dict[str, Any] = {}
    if gain := account.gain:
        told["dev_gain"] = _interval(gain)
    if lost := account.ending.forgetting:
        told["probe"] = {
            "name": lost.probe,
            "queries": lost.change.queries,
            "ndcg_at_10_base": lost.before,
            "ndcg_at_10": lost.after,
            "change": _interval(lost.change),
            "tolerance": lost.tolerance,
        }
    if account.ending.kept:
        told["interpolation"] = {
            "alpha": account.ending.kept.alpha,
            "points": [asdict(point) for point in account.ending.points],
        }
    dev_queries = len(account.validation.dev.queries) if account.validation else 0
    suggested = suggestion(account.examples, dev_queries, account.settings)
    if suggested.settings and not account.rehearsal:
        told["suggestion"] = {"settings": dict(suggested.settings), "reason": suggested.reason}
    return told


def _interval(comparison: Comparison) -> Mapping[str, float]:
    return {"mean": comparison.mean, "low": comparison.low, "high": comparison.high}


def _warnings(account: Account) -> list[str]:
    progress, schedule = account.progress, account.schedule
    said: list[str] = []
    if account.warmed_up and account.warm_up_ended_early:
        steps, planned = account.warmed_up.steps, account.warmed_up.steps_planned
        said.append(f"The warm-up was ended early, after {steps} of {planned} steps.")
    if account.ended_early:
        least = ": the least there is, which teaches hardly anything" if progress.step == 1 else ""
        said.append(f"Ended early, after {progress.step} of {schedule.total_steps} steps{least}.")
    elif schedule.total_steps < FEW_STEPS:
        said.append(f"Only {schedule.total_steps} steps: below {FEW_STEPS} expect little.")
    said += _dev_warnings(account)
    if account.ending.forgetting:
        said += account.ending.forgetting.warnings
    return [*said, *account.notes]


def _dev_warnings(account: Account) -> list[str]:
    """What the dev questions say of the weights that were kept."""
    validation, gain, kept = account.validation, account.gain, account.ending.kept
    score = account.score
    if validation is None or gain is None or score is None:
        return ["There are no dev questions: the last weights were kept, not the best."]
    if kept and kept.alpha == 0:
        return [
            "No mean of base and tuned weights within the tolerance beat the base on the dev "
            "questions: the kept model is the base, unchanged."
        ]
    if score <= validation.base_score:
        return [
            f"No trained weights beat the base on the dev questions (nDCG@10 {score:.4f} against "
            f"{validation.base_score:.4f}); the best trained ones were kept."
        ]
    if not gain.clear:
        counted = f"{gain.queries} dev question{'s' if gain.queries > 1 else ''}"
        return [f"The gain on the {counted} may be noise: nDCG@10 {gain.text}."]
    return []
