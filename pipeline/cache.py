"""Embeddings by content: what was encoded once by the same rule is never encoded again.

A space is one rule (weights, prefix, token limit, dimension, pooling, kind of device); it is a
folder, and in it lie segments: files of keys and vectors, each named by the hash of its bytes.
A segment that is torn or damaged doesn't match its name and counts as not there. Writers never
touch each other's segments, so any number of processes may share a cache, and nothing of a space is
pruned while one of them uses it (`pipeline.cache_files`). An index tells where a key lies
(`pipeline.cache_index`), and vectors are read from there alone: a million cost as many reads as are
asked for, and no more memory than they take.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.cache_files import EMBEDDINGS, in_use, mark_used
from pipeline.cache_index import open_segment, read_index
from pipeline.encoder import Encoder, Kind
from pipeline.files import digest_bytes, digest_value, replacing

FORMAT = 1
"""Version of the segments; part of the space, so another version starts anew."""

SEGMENT_TEXTS = 512
"""Vectors a segment: what a kill costs at most, half a minute of a CPU's work."""

RESIDENT_BYTES = 4 * 2**30
"""More vectors than these are held in a memory-mapped file: a million of 2,048 numbers are 8.4 GB,
and a host of 24 GB has the model, the texts and the scores to hold, too. Ours."""

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
    """One space on the disk.

    Attributes:
        folder: where.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self.folder = folder
        self._row = np.dtype([("key", "u1", (32,)), ("vector", "<f4", (dimension,))])

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there, (dimension,) float32 each, by key."""
        wanted = list(dict.fromkeys(keys))
        vectors = np.zeros((len(wanted), self._row["vector"].shape[0]), dtype=np.float32)
        return {wanted[place]: vectors[place] for place in self.fill(wanted, vectors).tolist()}

    def fill(self, keys: Sequence[bytes], vectors: Vector) -> NDArray[np.int64]:
        """Put the vectors that are there into their rows; returns the numbers of those rows.

        Args:
            keys: (n) any, repeated ones too.
            vectors: (n, dimension); other rows stay as they are.
        """
        if not keys:
            return np.zeros(0, dtype=np.int64)
        with in_use(self.folder):
            return self._fill(keys, vectors)

    def _fill(self, keys: Sequence[bytes], vectors: Vector) -> NDArray[np.int64]:
        index = read_index(self.folder, self._row)
        names = list(index.segments)
        places, entries = index.find(keys)
        filled = [np.zeros(0, dtype=np.int64)]
        order = np.argsort(entries["segment"], kind="stable")
        ends = np.flatnonzero(np.diff(entries["segment"][order])) + 1
        for part in np.split(order, ends) if len(order) else ():
            name = names[entries["segment"][part[0]]]
            path = self.folder / f"{name}.npy"
            try:
                rows = open_segment(path)
            except FileNotFoundError:  # the cache was emptied meanwhile
                continue
            vectors[places[part]] = rows["vector"][entries["row"][part]]
            mark_used(path, changed=index.segments[name][1])
            filled.append(places[part])
        return np.sort(np.concatenate(filled))

    def settle(self) -> None:
        """Bring the index up to date, so that the next reader has nothing to check."""
        read_index(self.folder, self._row)

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
        path = self.folder / f"{digest_bytes(content)}.npy"
        with in_use(self.folder), replacing(path) as temporary:
            temporary.write_bytes(content)


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
    folder = cache_folder / EMBEDDINGS / space
    cache = EmbeddingCache(folder, encoder.dimension)
    keys = [text_key(text) for text in texts]
    vectors = _room(len(texts), encoder.dimension, cache_folder)

    def encode(places: Sequence[int], done: int, total: int) -> Vector:
        report = _shifted(on_batch, done, total)
        return encoder.encode([texts[place] for place in places], kind, report)

    fill_missing(cache, keys, vectors, encode)
    return vectors


def fill_missing(
    cache: EmbeddingCache,
    keys: Sequence[bytes],
    vectors: Vector,
    compute: Callable[[Sequence[int], int, int], Vector],
    weight: Callable[[int], int] | None = None,
) -> None:
    """Put the vectors of all keys into their rows; those that aren't there are computed and added.

    Args:
        cache: where they may be, and where new ones go, segment by segment.
        keys: (n) any, repeated ones are computed once.
        vectors: (n, dimension), overwritten.
        compute: the vectors of the rows given, having done so many of so many rows before.
        weight: of a row; the heaviest are computed first, without it in the order given.

    Raises:
        OSError: the disk is full.
    """
    with in_use(cache.folder):
        _fill_missing(cache, keys, vectors, compute, weight)


def _fill_missing(
    cache: EmbeddingCache,
    keys: Sequence[bytes],
    vectors: Vector,
    compute: Callable[[Sequence[int], int, int], Vector],
    weight: Callable[[int], int] | None,
) -> None:
    missing = np.ones(len(keys), dtype=bool)
    missing[cache.fill(keys, vectors)] = False
    places: dict[bytes, list[int]] = {}
    for place in np.flatnonzero(missing).tolist():
        places.setdefault(keys[place], []).append(place)
    groups = list(places.values())
    if weight is not None:
        groups.sort(key=lambda group: -weight(group[0]))
    for start in range(0, len(groups), SEGMENT_TEXTS):
        some = groups[start : start + SEGMENT_TEXTS]
        fresh = compute([group[0] for group in some], start, len(groups))
        cache.add({keys[group[0]]: vector for group, vector in zip(some, fresh, strict=True)})
        for group, vector in zip(some, fresh, strict=True):
            vectors[group] = vector
    if groups:
        cache.settle()


def _room(count: int, dimension: int, folder: Path) -> Vector:
    """Zeros, (count, dimension): in memory, or where that would take too much in a file without a
    name, which is gone with the process and which the system may keep in memory or not."""
    size = 4 * count * dimension
    if size <= RESIDENT_BYTES:
        return np.zeros((count, dimension), dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.truncate(size)
        if sys.platform == "linux":
            # A full disk is an error here, and a crash if it were noticed later.
            os.posix_fallocate(stream.fileno(), 0, size)
        return np.memmap(stream, dtype=np.float32, mode="r+", shape=(count, dimension))


def _shifted(
    on_batch: Callable[[int, int], None] | None, start: int, total: int
) -> Callable[[int, int], None] | None:
    if on_batch is None:
        return None
    return lambda done, _: on_batch(start + done, total)
