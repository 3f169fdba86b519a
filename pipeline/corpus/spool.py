"""A spool: what is needed again but need not stay in memory, on the disk without a name."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Place:
    """Where something lies in a spool.

    Attributes:
        start: its first byte.
        size: in bytes.
    """

    start: int
    size: int


class Spool:
    """Bytes that are written once and read by place; gone with the spool, also after a crash.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Open a spool in `folder`, or where temporary files lie."""
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._end = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def put(self, content: bytes) -> Place:
        """Add content; returns where it lies."""
        place = Place(self._end, len(content))
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._end += place.size
        return place

    def get(self, place: Place, start: int = 0, size: int | None = None) -> bytes:
        """Content again, or at most `size` bytes of it from its byte `start` on."""
        left = max(0, place.size - start)
        most = left if size is None else min(size, left)
        return os.pread(self._file.fileno(), most, place.start + start)
