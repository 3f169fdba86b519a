"""The decision log on disk: appended under a lock, one JSON object a line.

Lines end in a newline or don't count: readers ignore a torn last line, and the next writer
cuts it off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from pipeline.errors import BadInput
from pipeline.files import canonical_json, sync_folder
from pipeline.locks import Lock
from pipeline.review.decisions import Action, DecisionEvent
from pipeline.review.tail import LineTail

FORMAT = 1
"""Version of the log's lines; a newer one is refused, never guessed at."""

WAIT_SECONDS = 5.0
"""How long a window waits for another one's append, which takes milliseconds."""

_BLOCK = 4096
"""Bytes that are read back from the log's end at first; a bulk action's line is longer."""


def append_decision(
    path: Path, action: Action, clock: Callable[[], float] = time.time
) -> DecisionEvent:
    """Append one action; it is on the disk when this returns.

    Args:
        path: the log (`run.decisions_path`).
        action: what was done.
        clock: gives seconds since the epoch.

    Raises:
        Busy: another window kept the log locked for `WAIT_SECONDS`.
        OSError: the disk is full; a torn line is ignored and cut off later.
    """
    lock = Lock(path.with_suffix(".lock"), f"The decision log {path}")
    with lock.held(WAIT_SECONDS), path.open("a+b") as stream:
        event = DecisionEvent(_heal(stream) + 1, round(clock(), 3), action)
        stream.write(canonical_json(_row(event)).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
        if event.seq == 1:
            sync_folder(path.parent)
    return event


def read_decisions(path: Path) -> tuple[DecisionEvent, ...]:
    """Every whole event, in order; none while there is no log.

    Raises:
        BadInput: a line is damaged or of a later format; the message names file and line.
    """
    return DecisionReader(path).read().events


@dataclass(frozen=True)
class NewDecisions:
    """What a look at the log gave.

    Attributes:
        events: those that came since the last look, in order.
        restarted: the log was replaced, shortened or removed: fold `events` anew.
    """

    events: tuple[DecisionEvent, ...]
    restarted: bool


class DecisionReader:
    """Follows the log, so that two windows on one run see each other's decisions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tail = LineTail(path)
        self._failed = False

    def read(self) -> NewDecisions:
        """The whole events that came since the last look; cheap when there are none.

        Raises:
            BadInput: a line is damaged or of a later format; the message names file and line.
                The next call starts over.
        """
        found = self._tail.read()
        restarted, self._failed = found.restarted or self._failed, False
        try:
            events = tuple(
                _event(self._path, number, line)
                for number, line in enumerate(found.lines, start=found.number)
            )
        except BadInput:
            self._tail, self._failed = LineTail(self._path), True
            raise
        return NewDecisions(events, restarted)


def _heal(stream: BinaryIO) -> int:
    """Cut a torn last line off; returns the number of the last whole line, 0 without one."""
    size = stream.seek(0, os.SEEK_END)
    block = _BLOCK
    while True:
        start = max(0, size - block)
        stream.seek(start)
        end = stream.read(size - start)
        whole = end.rfind(b"\n") + 1
        line = end.rfind(b"\n", 0, whole - 1) + 1 if whole else 0
        if start == 0 or line:
            break
        block *= 8
    if start + whole < size:
        stream.truncate(start + whole)
    try:
        return int(orjson.loads(end[line:whole])["seq"]) if whole else 0
    except (ValueError, KeyError, TypeError):
        # Damaged: readers name that line, and the numbers go on as if it were whole.
        stream.seek(0)
        return stream.read(start + whole).count(b"\n")


def _row(event: DecisionEvent) -> dict[str, Any]:
    """One line; fields that a kind of action doesn't use are left out."""
    said = asdict(event.action)
    said["action"] = said.pop("kind")
    # An edit may well empty the answer, so "" is left out for other fields only.
    unused = {"samples": (), "reason": "", "question": None, "answer": None, "value": None}
    said = {key: value for key, value in said.items() if key not in unused or value != unused[key]}
    return {"format": FORMAT, "seq": event.seq, "time": event.time, **said}


def _event(path: Path, number: int, line: bytes) -> DecisionEvent:
    try:
        row = orjson.loads(line)
        if row.pop("format") != FORMAT:
            raise ValueError("its format is one that this version doesn't know")
        seq, moment = int(row.pop("seq")), float(row.pop("time"))
        samples = tuple(row.pop("samples", ()))
        action = Action(kind=row.pop("action"), samples=samples, **row)
        return DecisionEvent(seq, moment, action)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}, line {number}: this is no decision ({error}).",
            safe="Nothing was changed; every other decision is in the file.",
            next_step="Mend or remove that line, or use the embedsmith version that wrote it.",
        ) from error
