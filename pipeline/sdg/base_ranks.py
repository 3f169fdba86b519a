"""The base model as a retriever of questions that arrive: on a CPU in rehearsals, else on the GPU.

A gated profile is never loaded on a CPU. Its GPU is the one that the gate gave to this worker; it
is held only while something is encoded, so that other work on it doesn't wait for the endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.cache_files import EMBEDDINGS
from pipeline.context import Context
from pipeline.corpus.records import Passage
from pipeline.errors import Busy, MissingPart
from pipeline.locks import gpu_lock
from pipeline.memory import memory_failures
from pipeline.profiles import Profile
from pipeline.sdg.found import BASE
from pipeline.sdg.ranks import Load, Notice, Query, Retriever
from pipeline.weights import find_weights, weights_digest

if TYPE_CHECKING:
    from pipeline.cache import Vector
    from pipeline.encoder import Encoder

_DECIMALS = 6
"""Scores that are equal to six decimals are ties: float32 vectors carry no more."""
_UNIT_ROUNDOFF = 2.0**-24
_GPU_PAUSE_SECONDS = 10.0
"""Between two batches on a GPU, since each moves the model there and back."""
_PASSAGES = "passages encoded for ranking"


def base_of(context: Context, passages: Sequence[Passage]) -> Load | str:
    """What loads the base model, or why it can't rank here; nothing is loaded yet.

    Returns an empty reason where the recipe asks for BM25 alone.
    """
    profile = context.profile
    if context.recipe.sdg.rank_with != BASE:
        return ""
    try:
        find_weights(profile)
    except MissingPart as missing:
        return missing.happened
    device = device_for(profile, os.environ)
    if device is None:
        return f"{profile.title} needs its GPU, and this worker has none."

    def load(notice: Notice) -> Retriever:
        return _load(context, [passage.text for passage in passages], device, notice)

    return load


def device_for(profile: Profile, environment: Mapping[str, str]) -> str | None:
    """Where a profile's model may be loaded: `cpu`, the UUID of a GPU, or nowhere.

    A worker of a gated profile has in CUDA_VISIBLE_DEVICES what the gate admitted.
    """
    if not profile.gated:
        return "cpu"
    pinned = environment.get("CUDA_VISIBLE_DEVICES", "")
    return pinned if pinned.startswith(("GPU-", "MIG-")) and "," not in pinned else None


def _load(context: Context, texts: Sequence[str], device: str, notice: Notice) -> Retriever:
    """Load the model and encode the passages, those that are cached aside."""
    from pipeline.cache import encode_cached
    from pipeline.encoder import load_encoder

    kind = "cpu" if device == "cpu" else "cuda"
    notice(0, len(texts), _PASSAGES)
    folder = find_weights(context.profile).folder
    digest = weights_digest(context.profile, context.cache)
    with _held(device, notice), memory_failures(context.recipe, kind, "encoder.batch_size"):
        encoder = load_encoder(folder, context.profile, context.recipe.encoder, kind)
        vectors = encode_cached(
            encoder,
            texts,
            "passage",
            digest,
            context.cache,
            lambda done, total: notice(done, total, _PASSAGES),
        )
        _place(encoder, "cpu")
    return BaseRetriever(context, encoder, vectors, digest, device, notice)


class BaseRetriever:
    """Exact search by inner product over vectors of all passages."""

    def __init__(
        self,
        context: Context,
        encoder: Encoder,
        vectors: Vector,
        digest: str,
        device: str,
        notice: Notice,
    ) -> None:
        self._context = context
        self._encoder = encoder
        self._pool = Pool(vectors)
        self._digest = digest
        self._device = device
        self._notice = notice
        self._questions: dict[str, Vector] = {}
        self.pause = 0.0 if device == "cpu" else _GPU_PAUSE_SECONDS

    def ranks(self, queries: Sequence[Query]) -> list[int]:
        """See `pipeline.sdg.ranks.Retriever.ranks`."""
        encoded = self._encode([query.question for query in queries])
        return [
            self._pool.rank(vector, query.evidence)
            for vector, query in zip(encoded, queries, strict=True)
        ]

    def close(self) -> None:
        """Keep the questions' vectors for `prep`, in one piece."""
        from pipeline.cache import EmbeddingCache, space_of, text_key

        space = space_of(self._encoder, "query", self._digest)
        folder = self._context.cache / EMBEDDINGS / space
        cache = EmbeddingCache(folder, self._encoder.dimension)
        keys = {text_key(text): text for text in self._questions}
        fresh = keys.keys() - cache.find(keys).keys()
        if fresh:
            cache.add({key: self._questions[text] for key, text in keys.items() if key in fresh})

    def _encode(self, questions: Sequence[str]) -> list[Vector]:
        new = [text for text in dict.fromkeys(questions) if text not in self._questions]
        kind = "cpu" if self._device == "cpu" else "cuda"
        out_of_memory = memory_failures(self._context.recipe, kind, "encoder.batch_size")
        with _held(self._device, self._notice), out_of_memory:
            _place(self._encoder, kind)
            # One by one on a GPU, where a vector depends a little on what shares its batch.
            parts = [new] if kind == "cpu" else [[text] for text in new]
            for part in parts:
                encoded = self._encoder.encode(part, "query")
                self._questions |= dict(zip(part, encoded, strict=True))
            _place(self._encoder, "cpu")
        return [self._questions[text] for text in questions]


class Pool:
    """Vectors of passages, (passages, dimension) float32, among which evidence has its place."""

    def __init__(self, vectors: Vector) -> None:
        self._vectors = vectors
        squares = np.einsum("ij,ij->i", vectors, vectors)
        self._longest = float(np.sqrt(squares.max(initial=0.0)))

    def rank(self, query: Vector, evidence: Sequence[int]) -> int:
        """The place of the worst evidence, from 1; see `pipeline.sdg.ranks.Retriever.ranks`.

        Scores are inner products in float64, rounded to six decimals. Most rows are told apart by
        float32 products already, which err by at most about n u |q| |p| (Higham, Accuracy and
        Stability of Numerical Algorithms, section 3.1); only those nearer are computed again.

        Args:
            query: (dimension,).
            evidence: rows of the passages.
        """
        rows = sorted(set(evidence))
        worst = float(_exact(query, self._vectors[rows]).min())
        rough = self._vectors @ query
        error = 1.01 * len(query) * _UNIT_ROUNDOFF * float(np.linalg.norm(query)) * self._longest
        margin = error + 10.0**-_DECIMALS
        ahead = rough > worst + margin
        near = np.flatnonzero(np.abs(rough - worst) <= margin)
        ahead[near] = _exact(query, self._vectors[near]) > worst
        ahead[rows] = False
        return int(ahead.sum()) + 1


def _exact(query: Vector, rows: Vector) -> npt.NDArray[np.float64]:
    products = rows.astype(np.float64) * query.astype(np.float64)
    scores: npt.NDArray[np.float64] = products.sum(axis=1).round(_DECIMALS)
    return scores


def _held(device: str, notice: Notice) -> AbstractContextManager[None]:
    return nullcontext() if device == "cpu" else _holding(device, notice)


@contextmanager
def _holding(uuid: str, notice: Notice) -> Iterator[None]:
    """Hold the GPU, waiting for others that do."""
    lock = gpu_lock(uuid)
    while True:
        try:
            lock.take()
            break
        except Busy:
            notice(0, 0, "waiting for the GPU, to rank")
    try:
        yield
    finally:
        lock.release()


def _place(encoder: Encoder, device: str) -> None:
    """Bring the model to where it computes, or away from there."""
    import torch

    if encoder.device.type == "cuda":
        torch.nn.Module.to(encoder.model, torch.device(device))
        # What is cached for it would be missing elsewhere.
        torch.cuda.empty_cache()
