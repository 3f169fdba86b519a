"""Attention over texts that lie behind one another in one row, without any padding.

Registered in transformers as an attention of our own. Given the places where texts begin, it lets
each text see itself alone: by torch's varlen kernel on a GPU, text by text on a CPU. Without them
it is transformers' own attention over padded rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pipeline.dropout import comparable, draw_noise, keep, kept_scale

NAME = "embedsmith"
"""What the attention is called in a model's configuration."""

Kernel = Callable[..., torch.Tensor]
"""(query, key, value, starts, longest, scale, causal, dropout), heads of (heads, tokens, width) in,
(heads, tokens, width) out."""

_override: Kernel | None = None


def attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scale: float,
    causal: bool,
    dropout: float,
) -> torch.Tensor:
    """FlashAttention over all texts in one launch (`torch.nn.attention.varlen`).

    It takes half precision on a GPU, and has no dropout: `packs` keeps others away.
    """
    from torch.nn.attention.varlen import varlen_attn

    assert not dropout
    # Rotary positions are computed in float32 and may have widened queries and keys.
    q, k, v = (part.transpose(0, 1).to(value.dtype) for part in (query, key, value))
    grouped: dict[str, Any] = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}
    if grouped and not _takes_groups(varlen_attn):
        grouped = {}
        k, v = (part.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for part in (k, v))
    out = varlen_attn(
        q,
        k,
        v,
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        window_size=(-1, 0) if causal else (-1, -1),
        **grouped,
    )
    assert isinstance(out, torch.Tensor)
    return out.transpose(0, 1)


@cache
def _takes_groups(kernel: Callable[..., Any]) -> bool:
    """Whether a kernel takes fewer heads of keys than of queries; torch's does since 2.12."""
    return "enable_gqa" in signature(kernel).parameters


def attend_each(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scale: float,
    causal: bool,
    dropout: float,
) -> torch.Tensor:
    """Text by text: the reference, and the fastest on a CPU: its cache holds one text's scores."""
    lengths = starts.diff().tolist()
    if dropout and not causal and query.shape[0] == key.shape[0] and query.device.type == "cpu":
        return _with_dropout(query, key, value, lengths, scale, dropout)
    outs = [
        functional.scaled_dot_product_attention(
            q[None],
            k[None],
            v[None],
            dropout_p=dropout,
            is_causal=causal,
            scale=scale,
            enable_gqa=len(q) != len(k),
        )[0]
        for q, k, v in _texts(lengths, query, key, value)
    ]
    return torch.cat(outs, dim=1)


def _with_dropout(*arguments: Any) -> torch.Tensor:
    out: torch.Tensor = _WithDropout.apply(*arguments)  # type: ignore[no-untyped-call]
    return out


class _WithDropout(torch.autograd.Function):
    """softmax(q k' * scale), dropout, times v: what sdpa computes, with cheap random numbers.

    It keeps probabilities and noise, six bytes a score; torch's own path keeps nine. What makes up
    for dropped scores is multiplied where there are fewer numbers: into the output, the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: Sequence[int],
        scale: float,
        dropout: float,
    ) -> torch.Tensor:
        query = query * scale
        out = torch.empty_like(query)
        noise = _noise(len(query), lengths)
        kept: list[torch.Tensor] = []
        for (q, k, v, o), n in zip(_texts(lengths, query, key, value, out), noise, strict=True):
            scores = torch.bmm(q, k.transpose(1, 2))
            chances = torch.softmax(scores, dim=-1, dtype=scores.dtype)
            o.copy_(torch.bmm(keep(chances, n, dropout), v))
            kept.append(chances)
        ctx.save_for_backward(query, key, value, *kept, *noise)
        ctx.lengths, ctx.scale, ctx.dropout = lengths, scale, dropout
        return out.mul_(kept_scale(dropout))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        query, key, value, *kept = ctx.saved_tensors
        count, dropout = len(ctx.lengths), ctx.dropout
        gradient = gradient * kept_scale(dropout)
        grads = [torch.empty_like(part) for part in (query, key, value)]
        texts = _texts(ctx.lengths, query, key, value, gradient, *grads)
        pairs = zip(kept[:count], kept[count:], strict=True)
        for (q, k, v, g, dq, dk, dv), (chances, noise) in zip(texts, pairs, strict=True):
            noise = comparable(noise, chances)
            dv.copy_(torch.bmm(keep(chances, noise, dropout).transpose(1, 2), g))
            toward = keep(torch.bmm(g, v.transpose(1, 2)), noise, dropout)
            scores = torch.ops.aten._softmax_backward_data(toward, chances, -1, chances.dtype)
            dq.copy_(torch.bmm(scores, k))
            dk.copy_(torch.bmm(scores.transpose(1, 2), q))
        return grads[0].mul_(ctx.scale), grads[1], grads[2], None, None, None


def _noise(heads: int, lengths: Sequence[int]) -> list[torch.Tensor]:
    """For every text's scores, (heads, tokens, tokens), by one draw for all."""
    sizes = [heads * length * length for length in lengths]
    parts = draw_noise((sum(sizes),)).split_with_sizes(sizes)
    return [part.view(heads, length, length) for part, length in zip(parts, lengths, strict=True)]


def _texts(lengths: Sequence[int], *parts: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Each text's piece of every (heads, tokens, width)."""
    return zip(*(torch.split(part, list(lengths), dim=1) for part in parts), strict=True)


def packs(device: torch.device, dropout: float) -> bool:
    """Whether a packed forward pass can run now: the one place that chooses the path.

    Args:
        device: where the model lies.
        dropout: of attention probabilities, 0 outside of training.
    """
    if _override is not None or device.type == "cpu":
        return True
    if device.type != "cuda" or dropout or not torch.is_autocast_enabled("cuda"):
        return False
    return torch.get_autocast_dtype("cuda") in (torch.bfloat16, torch.float16)


def kernel_for(device: torch.device) -> Kernel:
    """What computes packed attention there."""
    if _override is not None:
        return _override
    return attend_varlen if device.type == "cuda" else attend_each


@contextmanager
def overridden(kernel: Kernel) -> Iterator[None]:
    """Compute packed attention by `kernel` inside: for tests."""
    global _override
    before, _override = _override, kernel
    try:
        yield
    finally:
        _override = before


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface: (1, heads, tokens, width) in, (1, tokens, heads, width) out."""
    starts = others.get("cu_seq_lens_q")
    if starts is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **others
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = kernel_for(query.device)(
        query[0], key[0], value[0], starts, others["max_length_q"], scale, causal, dropout
    )
    return out.transpose(0, 1)[None], None


def _mask(*arguments: Any, **settings: Any) -> torch.Tensor | None:
    """No mask without padding: texts are told apart by where they begin."""
    if settings.get("attention_mask") is None:
        return None
    mask: torch.Tensor | None = sdpa_mask(*arguments, **settings)
    return mask


def hide_from_compilers() -> None:
    """Let torch's compilers step around this attention: it is one kernel, and texts by number.

    For all that follows in this process; what is computed stays the same.
    """
    AttentionInterface.register(NAME, torch.compiler.disable(_attention))  # type: ignore[no-untyped-call]


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)
