"""How well a training step uses its machine: the work it needs, against the measured peak."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

_PEAK_SIZE = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices that the peak is measured with."""

_PEAK_ROUNDS = 5


@dataclass(frozen=True)
class Shape:
    """What the work of a model depends on.

    Attributes:
        trained: weights of its linear layers that get a gradient.
        frozen: those that don't.
        attention: layers times width of all query heads.
    """

    trained: int
    frozen: int
    attention: int

    @classmethod
    def of(cls, model: torch.nn.Module) -> Shape:
        """Counted from a transformer's modules; embeddings are looked up, a pooler is unused."""
        trained = frozen = 0
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and "pooler" not in name:
                weight = module.weight
                trained += weight.numel() if weight.requires_grad else 0
                frozen += 0 if weight.requires_grad else weight.numel()
        config: Any = model.config
        heads = int(getattr(config, "num_attention_heads", 1))
        width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        return cls(trained, frozen, int(config.num_hidden_layers) * heads * width)


def training_flops(lengths: Sequence[int], shape: Shape) -> float:
    """Floating-point operations that one forward and backward pass needs, nothing computed twice.

    Two a weight and token for the forward pass, two for the gradient toward the input, two for
    the weight's own; twelve a pair of tokens, layer and width for attention over all of a text:
    Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways" (2022), appendix B.

    Args:
        lengths: tokens of each text.
        shape: the model's.
    """
    weights = 6 * shape.trained + 4 * shape.frozen
    pairs = sum(length * length for length in lengths)
    return float(weights * sum(lengths) + 12 * shape.attention * pairs)


def peak_flops(device: torch.device, bf16: bool) -> float:
    """Floating-point operations a second in a large matrix product, the best of a few tries.

    Of random numbers, since a GPU multiplies equal ones faster; they come from a generator of
    their own. About 0.1 s on a CPU.
    """
    size = _PEAK_SIZE["cuda" if device.type == "cuda" else "cpu"]
    random = torch.Generator().manual_seed(0)
    a = torch.randn(size, size, generator=random).to(device)
    a = a.to(torch.bfloat16 if bf16 else torch.float32)
    best = float("inf")
    for _ in range(_PEAK_ROUNDS):
        _wait(device)
        began = time.perf_counter()
        a @ a
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


def memory_bytes(device: torch.device) -> int:
    """The most memory held: on a GPU since the last call, on a CPU by this process so far."""
    if device.type == "cuda":
        held = int(torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        return held
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
