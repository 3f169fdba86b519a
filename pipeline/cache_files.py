"""The files of the caches of vectors: who uses them, when each was used last, which can go.

A space is in use while somebody holds its lock, shared with others. The time of a segment's last
use is its access time, set by us, since many file systems don't; its time of change stays, by
which the index knows it. Nothing here loads numpy: the command line asks, too.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.locks import try_exclusive

EMBEDDINGS, RERANKINGS = CACHES = ("embeddings", "rerankings")
"""The folders of spaces in the machine's cache."""

KEPT_GIGABYTES = 20
"""So much of vectors `embedsmith prune` keeps, in GB of 1e9: two million of 2,048 numbers. Ours."""

SEGMENTS = "*.npy"
INDEX = "index"
_LOCK = "lock"


@dataclass(frozen=True)
class Segment:
    """A file of vectors.

    Attributes:
        path: where.
        size: bytes.
        used: when it was last used, in nanoseconds since the epoch.
    """

    path: Path
    size: int
    used: int


@dataclass(frozen=True)
class Space:
    """One rule's vectors as they lie on the disk.

    Attributes:
        folder: where.
        segments: those that are whole.
        rest: what killed writers left.
        busy: whether somebody uses the space now.
    """

    folder: Path
    segments: tuple[Segment, ...]
    rest: tuple[Segment, ...]
    busy: bool


@dataclass(frozen=True)
class Spare:
    """What of one space can go.

    Attributes:
        folder: the space.
        segments: the least recently used ones, and what killed writers left.
    """

    folder: Path
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(segment.size for segment in self.segments)

    @property
    def used(self) -> int:
        """When the last of them was used, in nanoseconds since the epoch."""
        return max(segment.used for segment in self.segments)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Nothing of a space is removed while the block runs; any number of processes may use it.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        yield


def mark_used(segment: Path, changed: int) -> None:
    """Note that a segment was used now.

    Args:
        segment: its file.
        changed: its time of change in nanoseconds since the epoch, which stays.
    """
    with suppress(OSError):  # another user's, or removed meanwhile: it was read all the same
        os.utime(segment, ns=(time.time_ns(), changed))


def read_spaces(cache: Path) -> tuple[Space, ...]:
    """The spaces of all caches, by name.

    Args:
        cache: the machine's cache folder.
    """
    folders = (folder for name in CACHES for folder in sorted((cache / name).glob("*")))
    return tuple(_read_space(folder) for folder in folders if folder.is_dir())


def beyond(spaces: Iterable[Space], most: int) -> list[Spare]:
    """What can go: the least recently used segments beyond so many bytes, of spaces not in use.

    Args:
        spaces: all of them; those in use count, too.
        most: bytes that are kept.
    """
    left = most
    old: set[Path] = set()
    newest_first = sorted(
        (segment for space in spaces for segment in space.segments),
        key=lambda segment: (-segment.used, segment.path),
    )
    for segment in newest_first:
        left -= segment.size
        if left < 0:
            old.add(segment.path)
    spares = (
        Spare(space.folder, (*(s for s in space.segments if s.path in old), *space.rest))
        for space in spaces
        if not space.busy
    )
    return [spare for spare in spares if spare.segments]


def remove_spare(spare: Spare) -> int:
    """Remove what can go, if nobody has begun to use the space; returns the bytes removed."""
    removed = 0
    with _alone(spare.folder) as alone:
        if not alone:
            return 0
        for segment in spare.segments:
            now = _look(segment.path)
            if now == segment:
                segment.path.unlink()
                removed += segment.size
        if not any(spare.folder.glob(SEGMENTS)):
            (spare.folder / INDEX).unlink(missing_ok=True)
    return removed


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody uses a space; while the block runs nobody begins to."""
    with (folder / _LOCK).open("ab") as stream:
        yield try_exclusive(stream.fileno())


def _read_space(folder: Path) -> Space:
    with _alone(folder) as alone:
        found = (_look(path) for path in sorted(folder.iterdir()))
        files = [segment for segment in found if segment]
        segments = tuple(s for s in files if s.path.match(SEGMENTS))
        rest = tuple(s for s in files if s.path.match(".*.part"))
        return Space(folder, segments, rest, not alone)


def _look(path: Path) -> Segment | None:
    try:
        status = path.stat()
    except FileNotFoundError:  # removed meanwhile
        return None
    return Segment(path, status.st_size, status.st_atime_ns)
