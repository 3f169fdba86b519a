"""The journal: an append-only file of events that a stage writes and a screen reads.

One JSON object a line. Lines end in a newline or don't count: a torn last line is ignored by
readers and cut off by the next writer.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import canonical_json

FORMAT = 1
"""Version of the event format; written into every line as `v`."""

ENDINGS = ("finished", "failed", "cancelled", "terminated")
"""The events after which a worker writes no more."""

_DURABLE = frozenset({"started", "resumed", *ENDINGS})
_RESERVED = frozenset({"v", "seq", "time", "type"})


@dataclass(frozen=True)
class Event:
    """One line of a journal.

    Attributes:
        seq: position in its journal, from 1, without gaps.
        time: seconds since the epoch.
        type: `started`, `progress`, `metric`, `log`, `artifact`, `resumed` or an ending.
        data: the event's own fields.
    """

    seq: int
    time: float
    type: str
    data: Mapping[str, Any]


class JournalWriter:
    """The one writer of a journal. Opening it heals a torn last line."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._stream = path.open("ab")
        whole = _whole_lines(path)
        if whole.size < self._stream.tell():
            self._stream.truncate(whole.size)
            self._stream.seek(0, os.SEEK_END)
        self._seq = whole.last_seq

    def write(self, type: str, /, **data: object) -> Event:  # noqa: A002 - the event's own word
        """Append one event; lifecycle events are synced to the disk before this returns.

        Raises:
            ValueError: a field has a reserved name or is no JSON (NaN included).
            OSError: the disk is full.
        """
        if taken := _RESERVED & data.keys():
            raise ValueError(f"reserved event fields: {sorted(taken)}")
        event = Event(self._seq + 1, round(self._clock(), 3), type, data)
        line = {"v": FORMAT, "seq": event.seq, "time": event.time, "type": type, **data}
        self._stream.write(canonical_json(line).encode() + b"\n")
        self._stream.flush()
        if type in _DURABLE:
            os.fsync(self._stream.fileno())
        self._seq = event.seq
        return event

    def close(self) -> None:
        """Close the file; no event may follow."""
        self._stream.close()


class JournalReader:
    """Follows one journal: each `read` returns the events that came since the last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.behind = False
        """Whether the last read left something for the next one."""

    def read(self, most: int | None = None) -> list[Event]:
        """New whole events; empty while the journal doesn't exist yet.

        Args:
            most: bytes at which to stop, after the line that they end in; None reads everything.
        """
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                content = stream.read(most)
                if len(content) == most and not content.endswith(b"\n"):
                    content += stream.readline()
                self.behind = most is not None and bool(stream.peek(1))
        except FileNotFoundError:
            self.behind = False
            return []
        end = content.rfind(b"\n") + 1
        self._offset += end
        return [event for line in content[:end].splitlines() if (event := _parse(line))]


def read_journal(path: Path) -> list[Event]:
    """Every whole event of a journal; empty when there is none."""
    return JournalReader(path).read()


def attempt_events(events: list[Event]) -> list[Event]:
    """The events of the last attempt: from the last `started` on."""
    starts = [index for index, event in enumerate(events) if event.type == "started"]
    return events[starts[-1] :] if starts else []


def ending(events: list[Event]) -> Event | None:
    """The event that ended the last attempt, or None while it has none."""
    return next((e for e in reversed(attempt_events(events)) if e.type in ENDINGS), None)


@dataclass(frozen=True)
class _Whole:
    size: int
    last_seq: int


def _whole_lines(path: Path) -> _Whole:
    content = path.read_bytes()
    size = content.rfind(b"\n") + 1
    for line in reversed(content[:size].splitlines()):
        if event := _parse(line):
            return _Whole(size, event.seq)
    return _Whole(size, 0)


def _parse(line: bytes) -> Event | None:
    """One event, or None for a line that a crash or a later version left behind."""
    try:
        row = json.loads(line)
        if row["v"] > FORMAT:
            return None
        data = {key: value for key, value in row.items() if key not in _RESERVED}
        return Event(int(row["seq"]), float(row["time"]), str(row["type"]), data)
    except (ValueError, KeyError, TypeError):
        return None
