"""Starts workers: local processes in a session of their own, so that no window owns them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pipeline.run import Run

LOG_NAME = "worker.log"

SPIN_COUNT = "1000"
"""How long OpenMP's threads spin before they sleep. By default they spin for milliseconds at
every barrier, and where another program wants the same cores that made training 5 to 13 times
slower."""

HEAPS = "1"
"""Of glibc. Threads that have heaps of their own keep freed memory from one another: a third of
what a training on a CPU holds, and time, since the system gives more of it filled with zeros."""

USERS_OFFLINE = "EMBEDSMITH_USERS_OFFLINE"
"""What the user's HF_HUB_OFFLINE was: a worker itself is always offline, the process that reads a
dataset is as the user wants it."""


class Worker(Protocol):
    """A worker that was started."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def log(self) -> Path:
        """Where its standard error goes."""

    def exit_code(self) -> int | None:
        """Its exit code, or None while it runs."""


class Launcher(Protocol):
    """Starts a worker for one stage of one run, or for several in a row."""

    def start(
        self,
        run: Run,
        stage: str,
        variant: str,
        options: Mapping[str, str],
        then: Sequence[str] = (),
    ) -> Worker:
        """Start it and return at once; it outlives this process.

        Args:
            run: the run.
            stage: the stage, or the trial.
            variant: the variant's name, or empty.
            options: what `stage` is asked for beyond the recipe.
            then: stages that the same process goes on with, each when the one before ended well.
        """


@dataclass(frozen=True)
class LocalWorker:
    """A worker process on this machine."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group and session."""
        return self.process.pid

    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal, or None while it runs."""
        return self.process.poll()


@dataclass(frozen=True)
class LocalLauncher:
    """Starts workers on this machine, with the caller's environment."""

    environment: Mapping[str, str]

    def start(
        self,
        run: Run,
        stage: str,
        variant: str,
        options: Mapping[str, str],
        then: Sequence[str] = (),
    ) -> LocalWorker:
        """Start `python -P -m pipeline.worker` in the run folder.

        Raises:
            OSError: the process can't be started or its log can't be written.
        """
        command = worker_command(stage, variant, options, then)
        with open_log(run, stage) as stream:
            process = subprocess.Popen(
                command,
                cwd=run.path,
                env=worker_environment(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return LocalWorker(process, log_path(run, stage))


def worker_command(
    stage: str,
    variant: str,
    options: Mapping[str, str],
    then: Sequence[str],
    chain: int | None = None,
) -> list[str]:
    """The command line of a worker; see `Launcher.start`.

    Args:
        stage: the stage, or the trial.
        variant: the variant's name, or empty.
        options: what `stage` is asked for beyond the recipe.
        then: stages that it goes on with.
        chain: descriptor of the chain's lock, where it goes on with one.
    """
    command = [sys.executable, "-P", "-m", "pipeline.worker"]
    command += [] if chain is None else [f"--chain={chain}"]
    command += ["--stage", stage]
    if variant:
        command.append(f"--variant={variant}")
    command += [f"--option={name}={value}" for name, value in options.items()]
    return command + [f"--then={name}" for name in then]


def log_path(run: Run, stage: str) -> Path:
    """Where a stage's workers write what is meant for no journal."""
    return run.path / stage / LOG_NAME


def open_log(run: Run, stage: str) -> BinaryIO:
    """The log, open for appending, with the line that begins an attempt."""
    path = log_path(run, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("ab")
    stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {stage}\n".encode())
    stream.flush()
    return stream


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """A worker's environment: secrets pass through it, a foreign PYTHONPATH doesn't."""
    kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    return {"GOMP_SPINCOUNT": SPIN_COUNT, "MALLOC_ARENA_MAX": HEAPS, **kept} | {
        # The same strings hash alike in every attempt, so a repeated stage is bit-equal.
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        USERS_OFFLINE: environment.get("HF_HUB_OFFLINE", ""),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
