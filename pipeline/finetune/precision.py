"""Whether training computes its matrix products in bfloat16 on this CPU: asked, then measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from pipeline.finetune.randomness import TorchState

_PAYS = 1.15
"""So many times faster, or it isn't worth the lost bits."""

_ROUNDS = 3


def computes_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AMX or AVX-512 BF16).

    Others convert to float32 and back, which is slower than float32 itself.
    """
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def pays_in_bf16(
    forward: Callable[[Sequence[Sequence[int]]], torch.Tensor],
    sample: Sequence[Sequence[int]],
    model: torch.nn.Module,
    supported: Callable[[], bool] = computes_bf16,
) -> bool:
    """Whether a training pass over `sample` is clearly faster in bfloat16 than in float32.

    Leaves gradients and random numbers as they were.
    """
    if not supported():
        return False
    state, training = TorchState.now(), model.training
    model.train()
    seconds = {True: float("inf"), False: float("inf")}
    for _ in range(_ROUNDS):
        for bf16 in seconds:
            began = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                vectors = forward(sample)
            parameters = [p for p in model.parameters() if p.requires_grad]
            torch.autograd.grad(vectors.sum(), parameters, allow_unused=True)
            seconds[bf16] = min(seconds[bf16], time.perf_counter() - began)
    model.train(training)
    state.restore()
    return seconds[False] >= _PAYS * seconds[True]
