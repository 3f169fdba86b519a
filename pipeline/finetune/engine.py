"""One optimizer step after another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from pipeline.encoder import Encoder
from pipeline.errors import StageFailure
from pipeline.finetune.batches import Batch, Sampler
from pipeline.finetune.examples import TrainingSet
from pipeline.finetune.fitting import compute_fitting, fitting_budget
from pipeline.finetune.gradients import Budget, backward
from pipeline.finetune.objective import LossParts, Objective
from pipeline.finetune.passes import Tokens
from pipeline.finetune.precision import pays_in_bf16
from pipeline.finetune.rates import learning_rate
from pipeline.finetune.speed import Shape, memory_bytes, peak_flops, training_flops
from pipeline.finetune.tasks import TaskBatch, Tasks
from pipeline.memory import keep_freed_memory
from pipeline.schedule import Schedule
from pipeline.settings import FinetuneSettings


@dataclass(frozen=True)
class Fitted:
    """What an engine found out about its machine, and a resumed training must not find anew.

    Attributes:
        pass_tokens: see `Budget`.
        kept_tokens: see `Budget`.
        lanes: see `Budget`.
        bf16: whether matrix products are computed in bfloat16.
    """

    pass_tokens: int
    kept_tokens: int
    lanes: int
    bf16: bool


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did.

    Attributes:
        epoch: epochs finished, with a fraction.
        loss: mean over the rows.
        learning_rate: that was used.
        gradient_norm: before clipping.
        rows: examples in the batch, and pairs of other tasks beside it.
        tokens: in the unique texts of the batch and those of other tasks, without padding.
        negatives_per_query: mean over the batch's rows: hard and in-batch, masked ones left out.
        hard_negatives_per_query: how many of them were mined for the row.
        masked_per_query: mean over the rows of what may be an answer and so is no negative.
        parts: what the loss consists of, by name, without weights.
        seconds: that it took.
        mfu: share of the measured matmul rate that the step needed ("model FLOPs utilisation").
        memory_bytes: the most that was held: on a GPU in this step, on a CPU by the process.
        fitted: how it was computed, after what the memory took.
        halvings: how often the memory was full, and the step was begun again with half.
    """

    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    rows: int
    tokens: int
    negatives_per_query: float
    hard_negatives_per_query: float
    masked_per_query: float
    parts: Mapping[str, float]
    seconds: float
    mfu: float
    memory_bytes: int
    fitted: Fitted
    halvings: int


@dataclass(frozen=True)
class _Lesson:
    """What one step trains on: a batch of the run's own, then those of other tasks."""

    batch: Batch
    texts: Tokens
    tasks: Sequence[TaskBatch]

    @property
    def lengths(self) -> list[list[int]]:
        """Tokens of each text, by batch."""
        return [list(map(len, texts)) for texts in (self.texts, *(t.texts for t in self.tasks))]


class Engine:
    """A model in training: batches in, better weights out.

    It holds no position: `step` is told which one to do, and everything that changes lies in
    `encoder.model`, `optimizer`, torch's random state and `fitted`.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingSet,
        sampler: Sampler,
        schedule: Schedule,
        settings: FinetuneSettings,
        objective: Objective | None = None,
        tasks: Tasks | None = None,
    ) -> None:
        self.encoder = encoder
        self.optimizer = make_optimizer(encoder.model, settings)
        self.schedule = schedule
        self._data = data
        self._sampler = sampler
        self._settings = settings
        self._objective = objective or Objective(settings)
        self._tasks = tasks or Tasks((), 1, 0)
        keep_freed_memory()
        self._shape = Shape.of(encoder.model)
        self._bf16 = encoder.device.type == "cuda"
        self._bf16 = self._bf16 or pays_in_bf16(
            self.forward, data.passages.longest(1), encoder.model
        )
        self._peak = peak_flops(encoder.device, self._bf16)
        self._budget = self._measure()

    def step(self, number: int) -> StepReport:
        """Do one step, from 0.

        Raises:
            StageFailure: loss or gradient is not finite; the weights are as before the step.
            StageFailure: the memory doesn't hold one text alone.
        """
        started = time.perf_counter()
        batch = self._sampler.batch(number)
        lesson = _Lesson(batch, batch.texts(self._data), list(self._tasks.batches(number)))
        batches = lesson.lengths
        rate = learning_rate(number, self.schedule, self._settings)
        compute = partial(self._gradients, lesson)
        fit = compute_fitting(compute, self._budget, batches, self.encoder.model)
        self._budget, (loss, norm, parts) = fit.budget, fit.result
        self._require_finite(number, loss, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        rows, lengths = len(batch.row_query), [tokens for one in batches for tokens in one]
        return StepReport(
            epoch=(number + 1) / self.schedule.steps_per_epoch,
            loss=loss,
            learning_rate=rate,
            gradient_norm=norm,
            rows=rows + sum(task.pairs for task in lesson.tasks),
            tokens=sum(lengths),
            negatives_per_query=batch.negatives / rows,
            hard_negatives_per_query=int(batch.mined.sum()) / rows,
            masked_per_query=batch.masked / rows,
            parts=parts,
            seconds=(seconds := time.perf_counter() - started),
            mfu=training_flops(lengths, self._shape) / seconds / self._peak,
            memory_bytes=memory_bytes(self.encoder.device),
            fitted=self.fitted,
            halvings=fit.halvings,
        )

    @property
    def pads(self) -> bool:
        """Whether texts are padded to the longest of their pass."""
        return self._budget.padded

    @property
    def fitted(self) -> Fitted:
        """What is to be restored when a training goes on."""
        budget = self._budget
        return Fitted(budget.pass_tokens, budget.kept_tokens, budget.lanes, self._bf16)

    def restore(self, fitted: Fitted) -> None:
        """Compute as the training did that is gone on with, for the same bits.

        A smaller `finetune.micro_batch_size` than it had counts all the same.
        """
        if fitted.bf16 != self._bf16:
            # What was measured at this start is of the other precision, which holds other bytes.
            self._bf16 = fitted.bf16
            self._peak = peak_flops(self.encoder.device, self._bf16)
            self._budget = self._measure()
        self._budget = self._budget.at_most(fitted.pass_tokens, fitted.kept_tokens, fitted.lanes)

    def forward(self, texts: Tokens) -> torch.Tensor:
        """Vectors of token ids in training precision.

        bf16 over fp32 weights where it pays: bf16 weights would lose small updates. The region is
        one forward pass, or its cache would hand weights cast without a graph to the next.
        """
        with self._precision():
            return self.encoder.forward(texts)

    def diverged(self, sign: str) -> StageFailure:
        """The failure for weights that no step makes good again.

        Args:
            sign: where it was seen and by what, in words.
        """
        rate = self._settings.learning_rate
        return StageFailure(
            f"Training diverged {sign}.",
            safe="Every earlier result is kept.",
            next_step=f"Lower finetune.learning_rate (now {rate:g}): run the same command again "
            f"with --set finetune.learning_rate={rate / 10:g}. That is another result, which "
            "begins at the first step.",
        )

    def _precision(self) -> torch.autocast:
        device = self.encoder.device.type
        # Lanes would share the cache, and one with a graph be given what one without it cast.
        cached = device == "cuda"
        return torch.autocast(
            device, dtype=torch.bfloat16, enabled=self._bf16, cache_enabled=cached
        )

    def _gradients(self, lesson: _Lesson, budget: Budget) -> tuple[float, float, dict[str, float]]:
        """Loss, the gradient's norm before clipping, and the loss's parts."""
        objective = self._objective.of(lesson.batch, self.encoder.device)
        found: list[LossParts] = []

        def loss_of(vectors: torch.Tensor) -> torch.Tensor:
            found.append(objective(vectors))
            return found[-1].total

        self.encoder.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        model = self.encoder.model
        loss = backward(self.forward, lesson.texts, loss_of, budget, model)
        others: dict[str, float] = {}
        for task in lesson.tasks:
            its_loss = backward(self.forward, task.texts, task.loss_of, budget, model)
            loss = loss + its_loss
            others[task.name] = others.get(task.name, 0.0) + float(its_loss)
        limit = self._settings.gradient_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.encoder.model.parameters(), limit)
        parts = {name: float(value) for name, value in found[-1].parts.items()} | others
        return float(loss), float(norm), parts

    def _measure(self) -> Budget:
        """What fits into memory, by a pass over the longest passages."""
        longest, count = self._data.passages.longest, self._settings.micro_batch_size
        return fitting_budget(self.encoder, self.forward, self._precision(), longest, count)

    def _require_finite(self, number: int, loss: float, norm: float) -> None:
        if torch.isfinite(torch.tensor([loss, norm])).all():
            return
        raise self.diverged(f"at step {number + 1}: the loss is {loss}, the gradient's norm {norm}")


def make_optimizer(model: torch.nn.Module, settings: FinetuneSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) with torch's betas and epsilon, the published ones.

    Biases and the scales of norms, which are all that has one axis, don't decay.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: Sequence[dict[str, object]] = [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, fused=True
    )
