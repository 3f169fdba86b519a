"""Texts behind one another in one row: a forward pass that computes no padding.

Whether a model can be run so is found by running it so: packed and padded states must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from pipeline import attention
from pipeline.memory import is_out_of_memory

PROBE = ((5, 9, 7), (3, 2, 11, 8, 4, 6, 10), (6,), (9, 5, 4, 12))
"""Token ids of the texts that a model is checked with; every vocabulary has them."""

_AGREES = 1e-4
"""Of the largest state: float32 sums in another order differ by less, a wrong neighbour by more."""

AGREES_IN_BF16 = 0.1
"""The same for a GPU's kernels: bfloat16 has 8 bits, and errors add up over the layers."""

_NOT_PACKABLE = (
    *(TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError),
    *(AssertionError, ImportError),
)
"""What models and kernels raise for arguments that they don't take, or are missing."""


@dataclass(frozen=True)
class Packed:
    """Tokenised texts in one row.

    Attributes:
        tokens: (1, tokens).
        positions: (1, tokens), from the model's first position in every text.
        starts: (texts + 1,) int32: where each text begins, and the end of the last.
        longest: tokens of the longest text.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor
    longest: int

    @classmethod
    def of(cls, token_ids: Sequence[Sequence[int]], first: int, device: torch.device) -> Packed:
        """Pack texts, none of them empty; `first` is the position of a text's first token."""
        lengths = torch.tensor([len(ids) for ids in token_ids])
        starts = torch.zeros(len(token_ids) + 1, dtype=torch.int32)
        starts[1:] = lengths.cumsum(0)
        positions = torch.cat([torch.arange(first, first + len(ids)) for ids in token_ids])
        return cls(
            placed(torch.tensor([[token for ids in token_ids for token in ids]]), device),
            placed(positions[None], device),
            placed(starts, device),
            int(lengths.max()),
        )

    def states(self, model: torch.nn.Module) -> torch.Tensor:
        """The model's last hidden states, (tokens, width)."""
        hidden: torch.Tensor = model(
            input_ids=self.tokens,
            position_ids=self.positions,
            cu_seq_lens_q=self.starts,
            cu_seq_lens_k=self.starts,
            max_length_q=self.longest,
            max_length_k=self.longest,
        ).last_hidden_state
        return hidden[0]

    def pool(self, hidden: torch.Tensor, pooling: str) -> torch.Tensor:
        """One vector a text, (texts, width), from (tokens, width); see `pipeline.encoder.pool`."""
        if pooling == "cls":
            return hidden[self.starts[:-1]]
        if pooling == "last":
            return hidden[self.starts[1:] - 1]
        lengths = self.starts.diff()
        text = torch.repeat_interleave(lengths, output_size=len(hidden))
        sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, text, hidden)
        return sums / lengths[:, None].to(hidden.dtype)


def placed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device, without waiting for what the device still has to do.

    A plain copy to a GPU waits, and the GPU has nothing to do while the next pass is prepared.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def first_position(model: PreTrainedModel, tokens_max: int) -> int | None:
    """Let a model compute packed texts; the position of a text's first token, or None if it can't.

    Models count positions from 0, or, as RoBERTa does, from behind the padding token's id.

    Args:
        model: its attention becomes ours where that works, and stays as it is otherwise.
        tokens_max: the longest text that will be given.

    Raises:
        RuntimeError, MemoryError: memory is full, or the GPU failed: that says nothing about the
            model, whose attention is as it was.
    """
    config = model.config
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if any(window is not None and window < tokens_max for window in windows):
        return None  # the probe's texts are shorter than a window, and would not show it
    before = config._attn_implementation
    training = model.training
    model.train(False)
    found: int | None = None
    try:
        with torch.inference_mode():
            padded = _padded_probe(model)
            model.set_attn_implementation(attention.NAME)
            places = sorted({0, 1 + (getattr(config, "pad_token_id", None) or 0)})
            found = next((first for first in places if _agrees(model, padded, first)), None)
    except _NOT_PACKABLE as error:
        if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
            raise
    finally:
        model.train(training)
        if found is None:
            model.set_attn_implementation(before)
    return found


def is_packing(model: PreTrainedModel) -> bool:
    """Whether the model's attention is ours now; an export changes it, for one."""
    return bool(model.config._attn_implementation == attention.NAME)


def _padded_probe(model: PreTrainedModel) -> torch.Tensor:
    device = next(model.parameters()).device
    longest = max(map(len, PROBE))
    tokens = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in PROBE], device=device)
    mask = torch.tensor([[n < len(ids) for n in range(longest)] for ids in PROBE], device=device)
    hidden = model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    states: torch.Tensor = hidden[mask]
    return states


def _agrees(model: PreTrainedModel, padded: torch.Tensor, first: int) -> bool:
    probe = Packed.of(PROBE, first, padded.device)
    with attention.overridden(attention.attend_each):
        packed = probe.states(model)
    most = float(padded.abs().max())
    if float((packed - padded).abs().max()) > _AGREES * most:
        return False
    if padded.device.type != "cuda":
        return True
    with torch.autocast("cuda", dtype=torch.bfloat16):
        packed = probe.states(model).float()
    return float((packed - padded).abs().max()) <= AGREES_IN_BF16 * most
