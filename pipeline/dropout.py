"""Dropout whose random numbers are cheap on a CPU.

torch draws one number of its sequential generator for every element: a seventh of a training step.
Here it draws one seed a call, and NumPy's SFC64 makes the noise of four elements of each of its
64-bit words. No tensor of booleans is made: torch computes those one by one, numbers in vectors.
What is saved and restored is torch's generator alone, so a stopped training goes on bit for bit.
Passes that are computed side by side draw theirs each from a seed of its own, whoever comes first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_STEPS = 1 << 16
"""Chances that 16 bits of noise tell apart: a probability is met to within 1 / 131072."""


class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout`, with `draw_noise` on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  (its name in torch)
        """Zeros for a share p of the elements, the others divided by 1 - p."""
        if self.p == 0:
            return input
        if not self.training or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        out: torch.Tensor = _Drop.apply(input, self.p)  # type: ignore[no-untyped-call]
        return out


class _Drop(torch.autograd.Function):
    """Keeps the noise alone, two bytes an element."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: float) -> torch.Tensor:
        noise = draw_noise(x.shape)
        ctx.save_for_backward(noise)
        ctx.p = p
        return drop(x, noise, p)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (noise,) = ctx.saved_tensors
        return drop(gradient, noise, ctx.p), None


class _Generators(threading.local):
    """Of this thread, inside `noise_from`."""

    own: np.random.SFC64 | None = None


_generators = _Generators()


@contextmanager
def noise_from(seed: int) -> Iterator[None]:
    """Let this thread draw all noise from a generator of its own; torch's stays where it is."""
    before, _generators.own = _generators.own, np.random.SFC64(seed)
    try:
        yield
    finally:
        _generators.own = before


def draw_seeds(count: int) -> list[int]:
    """Seeds for `noise_from`, from torch's generator."""
    seeds: list[int] = torch.randint(2**63 - 1, (count,)).tolist()
    return seeds


def draw_noise(shape: Sequence[int]) -> torch.Tensor:
    """Uniform 16-bit integers on the CPU, by one draw from torch's generator, or `noise_from`'s."""
    generator = _generators.own or np.random.SFC64(*draw_seeds(1))
    count = math.prod(shape)
    words = generator.random_raw((count + 3) // 4)
    return torch.from_numpy(words.view(np.int16))[:count].view(*shape)


def drop(x: torch.Tensor, noise: torch.Tensor, p: float) -> torch.Tensor:
    """Zero where the noise is among the lowest share p, else divided by the share that is kept."""
    return keep(x, noise, p).mul_(kept_scale(p))


def keep(x: torch.Tensor, noise: torch.Tensor, p: float) -> torch.Tensor:
    """Zero where the noise is among the lowest share p, else as it is.

    Args:
        x: of any shape.
        noise: of `draw_noise`, of the same shape; `comparable` makes it once for several calls.
        p: a probability.
    """
    lowest_kept = round(p * _STEPS) - _STEPS // 2
    if x.dtype == torch.float32:
        # ReLU's gradient: x where the noise is above. float32 holds 16 bits and a half exactly.
        kept: torch.Tensor = torch.ops.aten.threshold_backward(
            x, comparable(noise, x), lowest_kept - 0.5
        )
        return kept
    return torch.where(noise >= lowest_kept, x, 0)


def comparable(noise: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Noise as `keep` compares it beside `x`: vector units compare numbers of one type alone."""
    return noise.to(x.dtype) if x.dtype == torch.float32 else noise


def kept_scale(p: float) -> float:
    """What makes up for the elements that are zero: 1 / (1 - p), p as 16 bits give it."""
    return 1 / (1 - round(p * _STEPS) / _STEPS)


def make_cheap(model: torch.nn.Module) -> None:
    """Let every dropout of a model draw its noise here; weights and probabilities stay."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = Dropout
