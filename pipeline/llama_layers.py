"""What a Llama's layers compute between their products, in fewer bytes than transformers does.

A GPU that trains in bfloat16 over float32 weights waits for memory between the products. By
transformers' formula a square, a scaled form, the norm in float32 and a copy in bfloat16 for each
linear layer behind it are written one after the other, and most of them are kept for the backward
pass; queries and keys are widened by their positions, turned in float32, and narrowed again by the
attention. Counted from what each operation reads and writes, and not measured: more than a third of
the bytes that a layer of the default model moves beside its products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

_MODELS = {
    "transformers.models.llama.modeling_llama": "Llama",
    "transformers.models.ministral3.modeling_ministral3": "Ministral3",
}
"""Modules and how their classes begin: those whose norm's formula is torch's, feeds linear layers
within a layer, and whose positions are one cosine and one sine for queries and keys."""


class FusedNorm(torch.nn.Module):
    """RMSNorm (Zhang and Sennrich, 2019), in the precision in which the next product reads it."""

    weight: torch.nn.Parameter
    variance_epsilon: float

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., width) in, (..., width) out."""
        shape = (hidden.shape[-1],)
        return _narrowed(functional.rms_norm(hidden, shape, self.weight, self.variance_epsilon))


def lighten(model: torch.nn.Module) -> None:
    """Fuse the norms of a Llama's layers and narrow its positions; other models stay as they are.

    In place; names and weights stay. Without autocast the numbers are those of transformers. The
    last norm stays too: its states are pooled, in float32.
    """
    for layers in model.modules():
        if isinstance(layers, torch.nn.ModuleList):
            for norm in (norm for layer in layers for norm in layer.children()):
                if _is(norm, "RMSNorm"):
                    norm.__class__ = FusedNorm
        elif _is(layers, "RotaryEmbedding"):
            # A model that is held in bfloat16 as a whole turns queries and keys in it, too.
            layers.register_forward_hook(_narrow_turns)


def _is(module: torch.nn.Module, what: str) -> bool:
    kind = type(module)
    begins = _MODELS.get(kind.__module__)
    return begins is not None and kind.__qualname__ == begins + what


def _narrow_turns(
    module: torch.nn.Module, given: Any, turns: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = turns
    return _narrowed(cos), _narrowed(sin)


def _narrowed(tensor: torch.Tensor) -> torch.Tensor:
    """In autocast's precision; as it is outside of a region."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))
