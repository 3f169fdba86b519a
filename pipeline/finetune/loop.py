"""The training loop: steps, validations, checkpoints, and what others ask meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.context import Control, Events
from pipeline.errors import Interruption
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.engine import Engine, StepReport
from pipeline.finetune.pace import Pace
from pipeline.schedule import Schedule


@dataclass(frozen=True)
class Hooks:
    """What the loop calls.

    Attributes:
        validate: dev nDCG@10 of the weights as they are; None without dev queries.
        base_score: dev nDCG@10 of the base; 0 without dev queries.
        events: where steps are written.
        control: requests of the user.
    """

    validate: Callable[[], float] | None
    base_score: float
    events: Events
    control: Control


def train(engine: Engine, checkpoints: Checkpoints, progress: Progress, hooks: Hooks) -> Progress:
    """Train from `progress` to the end, or until `finish` is asked after at least one step.

    Raises:
        Interruption: cancel or SIGTERM; everything done so far is in the checkpoint.
        StageFailure: training diverged.
        torch.OutOfMemoryError: the GPU's memory is full.
        OSError: the disk is full.
    """
    saved = progress.step
    pace = Pace(validates=hooks.validate is not None)
    try:
        while True:
            ended = _ended(engine, progress, hooks.control)
            if _validation_due(engine, progress, hooks, ended):
                began = time.perf_counter()
                progress = _validate(engine, checkpoints, progress, hooks)
                pace = pace.after_validation(time.perf_counter() - began)
            if ended:
                return progress
            if progress.step - saved >= engine.schedule.checkpoint_steps:
                checkpoints.save(progress, engine.encoder.model, engine.optimizer)
                saved = progress.step
            hooks.control.poll()
            report = engine.step(progress.step)
            progress = _advance(progress, report)
            pace = pace.after_step(report.seconds)
            _tell(hooks.events, progress, report, engine.schedule, pace)
    except Interruption:
        if progress.step:
            checkpoints.save(progress, engine.encoder.model, engine.optimizer)
        raise


def _ended(engine: Engine, progress: Progress, control: Control) -> bool:
    if progress.step >= engine.schedule.total_steps:
        return True
    # The base alone is no fine-tuned model: one step is the least.
    return progress.step > 0 and control.finish_asked


def _validation_due(engine: Engine, progress: Progress, hooks: Hooks, ended: bool) -> bool:
    if hooks.validate is None or progress.validated >= progress.step:
        return False
    return ended or progress.step % engine.schedule.validation_steps == 0


def _validate(
    engine: Engine, checkpoints: Checkpoints, progress: Progress, hooks: Hooks
) -> Progress:
    assert hooks.validate is not None
    score = hooks.validate()
    progress = replace(progress, validated=progress.step)
    if score > progress.best_score:
        checkpoints.save_best(progress.step, engine.encoder.model)
        progress = replace(progress, best_step=progress.step, best_score=score)
    hooks.events.metric(
        step=progress.step,
        ndcg_at_10=score,
        base_ndcg_at_10=hooks.base_score,
        best_step=progress.best_step,
        best_ndcg_at_10=progress.best_score,
    )
    return progress


def _advance(progress: Progress, report: StepReport) -> Progress:
    return replace(
        progress,
        step=progress.step + 1,
        loss=report.loss,
        samples=progress.samples + report.rows,
        seconds=progress.seconds + report.seconds,
    )


def _tell(
    events: Events, progress: Progress, report: StepReport, schedule: Schedule, pace: Pace
) -> None:
    """What a screen shows of one step; the texts' own tokens are counted, without padding."""
    events.metric(
        step=progress.step,
        steps=schedule.total_steps,
        epoch=round(report.epoch, 4),
        loss=report.loss,
        learning_rate=report.learning_rate,
        gradient_norm=report.gradient_norm,
        samples_per_second=round(report.rows / report.seconds, 3),
        tokens_per_second=round(report.tokens / report.seconds, 1),
        negatives_per_query=round(report.negatives_per_query, 2),
        seconds_left=round(pace.seconds_left(progress.step, schedule), 1),
    )
    events.progress(progress.step, schedule.total_steps, "training steps")
