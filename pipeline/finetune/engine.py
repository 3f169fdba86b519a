"""One optimizer step after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.encoder import Encoder
from pipeline.errors import StageFailure
from pipeline.finetune.batches import Batch, Sampler
from pipeline.finetune.examples import TrainingSet
from pipeline.finetune.gradients import (
    Tokens,
    activation_budget,
    activation_bytes,
    backward,
)
from pipeline.finetune.losses import info_nce
from pipeline.finetune.rates import learning_rate
from pipeline.recipe import FinetuneSettings
from pipeline.schedule import Schedule


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did.

    Attributes:
        epoch: epochs finished, with a fraction.
        loss: mean over the rows.
        learning_rate: that was used.
        gradient_norm: before clipping.
        rows: examples in the batch.
        tokens: in its unique texts, without padding.
        negatives_per_query: mean over the rows, masked ones left out.
        seconds: that it took.
    """

    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    rows: int
    tokens: int
    negatives_per_query: float
    seconds: float


class Engine:
    """A model in training: batches in, better weights out.

    It holds no position: `step` is told which one to do, and everything that changes lies in
    `encoder.model`, `optimizer` and torch's random state.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingSet,
        sampler: Sampler,
        schedule: Schedule,
        settings: FinetuneSettings,
    ) -> None:
        self.encoder = encoder
        self.optimizer = make_optimizer(encoder.model, settings)
        self.schedule = schedule
        self._data = data
        self._sampler = sampler
        self._settings = settings
        self._kept_tokens = self._measure()

    def step(self, number: int) -> StepReport:
        """Do one step, from 0.

        Raises:
            StageFailure: loss or gradient is not finite; the weights are as before the step.
            torch.OutOfMemoryError: the GPU's memory is full.
        """
        started = time.perf_counter()
        batch = self._sampler.batch(number)
        texts = batch.texts(self._data)
        rate = learning_rate(number, self.schedule, self._settings)
        loss, norm = self._gradients(batch, texts)
        self._require_finite(number, loss, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        rows = len(batch.positive)
        return StepReport(
            epoch=(number + 1) / self.schedule.steps_per_epoch,
            loss=loss,
            learning_rate=rate,
            gradient_norm=norm,
            rows=rows,
            tokens=sum(map(len, texts)),
            negatives_per_query=batch.negatives / rows,
            seconds=time.perf_counter() - started,
        )

    def forward(self, texts: Tokens) -> torch.Tensor:
        """Vectors of token ids in training precision.

        bf16 over fp32 weights on a GPU: bf16 weights would lose small updates. The region is one
        forward pass, or its cache would hand weights cast without a graph to the next.
        """
        device = self.encoder.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            return self.encoder.forward(texts)

    def _gradients(self, batch: Batch, texts: Tokens) -> tuple[float, float]:
        device = self.encoder.device
        rows, positive = batch.row_query.to(device), batch.positive.to(device)
        allowed = batch.allowed.to(device)

        def loss_of(vectors: torch.Tensor) -> torch.Tensor:
            queries = vectors[: len(batch.queries)][rows]
            passages = vectors[len(batch.queries) :]
            similarity = queries @ passages.T
            return info_nce(similarity, positive, allowed, self._settings.temperature)

        self.encoder.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        size = self._settings.micro_batch_size
        loss = backward(self.forward, texts, loss_of, size, self._kept_tokens)
        limit = self._settings.gradient_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.encoder.model.parameters(), limit)
        return float(loss), float(norm)

    def _measure(self) -> int:
        """Tokens whose activations fit into memory, by the longest passages."""
        longest = sorted(range(len(self._data.passages)), key=self._data.passages.length)
        sample = [self._data.passages[text] for text in longest[-self._settings.micro_batch_size :]]
        parameters = list(self.encoder.model.parameters())
        self.encoder.model.train()
        held = activation_bytes(self.forward, sample, parameters)
        padded = len(sample) * max(map(len, sample))
        return activation_budget(self.encoder.device) * padded // max(1, held)

    def _require_finite(self, number: int, loss: float, norm: float) -> None:
        if torch.isfinite(torch.tensor([loss, norm])).all():
            return
        raise StageFailure(
            f"Training diverged at step {number + 1}: the loss is {loss}, the gradient's norm "
            f"{norm}.",
            safe="The checkpoint before it and every earlier result are kept.",
            next_step=f"Lower finetune.learning_rate (now {self._settings.learning_rate:g}) and "
            "run the same command again.",
        )


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
