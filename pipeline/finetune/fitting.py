"""As much of a step at once as memory holds: measured at first, halved where it turns out full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from pipeline.encoder import Encoder
from pipeline.finetune.gradients import Budget, measured_budget
from pipeline.finetune.passes import Forward, Tokens
from pipeline.finetune.randomness import TorchState
from pipeline.memory import is_out_of_memory, one_text_too_long

_HALVINGS_MAX = 40
"""More than from all of a large GPU's memory down to one token."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Fit(Generic[Result]):
    """What was computed, and how.

    Attributes:
        result: what `compute` returned.
        budget: that it was computed with, and what follows is to be.
        halvings: how often the memory was full before, and all was begun again with half.
    """

    result: Result
    budget: Budget
    halvings: int


def compute_fitting(
    compute: Callable[[Budget], Result],
    budget: Budget,
    batches: Sequence[Sequence[int]],
    model: torch.nn.Module,
) -> Fit[Result]:
    """Gradients with as much at once as fits: of what memory doesn't hold, half.

    Args:
        compute: adds gradients to the model's parameters, of which none were there before; draws
            random numbers from torch alone.
        budget: what to begin with.
        batches: tokens of each text that `compute` embeds, by batch.
        model: in training.

    Raises:
        StageFailure: the memory doesn't hold one text alone.
    """
    before, device = TorchState.now(), next(model.parameters()).device
    for halvings in range(_HALVINGS_MAX):
        try:
            return Fit(compute(budget), budget, halvings)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: the error holds the pass's tensors.
        smaller = budget.halved(*batches)
        if smaller is None:
            break
        budget = smaller
        before.restore()
        model.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    raise one_text_too_long(device.type, max(max(lengths) for lengths in batches))


def fitting_budget(
    encoder: Encoder,
    forward: Forward,
    precision: AbstractContextManager[object],
    longest: Callable[[int], Tokens],
    count: int,
) -> Budget:
    """What fits into memory, by a pass in training over the longest texts.

    Args:
        encoder: what `forward` runs.
        forward: token ids to vectors.
        precision: the region that `forward` computes in; it says whether texts are packed.
        longest: so many of the longest texts, or all where there are fewer.
        count: `finetune.micro_batch_size`.
    """
    encoder.model.train()
    with precision:
        padded = not encoder.packs
    return measured_budget(forward, longest, count, encoder.model, padded)
