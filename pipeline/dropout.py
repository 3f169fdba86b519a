"""Dropout whose random numbers are cheap on a CPU.

torch draws one number of its sequential generator for every element: a seventh of a training step.
Here it draws one seed a call, and NumPy's SFC64 makes four masks of each of its 64-bit words.
What is saved and restored is torch's generator alone, so a stopped training goes on bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

_STEPS = 1 << 16
"""Chances that a mask's 16 bits tell apart: a probability is met to within 1 / 131072."""


class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout`, with `keep_mask` on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  (its name in torch)
        """Zeros for a share p of the elements, the others divided by 1 - p."""
        if self.p == 0:
            return input
        if not self.training or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        out: torch.Tensor = _Drop.apply(input, self.p)  # type: ignore[no-untyped-call]
        return out


class _Drop(torch.autograd.Function):
    """Keeps the mask alone, a byte an element."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: float) -> torch.Tensor:
        mask = keep_mask(x.shape, p)
        ctx.save_for_backward(mask)
        ctx.p = p
        return drop(x, mask, p)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        return drop(gradient, mask, ctx.p), None


def keep_mask(shape: Sequence[int], p: float) -> torch.Tensor:
    """Booleans on the CPU, each false with probability p; one draw from torch's generator."""
    seed = int(torch.randint(2**63 - 1, ()))
    count = math.prod(shape)
    words = np.random.SFC64(seed).random_raw((count + 3) // 4)
    chances = torch.from_numpy(words.view(np.int16))[:count].view(*shape)
    return chances >= round(p * _STEPS) - _STEPS // 2


def drop(x: torch.Tensor, mask: torch.Tensor, p: float) -> torch.Tensor:
    """What `mask` keeps, divided by the share that it keeps on average."""
    scale = 1 / (1 - round(p * _STEPS) / _STEPS)
    out: torch.Tensor = torch.ops.aten.native_dropout_backward(x, mask, scale)
    return out


def make_cheap(model: torch.nn.Module) -> None:
    """Let every dropout of a model draw its masks here; weights and probabilities stay."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = Dropout
