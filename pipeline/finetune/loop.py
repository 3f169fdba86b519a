"""The training loop: steps, validations, checkpoints, and what others ask meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from pipeline.context import Control, Events
from pipeline.errors import Interruption, NotFinite
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.engine import Engine, StepReport
from pipeline.finetune.pace import Pace
from pipeline.finetune.stopping import compare, judge
from pipeline.finetune.validation import Scores, mean
from pipeline.memory import begun_again
from pipeline.schedule import Schedule


@dataclass(frozen=True)
class Hooks:
    """What the loop calls.

    Attributes:
        validate: dev nDCG@10 of the weights as they are, by query; None without dev queries.
        base_score: mean dev nDCG@10 of the base; 0 without dev queries.
        events: where steps are written.
        control: requests of the user.
        patience: validations without a gain after which training may end; 0: never.
        before_step: called with the number of every step, from 0, before it is done; None: nothing.
    """

    validate: Callable[[], Scores] | None
    base_score: float
    events: Events
    control: Control
    patience: int = 0
    before_step: Callable[[int], None] | None = None


def train(engine: Engine, checkpoints: Checkpoints, progress: Progress, hooks: Hooks) -> Progress:
    """Train from `progress` to the end, or until `finish` is asked after at least one step.

    Whatever was being written is on the disk when this returns or raises.

    Raises:
        Interruption: cancel or SIGTERM; everything done so far is in the checkpoint.
        StageFailure: training diverged.
        torch.OutOfMemoryError: the GPU's memory is full.
        OSError: the disk is full.
    """
    # The position is at hand when a step is interrupted or the GPU is gone.
    position = [progress]
    try:
        _steps(engine, checkpoints, position, hooks)
        checkpoints.wait()
    except Interruption:
        if position[0].step:
            checkpoints.save(position[0], engine.encoder.model, engine.optimizer)
            checkpoints.wait()
        raise
    finally:
        checkpoints.settle()
    return position[0]


def _steps(
    engine: Engine, checkpoints: Checkpoints, position: list[Progress], hooks: Hooks
) -> None:
    saved = position[0].step
    pace = Pace(validates=hooks.validate is not None)
    while True:
        progress = position[0]
        ended = _ended(engine, progress, hooks.control)
        if _validation_due(engine, progress, hooks, ended):
            began = time.perf_counter()
            progress = position[0] = _validate(engine, checkpoints, progress, hooks)
            pace = pace.after_validation(time.perf_counter() - began)
        if ended or progress.stopped:
            return
        if progress.step - saved >= engine.schedule.checkpoint_steps:
            checkpoints.save(progress, engine.encoder.model, engine.optimizer)
            saved = progress.step
        hooks.control.poll()
        if hooks.before_step is not None:
            hooks.before_step(progress.step)
        report = engine.step(progress.step)
        progress = position[0] = _advance(progress, report)
        pace = pace.after_step(report.seconds)
        _tell(hooks.events, progress, report, engine.schedule, pace)


def _ended(engine: Engine, progress: Progress, control: Control) -> bool:
    if progress.stopped or progress.step >= engine.schedule.total_steps:
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
    """Measure, keep the weights if they are the best, and judge whether to go on.

    Only a higher mean is better: of equals the earliest weights stay, as they moved the least.
    """
    assert hooks.validate is not None
    try:
        scores = hooks.validate()
    except NotFinite as error:
        seen = f"by step {progress.step}: the model gives numbers that are not finite"
        raise engine.diverged(seen) from error
    progress = replace(progress, validated=progress.step)
    against = compare(scores, progress.best) if progress.best else None
    if against is None or mean(scores) > progress.best_score:
        checkpoints.save_best(progress.step, engine.encoder.model)
        progress = replace(progress, best_step=progress.step, best=scores, without_gain=0)
    else:
        progress = replace(progress, without_gain=progress.without_gain + 1)
    noise = {"against_best": against.mean, "against_best_error": against.error} if against else {}
    hooks.events.metric(
        step=progress.step,
        ndcg_at_10=mean(scores),
        base_ndcg_at_10=hooks.base_score,
        best_step=progress.best_step,
        best_ndcg_at_10=progress.best_score,
        **noise,
    )
    last_step = progress.step >= engine.schedule.total_steps
    if against is None or last_step:
        return progress
    judged = judge(progress.without_gain, hooks.patience, against)
    if judged.reason:
        hooks.events.log(judged.reason, level="info" if judged.stop else "warning")
    return replace(progress, stopped=judged.stop)


def _advance(progress: Progress, report: StepReport) -> Progress:
    return replace(
        progress,
        step=progress.step + 1,
        loss=report.loss,
        samples=progress.samples + report.rows,
        seconds=progress.seconds + report.seconds,
        **asdict(report.fitted),
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
        hard_negatives_per_query=round(report.hard_negatives_per_query, 2),
        masked_per_query=round(report.masked_per_query, 2),
        mfu=round(report.mfu, 4),
        memory_bytes=report.memory_bytes,
        **{f"loss_{name}": value for name, value in report.parts.items()},
        seconds_left=round(pace.seconds_left(progress.step, schedule), 1),
    )
    if report.halvings:
        events.log(
            begun_again(f"step {progress.step}", report.fitted.pass_tokens),
            level="warning",
        )
    events.progress(progress.step, schedule.total_steps, "training steps")
