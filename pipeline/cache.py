"""Embeddings by content: what was encoded once by the same rule is never encoded again.

A space is one rule (weights, prefix, token limit, dimension, pooling, kind of device); it is a
folder, and in it lie segments: files of keys and vectors, each named by the hash of its bytes.
A segment that is torn or damaged doesn't match its name and counts as not there. Writers never
touch each other's segments, so any number of processes may share a cache.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.encoder import Encoder, Kind
from pipeline.files import digest_bytes, digest_value, replacing

FORMAT = 1
"""Version of the segments; part of the space, so another version starts anew."""

SEGMENT_TEXTS = 512
"""Vectors a segment: what a kill costs at most, half a minute of a CPU's work."""

Vector = NDArray[np.float32]


def space_of(encoder: Encoder, kind: Kind, weights_digest: str) -> str:
    """The rule by which texts become vectors, as 16 hexadecimal digits."""
    return digest_value(
        {
            "format": FORMAT,
            "weights": weights_digest,
            "prefix": encoder.prefix(kind),
            "tokens": encoder.tokens_max(kind),
            "dimension": encoder.dimension,
            "pooling": encoder.profile.pooling,
            "normalize": encoder.profile.normalize,
            # A GPU rounds otherwise, and results of a CPU are promised bit for bit.
            "device": encoder.device.type,
        }
    )[:16]


def text_key(text: str) -> bytes:
    """The identity of a text inside a space: 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class EmbeddingCache:
    """One space on the disk."""

    def __init__(self, folder: Path, dimension: int) -> None:
        self._folder = folder
        self._row = np.dtype([("key", "u1", (32,)), ("vector", "<f4", (dimension,))])

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there, (dimension,) float32 each, by key."""
        wanted = set(keys)
        found: dict[bytes, Vector] = {}
        for path in sorted(self._folder.glob("*.npy")):
            if len(found) == len(wanted):
                break
            rows = self._read(path)
            if rows is None:
                continue
            for key, vector in zip(rows["key"], rows["vector"], strict=True):
                if (name := key.tobytes()) in wanted:
                    found[name] = vector.copy()
        return found

    def add(self, vectors: Mapping[bytes, Vector]) -> None:
        """Write a segment.

        Raises:
            OSError: the disk is full; what was there before is untouched.
        """
        rows = np.zeros(len(vectors), dtype=self._row)
        for row, (key, vector) in zip(rows, vectors.items(), strict=True):
            row["key"] = np.frombuffer(key, dtype=np.uint8)
            row["vector"] = vector
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        content = buffer.getvalue()
        with replacing(self._folder / f"{digest_bytes(content)}.npy") as temporary:
            temporary.write_bytes(content)

    def _read(self, path: Path) -> NDArray[np.void] | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # the cache was emptied meanwhile
            return None
        if digest_bytes(content) != path.stem:
            return None
        rows: NDArray[np.void] = np.load(io.BytesIO(content), allow_pickle=False)
        return rows if rows.dtype == self._row else None


def encode_cached(
    encoder: Encoder,
    texts: Sequence[str],
    kind: Kind,
    weights_digest: str,
    cache_folder: Path,
    on_batch: Callable[[int, int], None] | None = None,
) -> Vector:
    """Vectors of texts, (n, dimension) float32, in the order given; only misses are encoded.

    Args:
        encoder: what encodes misses.
        texts: without prefix; repeated texts are encoded once.
        kind: `query` or `passage`.
        weights_digest: identity of the encoder's weights (`pipeline.weights.weights_digest` for
            a base model, a result's digest for a fine-tuned one).
        cache_folder: the machine's cache folder.
        on_batch: called with (done, total) of the misses; it may raise to stop, and segments
            finished until then are kept.

    Raises:
        StageFailure: the model gives numbers that are not finite.
        OSError: the disk is full.
    """
    space = space_of(encoder, kind, weights_digest)
    cache = EmbeddingCache(cache_folder / "embeddings" / space, encoder.dimension)
    keys = [text_key(text) for text in texts]
    found = cache.find(keys)
    misses = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
    pending = list(misses)
    for start in range(0, len(pending), SEGMENT_TEXTS):
        segment = pending[start : start + SEGMENT_TEXTS]
        fresh = encoder.encode(
            [misses[key] for key in segment], kind, _shifted(on_batch, start, len(pending))
        )
        new = dict(zip(segment, fresh, strict=True))
        cache.add(new)
        found |= new
    if not texts:
        return np.zeros((0, encoder.dimension), dtype=np.float32)
    return np.stack([found[key] for key in keys])


def _shifted(
    on_batch: Callable[[int, int], None] | None, start: int, total: int
) -> Callable[[int, int], None] | None:
    if on_batch is None:
        return None
    return lambda done, _: on_batch(start + done, total)
