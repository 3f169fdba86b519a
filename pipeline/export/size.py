"""How large the graphs of a model will be, from the headers of its weights. Nothing is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import BadInput

BYTES_A_NUMBER: Mapping[str, int] = {"fp32": 4, "fp16": 2}
"""Of a graph's weights; its operations add some hundred KB."""

_HEADER_BYTES_MAX = 100_000_000
"""The format's own limit."""


def graph_sizes(model: Path) -> Mapping[str, int]:
    """Bytes of the graph of each precision, about.

    Args:
        model: the folder of the fine-tuned model.

    Raises:
        BadInput: it has no weights, or they are damaged.
        OSError: they can't be read.
    """
    numbers = sum(sum(_counts(path)) for path in model.rglob("*.safetensors"))
    if not numbers:
        raise _unusable(model, "has no weights")
    return {dtype: numbers * size for dtype, size in BYTES_A_NUMBER.items()}


def _counts(path: Path) -> Iterator[int]:
    """How many numbers each tensor has: eight bytes of length, then JSON with the shapes."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length <= _HEADER_BYTES_MAX else b""
    try:
        tensors = json.loads(header)
        shapes = [each["shape"] for name, each in tensors.items() if name != "__metadata__"]
    except (ValueError, AttributeError, KeyError, TypeError):
        raise _unusable(path, "is damaged") from None
    return (math.prod(shape) for shape in shapes)


def _unusable(path: Path, what: str) -> BadInput:
    return BadInput(
        f"{path} {what}.",
        safe="Nothing was changed.",
        next_step="Train the model again: `embedsmith finetune RUN`.",
    )
