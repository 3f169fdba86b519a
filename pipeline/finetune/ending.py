"""What follows a training: what was forgotten, and which weights between base and tuned stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pipeline.context import Context
from pipeline.encoder import Encoder
from pipeline.encoder_files import load_model
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.forgetting import Forgetting, Probe, forgetting
from pipeline.finetune.interpolation import Point, Sweep, choose
from pipeline.finetune.validation import Scores, Validation, Vectors, mean, measure
from pipeline.profiles import weights_folder


@dataclass(frozen=True)
class Gauges:
    """What weights are measured on.

    Attributes:
        validation: the dev questions, or None.
        probe: the general task, or None.
        embed: whose texts, the texts and their kind, to vectors of the weights as they are.
    """

    validation: Validation | None
    probe: Probe | None
    embed: Callable[[str, Sequence[str], Literal["query", "passage"]], Vectors]

    def dev_scores(self) -> Scores:
        """nDCG@10 on the dev questions, which there are, by query."""
        assert self.validation is not None
        return measure(self.validation.dev, partial(self.embed, "dev"))

    def probe_scores(self) -> Scores | None:
        """nDCG@10 on the probe, by query; None without one."""
        return measure(self.probe.task, partial(self.embed, "probe")) if self.probe else None


@dataclass(frozen=True)
class Ending:
    """How a training was brought to its end.

    Attributes:
        dev: nDCG@10 of the kept weights on the dev questions, by query; None without any.
        forgetting: the probe before and after, or None without a probe.
        points: the weights that were tried between base and tuned; empty without a sweep.
        kept: the one that was kept; None without a sweep.
    """

    dev: Scores | None
    forgetting: Forgetting | None
    points: tuple[Point, ...] = ()
    kept: Point | None = None


def bring_to_end(
    context: Context,
    checkpoints: Checkpoints,
    encoder: Encoder,
    progress: Progress,
    gauges: Gauges,
) -> Ending:
    """Score the probe once more and, where it is asked for, sweep between base and tuned weights.

    Args:
        context: the stage's surroundings.
        checkpoints: the sweep lies beside the checkpoint.
        encoder: with the tuned weights, adapters merged; ends with those that are kept.
        progress: of the finished training.
        gauges: what the weights are measured on.

    Raises:
        OSError: the disk is full.
        Interruption: cancel or SIGTERM; a sweep goes on from where it was.
    """
    settings, probe, validation = context.recipe.finetune, gauges.probe, gauges.validation
    dev, after = progress.best if validation else None, gauges.probe_scores()
    points: tuple[Point, ...] = ()
    kept: Point | None = None
    if settings.interpolate and validation:
        points, kept = _interpolated(context, checkpoints, encoder, progress, gauges, after)
        if kept.alpha == 0:
            dev, after = validation.base, probe.base if probe else None
        elif kept.alpha < 1:
            dev, after = gauges.dev_scores(), gauges.probe_scores()
    if probe is None or after is None:
        return Ending(dev, None, points, kept)
    lost = forgetting(probe, after, settings.probe_tolerance)
    context.events.metric(
        step=progress.step, probe_ndcg_at_10=lost.after, base_probe_ndcg_at_10=lost.before
    )
    return Ending(dev, lost, points, kept)


def _interpolated(
    context: Context,
    checkpoints: Checkpoints,
    encoder: Encoder,
    progress: Progress,
    gauges: Gauges,
    after: Scores | None,
) -> tuple[tuple[Point, ...], Point]:
    """Sweep, choose, and put the chosen weights into the model."""
    of = {"step": progress.best_step, "score": progress.best_score}
    sweep = Sweep(checkpoints.folder, of)
    points = _sweep(context, sweep, encoder, progress, gauges, after)
    kept = choose(points, context.recipe.finetune.probe_tolerance)
    sweep.apply(encoder.model, kept.alpha)
    context.events.log(f"Interpolation keeps alpha = {kept.alpha:g}: dev nDCG@10 {kept.dev:.4f}.")
    return points, kept


def _sweep(
    context: Context,
    sweep: Sweep,
    encoder: Encoder,
    progress: Progress,
    gauges: Gauges,
    after: Scores | None,
) -> tuple[Point, ...]:
    validation, probe = gauges.validation, gauges.probe
    assert validation is not None
    profile = context.profile

    def measured() -> tuple[float, float | None]:
        dev, probed = gauges.dev_scores(), gauges.probe_scores()
        return mean(dev), mean(probed) if probed else None

    known = [
        Point(0.0, validation.base_score, mean(probe.base) if probe else None),
        Point(1.0, progress.best_score, mean(after) if after else None),
    ]
    return sweep.run(
        encoder.model, lambda: load_model(weights_folder(profile), profile), measured, known
    )
