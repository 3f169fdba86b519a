"""The exported graph, run by onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.export.records import INPUTS, OUTPUT, Manifest

BUDGET_TOKENS = {"CPUExecutionProvider": 2048, "CUDAExecutionProvider": 16384}
"""Most tokens a batch, padding included: on a CPU throughput falls from 4,096 up."""

_WARM_UP = ((1, 3), (4, 33))
"""Batches x tokens that are run before the server says that it is ready."""


class Engine:
    """One session; only one thread may use it."""

    def __init__(self, export: Path, manifest: Manifest) -> None:
        options = onnxruntime.SessionOptions()
        # Threads that wait by spinning would take the cores from tokenisation and HTTP.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(export / manifest.served), options, providers=_providers()
        )
        self._padding = manifest.padding_token
        self._longest = max(manifest.query_tokens, manifest.passage_tokens)

    @property
    def provider(self) -> str:
        """What it really runs on."""
        provider: str = self._session.get_providers()[0]
        return provider

    @property
    def budget(self) -> int:
        """Most tokens a batch, padding included."""
        return BUDGET_TOKENS[self.provider]

    def embed(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of one batch, (n, dimension) float32; padded on the right."""
        longest = max(map(len, token_ids))
        ids = np.full((len(token_ids), longest), self._padding, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        vectors: NDArray[np.float32] = self._session.run(
            [OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True))
        )[0]
        return vectors

    def warm_up(self) -> None:
        """Run small, middle and longest shapes once."""
        for rows, length in (*_WARM_UP, (1, self._longest)):
            self.embed([[self._padding] * min(length, self._longest)] * rows)


def _providers() -> list[str | tuple[str, dict[str, str]]]:
    """The GPU where there is one, and the CPU."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    if not seen or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    # TF32 has fp16's 11 bits: it would make an fp32 graph another model than the measured one.
    return [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
