"""The schedule: how long one training is, and the rule that scales it to little data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.settings import FinetuneSettings

AUTO_SCALE_BELOW = 2000
"""Training examples under which the batch scales down."""

SMALL_BELOW, LARGE_FROM = 1000, 10_000
"""Training examples between which a data set is of medium size in the published guidance."""

WARMUP_SHARE = 0.05
"""Of all steps; the published guidance asks for 5 to 10 %."""


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
    an interval that would come up less than three times becomes a third of the steps. Ours:
    intervals do so at any number of rows, for 2,000 of them are only 48 steps. Nothing has to
    divide anything here: the last batch of an epoch is simply smaller.
    """
    batch = settings.batch_size
    if settings.auto_scale and examples < AUTO_SCALE_BELOW:
        batch = min(batch, max(16, min(64, examples // 8)))
    batch = max(1, min(batch, examples))
    per_epoch = -(-examples // batch)
    total = per_epoch * settings.epochs

    def interval(steps: int) -> int:
        short = settings.auto_scale and total < 3 * steps
        return max(1, total // 3) if short else steps

    return Schedule(
        batch_size=batch,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=min(settings.warmup_steps, total // 10),
        checkpoint_steps=interval(settings.checkpoint_steps),
        validation_steps=interval(settings.validation_steps),
    )


@dataclass(frozen=True)
class Suggestion:
    """What the published guidance says to a training of this size, where settings differ.

    Attributes:
        settings: by dotted name, those that would change; empty where all fit.
        reason: why, in one sentence.
    """

    settings: Mapping[str, int]
    reason: str

    @property
    def arguments(self) -> str:
        """The options of the command line that take it."""
        return " ".join(f"--set {name}={value}" for name, value in self.settings.items())


def suggestion(examples: int, dev_queries: int, settings: FinetuneSettings) -> Suggestion:
    """Epochs and warm-up by the size of the data; shown, never applied by itself.

    The table of the published recipe (NVIDIA-NeMo/Nemotron, recipes/embed/README.md, "How many
    epochs"): below 1,000 examples two, a third one only while validation still improves, which
    needs dev questions; below 10,000 at most two; from there on one. Warm-up 5 to 10 % of the
    steps ("Key hyperparameters"). Its learning rate is the default for any size: half and double
    are to be tried, and no rule says which is better.

    Args:
        examples: training rows.
        dev_queries: held-out questions that choose the best checkpoint.
        settings: what would be used.
    """
    if examples < SMALL_BELOW:
        low, high = 2, 3 if dev_queries else 2
    elif examples < LARGE_FROM:
        low, high = 1, 2
    else:
        low, high = 1, 1
    epochs = min(max(settings.epochs, low), high)
    total = schedule_for(examples, replace(settings, epochs=epochs)).total_steps
    # Half of what is asked for is near enough: the warm-up of a short training is few steps anyway.
    warmup = round(total * WARMUP_SHARE)
    fits = settings.warmup_steps >= warmup // 2
    wanted = {"finetune.epochs": epochs} | ({} if fits else {"finetune.warmup_steps": warmup})
    changed = {
        name: value
        for name, value in wanted.items()
        if value != getattr(settings, name.removeprefix("finetune."))
    }
    span = f"{low} epoch{'s' if low > 1 else ''}" if low == high else f"{low} to {high} epochs"
    return Suggestion(
        changed,
        f"For {examples:,} training questions the published guidance is {span}, a warm-up of "
        f"{WARMUP_SHARE:.0%} of the steps, and a learning rate tried at half and double too",
    )
