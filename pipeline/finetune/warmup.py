"""Domain-adaptive warm-up: training on the corpus's bare passages before that on questions.

Gururangan et al., "Don't Stop Pretraining: Adapt Language Models to Domains and Tasks" (2020);
before retrieval it is the first step of Wang et al., "GPL" (2022). Only passages of the training
fold are read, so dev and test documents stay unseen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipeline.context import Control, Events
from pipeline.corpus.records import Passage
from pipeline.encoder import Encoder
from pipeline.errors import Interruption, StageFailure
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.engine import make_optimizer
from pipeline.finetune.randomness import seed_all
from pipeline.finetune.rates import learning_rate
from pipeline.finetune.warmup_objectives import WarmupObjective, objective_for
from pipeline.memory import is_out_of_memory
from pipeline.schedule import Schedule
from pipeline.setting_rules import AT_LEAST
from pipeline.settings import FinetuneSettings, WarmupSettings

FOLDER = "warmup"
"""Its checkpoint, in the result's folder; when the warm-up is over, its end."""

RISING_SHARE = 0.1
"""Of the steps, while the learning rate rises. Ours."""

_ORDER, _NOISE = 10, 11
"""Streams of random numbers under the seed, other ones than those of batches."""


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
    and training begins.

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
        StageFailure: it diverged.
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
    before = checkpoints.restore(both, optimizer)
    if before and before.step < schedule.total_steps and not before.stopped:
        around.events.resumed(warmup_step=before.step)
    work = _Work(objective, both, optimizer, schedule, asked, seed)
    progress = _train(work, checkpoints, before or Progress(), around)
    if progress != before:
        checkpoints.save(progress, both, optimizer)
    checkpoints.wait()
    around.events.log(
        f"Warmed up ({chosen.objective}) for {progress.step} steps on {objective.items} "
        f"{'pairs' if chosen.objective == 'pairs' else 'passages'} of the training fold."
    )


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
                goes through as a whole; the weights are as before the step.
        """
        self.both.train()
        self.optimizer.zero_grad(set_to_none=True)
        generator = np.random.default_rng([self.seed, _NOISE, number])
        try:
            loss = self.objective.backward(self.batch(number), generator)
        except (MemoryError, RuntimeError) as error:
            if self.objective.in_parts or not is_out_of_memory(error):
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
            began = time.perf_counter()
            loss = work.step(progress.step)
            seconds = progress.seconds + time.perf_counter() - began
            progress = replace(progress, step=progress.step + 1, loss=loss, seconds=seconds)
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
    return StageFailure(
        f"The warm-up diverged at step {number + 1}: the loss is {loss}.",
        safe="The checkpoint before it and every earlier result are kept.",
        next_step="Lower finetune.warmup.learning_rate (now "
        f"{settings.warmup.learning_rate:g}) and run the same command again.",
    )
