"""The decision log on disk: appended under a lock, one JSON object a line.

Lines end in a newline or don't count: readers ignore a torn last line, and the next writer
cuts it off.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput
from pipeline.files import canonical_json, sync_folder
from pipeline.locks import Lock
from pipeline.review.decisions import Action, DecisionEvent

FORMAT = 1
"""Version of the log's lines; a newer one is refused, never guessed at."""

WAIT_SECONDS = 5.0
"""How long a window waits for another one's append, which takes milliseconds."""


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
        stream.seek(0)
        content = stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            stream.truncate(whole)
        event = DecisionEvent(content.count(b"\n") + 1, round(clock(), 3), action)
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
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return tuple(_event(path, number, line) for number, line in enumerate(lines, start=1))


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
        row = json.loads(line)
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
