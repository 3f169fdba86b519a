"""Where each key of an embedding space lies, without reading the space.

The index is one file beside the segments: which segments were checked against their names, with
size and time of change, and every key with its segment and row. A segment that is new or has
changed since is checked again, so a torn one never counts; a torn index is made anew. Any number
of processes may write it: the last one stands, and what it doesn't know is checked once more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.cache_files import INDEX, SEGMENTS
from pipeline.files import digest_bytes, digest_file, replacing

KEY_BYTES = 32

_ENTRY = np.dtype([("key", f"S{KEY_BYTES}"), ("segment", "<i4"), ("row", "<i4")])

Entries = NDArray[np.void]
Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds: as git tells whether a file is the same."""


@dataclass(frozen=True)
class Index:
    """What is known of the segments of a space.

    Attributes:
        segments: their stamps by name, those that are damaged included.
        entries: one a key and segment, sorted by key; `segment` counts the segments.
    """

    segments: Mapping[str, Stamp]
    entries: Entries

    def find(self, keys: Sequence[bytes]) -> tuple[NDArray[np.int64], Entries]:
        """The places in `keys` that are there, and where each of them lies."""
        wanted = np.frombuffer(b"".join(keys), dtype=f"S{KEY_BYTES}")
        places = np.searchsorted(self.entries["key"], wanted)
        there = places < len(self.entries)
        there[there] = self.entries["key"][places[there]] == wanted[there]
        return np.flatnonzero(there), self.entries[places[there]]


def read_index(folder: Path, row: np.dtype[np.void]) -> Index:
    """The index of a space as its segments are now; it is written where it was out of date.

    Args:
        folder: the space.
        row: what a segment's rows look like.

    Raises:
        OSError: the disk is full.
    """
    stamps = ((path.stem, _stamp(path)) for path in sorted(folder.glob(SEGMENTS)))
    now = {name: stamp for name, stamp in stamps if stamp}
    known = _load(folder / INDEX)
    if known.segments == now:
        return known
    same = {name for name, stamp in now.items() if known.segments.get(name) == stamp}
    number = {name: place for place, name in enumerate(now)}
    moved = np.array([number.get(n, -1) if n in same else -1 for n in known.segments], np.int32)
    kept = known.entries.copy()
    if len(kept):
        kept["segment"] = moved[kept["segment"]]
    parts = [kept[kept["segment"] >= 0]]
    for name in now:
        if name not in same:
            parts.append(_entries(folder / f"{name}.npy", number[name], row))
    entries = np.concatenate(parts)
    index = Index(now, entries[np.lexsort((entries["segment"], entries["key"]))])
    _save(folder / INDEX, index)
    return index


def open_segment(path: Path) -> NDArray[np.void]:
    """A segment's rows, memory-mapped.

    Raises:
        FileNotFoundError: the cache was emptied meanwhile.
    """
    rows: NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:  # the cache was emptied meanwhile
        return None
    return status.st_size, status.st_mtime_ns


def _entries(path: Path, segment: int, row: np.dtype[np.void]) -> Entries:
    """The keys of a segment; none where it doesn't match its name."""
    try:
        if digest_file(path) != path.stem:
            return np.zeros(0, _ENTRY)
        rows = open_segment(path)
    except FileNotFoundError:
        return np.zeros(0, _ENTRY)
    if rows.dtype != row:
        return np.zeros(0, _ENTRY)
    entries = np.zeros(len(rows), _ENTRY)
    entries["key"] = np.ascontiguousarray(rows["key"]).view(f"S{KEY_BYTES}")[:, 0]
    entries["segment"] = segment
    entries["row"] = np.arange(len(rows))
    return entries


def _load(path: Path) -> Index:
    """What an index file says; nothing where it is torn or not there."""
    nothing = Index({}, np.zeros(0, _ENTRY))
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return nothing
    head, _, table = content.partition(b"\n")
    try:
        said = json.loads(head)
    except ValueError:
        return nothing
    if not isinstance(said, dict) or said.get("digest") != digest_bytes(table):
        return nothing
    segments = {str(name): (int(size), int(time)) for name, size, time in said["segments"]}
    return Index(segments, np.frombuffer(table, dtype=_ENTRY))


def _save(path: Path, index: Index) -> None:
    table = index.entries.tobytes()
    segments = [[name, *stamp] for name, stamp in index.segments.items()]
    head = json.dumps({"digest": digest_bytes(table), "segments": segments})
    with replacing(path) as temporary:
        temporary.write_bytes(head.encode() + b"\n" + table)
