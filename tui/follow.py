"""Follows a worker's journal until it ends, from this process or from another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import Failure, StageFailure
from pipeline.journal import ENDINGS, Event, JournalReader
from pipeline.launch import Launcher, Worker
from pipeline.locks import is_held
from pipeline.run import Run
from pipeline.status import Status, folder_of
from tui.output import Output

_LOOK_SECONDS = 0.1


def run_stage(
    run: Run,
    variant: str,
    status: Status,
    options: Mapping[str, str],
    launcher: Launcher,
    output: Output,
) -> Event | None:
    """Start a stage's worker, or attach to the one at work, and follow it to its ending.

    Returns:
        The ending; None when another worker had finished the result in the meantime.

    Raises:
        Failure: the stage failed, or its worker was killed.
    """
    name = status.stage.name
    folder = folder_of(run, variant, status)
    reader = JournalReader(folder / "journal.jsonl")
    worker: Worker | None = None
    if status.state != "running":
        reader.read()  # what earlier attempts wrote has been seen
        worker = launcher.start(run, name, variant, options)
    end = _follow(name, reader, worker, folder, output)
    output.stage_ended(name)
    if end is None and not (worker and worker.exit_code() == 0):
        raise without_ending(name, worker)
    if end and end.type == "failed":
        raise told(end.data)
    return end


def _follow(
    name: str, reader: JournalReader, worker: Worker | None, folder: Path, output: Output
) -> Event | None:
    end: Event | None = None
    while True:
        over = worker.exit_code() is not None if worker else not is_held(folder / "lock")
        for event in reader.read():
            output.event(name, event)
            if event.type == "started":
                end = None
            elif event.type in ENDINGS:
                end = event
        if over:
            return end
        time.sleep(_LOOK_SECONDS)


def told(data: Mapping[str, Any]) -> Failure:
    """The failure that a worker wrote down, with its own exit code."""
    failure = StageFailure(
        str(data["happened"]),
        safe=str(data["safe"]),
        next_step=data["next"],
        remedy=data.get("remedy"),
    )
    failure.exit_code = int(data["exit_code"])
    return failure


def without_ending(name: str, worker: Worker | None) -> Failure:
    """Why a worker left without a word in its journal: its log has the last one."""
    if worker and (code := worker.exit_code()) is not None and code >= 0:
        lines = worker.log.read_text(errors="replace").splitlines() or [""]
        try:
            return told(json.loads(lines[-1]))
        except (ValueError, KeyError, TypeError):
            happened = f"The {name} worker ended with code {code}: {lines[-1][:300]}"
    else:
        happened = f"The {name} worker was killed before it could end."
    return StageFailure(
        happened,
        safe="Everything finished, every reply and every decision is kept.",
        next_step="Run the same command again: it goes on where this attempt stopped.",
    )
