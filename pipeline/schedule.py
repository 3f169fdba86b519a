"""The schedule: how long one training is, and the rule that scales it to little data."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.recipe import FinetuneSettings

AUTO_SCALE_BELOW = 2000
"""Training examples under which batch and intervals scale down."""


@dataclass(frozen=True)
class Schedule:
    """The lengths of one training.

    Attributes:
        batch_size: examples an optimizer step; the last one of an epoch may be smaller.
        steps_per_epoch: optimizer steps an epoch.
        total_steps: optimizer steps in all.
        warmup_steps: steps until the learning rate reaches its peak.
        checkpoint_steps: steps between two checkpoints.
        validation_steps: steps between two validations.
    """

    batch_size: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    checkpoint_steps: int
    validation_steps: int


def schedule_for(examples: int, settings: FinetuneSettings) -> Schedule:
    """The lengths of a training over `examples` rows.

    The published rule: below 2,000 rows the batch is rows // 8, held between 16 and 64, and
    an interval that would come up less than three times becomes a third of the steps. Nothing
    has to divide anything here: the last batch of an epoch is simply smaller.
    """
    batch = settings.batch_size
    scaled = settings.auto_scale and examples < AUTO_SCALE_BELOW
    if scaled:
        batch = min(batch, max(16, min(64, examples // 8)))
    batch = max(1, min(batch, examples))
    per_epoch = -(-examples // batch)
    total = per_epoch * settings.epochs

    def interval(steps: int) -> int:
        return max(1, total // 3) if scaled and total < 3 * steps else steps

    return Schedule(
        batch_size=batch,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=min(settings.warmup_steps, total // 10),
        checkpoint_steps=interval(settings.checkpoint_steps),
        validation_steps=interval(settings.validation_steps),
    )
