"""Domain-adaptive warm-up: training on the corpus's bare passages before that on questions.

Gururangan et al., "Don't Stop Pretraining: Adapt Language Models to Domains and Tasks" (2020);
before retrieval it is the first step of Wang et al., "GPL" (2022). Only passages of the training
fold are read, so dev and test documents stay unseen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipeline.context import Control, Events
from pipeline.corpus.records import Passage
from pipeline.encoder import Encoder
from pipeline.errors import Interruption, StageFailure
from pipeline.files import read_json, write_json
from pipeline.finetune.accelerator import accelerator_failures
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.engine import make_optimizer
from pipeline.finetune.randomness import seed_all
from pipeline.finetune.rates import learning_rate
from pipeline.finetune.warmup_objectives import WarmupObjective, objective_for
from pipeline.memory import begun_again, is_out_of_memory
from pipeline.schedule import Schedule
from pipeline.setting_rules import AT_LEAST
from pipeline.settings import FinetuneSettings, WarmupSettings

FOLDER = "warmup"
"""Its checkpoint, in the result's folder; when the warm-up is over, its end."""

_ENDED = "ended.json"
"""In that folder, once it is over: what `WarmedUp` holds."""

RISING_SHARE = 0.1
"""Of the steps, while the learning rate rises. Ours."""

_ORDER, _NOISE = 10, 11
"""Streams of random numbers under the seed, other ones than those of batches."""


@dataclass(frozen=True)
class WarmedUp:
    """A warm-up that is over.

    Attributes:
        steps: that were done.
        steps_planned: fewer were done where the user ended it.
    """

    steps: int
    steps_planned: int


@dataclass(frozen=True)
class Surroundings:
    """What a warm-up works in.

    Attributes:
        folder: the result's.
        events: its journal.
        control: requests of the user.
    """

    folder: Path
    events: Events
    control: Control


def warm_up(
    encoder: Encoder,
    passages: Sequence[Passage],
    settings: FinetuneSettings,
    seed: int,
    around: Surroundings,
) -> None:
    """Train the encoder on passages, in place; one that was warmed up already is only loaded.

    It goes on from a checkpoint, bit for bit on the CPU. A wish to finish ends it after the step,
    and the training that follows after its first one, the least that makes a fine-tuned model.

    Args:
        encoder: the base, adapters included.
        passages: of the corpus, document by document, in reading order.
        settings: the table `warmup` says what is done.
        seed: of order, noise and new weights.
        around: folder, journal and requests.

    Raises:
        BadRecipe: the model can't learn in this way.
        BadInput: there is too little text.
        Interruption: cancel or SIGTERM; what was done is in the checkpoint.
        StageFailure: it diverged, the memory is full, or the GPU is gone.
        OSError: the disk is full.
    """
    chosen = settings.warmup
    if chosen.objective == "none":
        return
    seed_all(seed)
    train = [passage for passage in passages if passage.role == "train"]
    objective = objective_for(settings, encoder, train)
    both = torch.nn.ModuleDict({"encoder": encoder.model, "head": objective.head})
    asked = replace(settings, learning_rate=chosen.learning_rate)
    optimizer = make_optimizer(both, asked)
    checkpoints = _checkpoints(around.folder, around.events)
    schedule = _schedule(objective.items, chosen)
    with accelerator_failures(checkpoints, "warm-up"):
        before = checkpoints.restore(both, optimizer)
        if before and before.step < schedule.total_steps and not before.stopped:
            around.events.resumed(warmup_step=before.step)
        if before and objective.budget and before.pass_tokens:
            found = before.pass_tokens, before.kept_tokens, before.lanes
            objective.budget = objective.budget.at_most(*found)
        work = _Work(objective, both, optimizer, schedule, asked, seed)
        progress = _train(work, checkpoints, before or Progress(), around)
        if progress != before:
            checkpoints.save(progress, both, optimizer)
        checkpoints.wait()
    ended = WarmedUp(progress.step, schedule.total_steps)
    write_json(around.folder / FOLDER / _ENDED, asdict(ended))
    around.events.log(
        f"Warmed up ({chosen.objective}) for {progress.step} steps on {objective.items} "
        f"{'pairs' if chosen.objective == 'pairs' else 'passages'} of the training fold."
    )


def warmed_up(folder: Path) -> WarmedUp | None:
    """How a result's warm-up ended; None where there was none.

    Args:
        folder: the result's.
    """
    path = folder / FOLDER / _ENDED
    return WarmedUp(**read_json(path)) if path.is_file() else None


def warm_up_threads(folder: Path, events: Events) -> int | None:
    """On how many threads a result's warm-up ran; None where there was none.

    Args:
        folder: the result's.
        events: told where its checkpoint can't be used.
    """
    return _checkpoints(folder, events).threads()


def forget_warm_up(folder: Path) -> None:
    """Delete what is kept of a result's warm-up: the model is written."""
    Checkpoints(folder / FOLDER).remove()


@dataclass(frozen=True)
class _Work:
    """A warm-up's parts, none of which knows the step."""

    objective: WarmupObjective
    both: torch.nn.ModuleDict
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    settings: FinetuneSettings
    seed: int

    def batch(self, step: int) -> list[int]:
        """The items of one step: a permutation by epoch, cut into nearly equal parts."""
        epoch, part = divmod(step, self.schedule.steps_per_epoch)
        generator = np.random.default_rng([self.seed, _ORDER, epoch])
        order = generator.permutation(self.objective.items)
        batch: list[int] = np.array_split(order, self.schedule.steps_per_epoch)[part].tolist()
        return batch

    def step(self, number: int) -> float:
        """Do one step, from 0; returns the loss.

        Raises:
            StageFailure: loss or gradient is not finite, or the memory doesn't hold a batch that
                goes through as a whole, or one text alone; the weights are as before the step.
        """
        self.both.train()
        self.optimizer.zero_grad(set_to_none=True)
        generator = np.random.default_rng([self.seed, _NOISE, number])
        try:
            loss = self.objective.backward(self.batch(number), generator)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise _memory_full(number, self.settings.warmup) from error
        limit = self.settings.gradient_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.both.parameters(), limit)
        if not torch.isfinite(torch.stack([loss, norm])).all():
            raise _diverged(number, float(loss), self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, self.schedule, self.settings)
        self.optimizer.step()
        return float(loss)


def _train(
    work: _Work, checkpoints: Checkpoints, progress: Progress, around: Surroundings
) -> Progress:
    """Go on from `progress` to the end, or until finish is asked."""
    saved, total = progress.step, work.schedule.total_steps
    try:
        while progress.step < total and not progress.stopped:
            around.control.poll()
            if progress.step and around.control.finish_asked:
                return replace(progress, stopped=True)
            progress = _advance(work, progress, around.events)
            loss = progress.loss
            around.events.metric(warmup_step=progress.step, warmup_steps=total, warmup_loss=loss)
            around.events.progress(progress.step, total, "warm-up steps")
            if progress.step - saved >= work.schedule.checkpoint_steps:
                checkpoints.save(progress, work.both, work.optimizer)
                saved = progress.step
    except Interruption:
        if progress.step > saved:
            checkpoints.save(progress, work.both, work.optimizer)
        checkpoints.wait()
        raise
    return progress


def _advance(work: _Work, progress: Progress, events: Events) -> Progress:
    """Do one more step; where the memory was full, say so and remember what fits."""
    began, before = time.perf_counter(), work.objective.budget
    loss = work.step(progress.step)
    seconds = progress.seconds + time.perf_counter() - began
    progress = replace(progress, step=progress.step + 1, loss=loss, seconds=seconds)
    if (budget := work.objective.budget) is None:
        return progress
    if budget != before:
        where = f"step {progress.step} of the warm-up"
        events.log(begun_again(where, budget.pass_tokens), level="warning")
    return replace(
        progress,
        pass_tokens=budget.pass_tokens,
        kept_tokens=budget.kept_tokens,
        lanes=budget.lanes,
    )


def _checkpoints(folder: Path, events: Events) -> Checkpoints:
    return Checkpoints(folder / FOLDER, partial(events.log, level="warning"))


def _schedule(items: int, settings: WarmupSettings) -> Schedule:
    per_epoch = -(-items // settings.batch_size)
    total = per_epoch * settings.epochs
    return Schedule(
        batch_size=settings.batch_size,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=int(total * RISING_SHARE),
        checkpoint_steps=settings.checkpoint_steps,
        validation_steps=total,
    )


def _memory_full(number: int, settings: WarmupSettings) -> StageFailure:
    half = settings.batch_size // 2
    name = "finetune.warmup.batch_size"
    remedy = {name: half} if half >= AT_LEAST[name] else {}
    smaller = f"set {name}={half}" if remedy else "lower encoder.passage_tokens"
    return StageFailure(
        f"The memory was full in step {number + 1} of the warm-up "
        f"(finetune.warmup.batch_size = {settings.batch_size}).",
        safe="Every earlier result is kept.",
        next_step=f"Run the same command again and {smaller}; or set "
        "finetune.warmup.objective=pairs, whose batches go through the model in parts.",
        remedy=remedy,
    )


def _diverged(number: int, loss: float, settings: FinetuneSettings) -> StageFailure:
    name, rate = "finetune.warmup.learning_rate", settings.warmup.learning_rate
    return StageFailure(
        f"The warm-up diverged at step {number + 1}: the loss is {loss}.",
        safe="Every earlier result is kept.",
        next_step=f"Lower {name} (now {rate:g}): run the same command again with --set "
        f"{name}={rate / 10:g}. That is another result, whose warm-up begins at the first step.",
    )
