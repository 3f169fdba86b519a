"""Following a file of lines that somebody else writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SEAL = 4096
"""Bytes before the place that was read up to, by which a replaced file is told."""


@dataclass(frozen=True)
class Lines:
    """What a look at the file gave.

    Attributes:
        lines: whole lines without their ends; blank ones are there, too.
        start: offset of the first line in the file, in bytes.
        number: line number of the first line, from 1.
        restarted: the file was replaced, shortened or removed since the last look: what was
            read before no longer holds, and these lines are its first.
    """

    lines: tuple[bytes, ...]
    start: int
    number: int
    restarted: bool


class LineTail:
    """Reads a growing file from where the last look ended; a torn last line waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines = 0
        self._size = 0
        self._seal = b""
        self._looked: tuple[int, int, int] | None = None

    @property
    def remaining(self) -> int:
        """Bytes that the last look left unread."""
        return self._size - self._offset

    def read(self, max_bytes: int | None = None) -> Lines:
        """Whole lines that were not read yet; nothing while the file doesn't exist.

        Args:
            max_bytes: about how much to read; a longer line is read whole. None reads all.
        """
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return self._nothing(restarted=self._forget())
        looked = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if looked == self._looked and stat.st_size == self._offset:
            return self._nothing(restarted=False)
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset - len(self._seal))
                same = stat.st_size >= self._offset and stream.read(len(self._seal)) == self._seal
                restarted = not same and self._forget()
                stream.seek(self._offset)
                content = _whole_lines(stream.read, max_bytes)
        except FileNotFoundError:
            return self._nothing(restarted=self._forget())
        found = Lines(tuple(content.split(b"\n")[:-1]), self._offset, self._lines + 1, restarted)
        self._offset += len(content)
        self._lines += len(found.lines)
        self._size = max(stat.st_size, self._offset)
        self._seal = (self._seal + content[-_SEAL:])[-_SEAL:]
        self._looked = looked
        return found

    def _nothing(self, restarted: bool) -> Lines:
        return Lines((), self._offset, self._lines + 1, restarted)

    def _forget(self) -> bool:
        """Start over; returns whether anything had been read."""
        before = self._offset > 0
        self._offset = self._lines = self._size = 0
        self._seal, self._looked = b"", None
        return before


def _whole_lines(read: Callable[[int], bytes], max_bytes: int | None) -> bytes:
    """The next bytes up to the end of a line, at least one line where there is one."""
    content = read(-1 if max_bytes is None else max_bytes)
    while max_bytes is not None and b"\n" not in content and (more := read(max_bytes)):
        content += more
    return content[: content.rfind(b"\n") + 1]
