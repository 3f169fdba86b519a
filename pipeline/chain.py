"""Several stages in a row by one process, and the lock that it holds from the first to the last.

Between two stages no result is locked: whoever would stop the run, or start what comes next, looks
here. A variant has one chain at a time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.files import read_json, write_json
from pipeline.launch import log_path, open_log, worker_command
from pipeline.locks import Lock, holder_of, is_held
from pipeline.requests import REQUESTS_NAME
from pipeline.run import Run

LOCK_NAME = "lock"
_STAGES_NAME = "stages.json"

_LEAVE_SECONDS = 2.0
"""The chain before may be at its last breath."""
_LOOK_SECONDS = 0.1


class Chain:
    """A chain that this process works on; `joined` makes it.

    Attributes:
        folder: where its lock lies, and the requests to end it.
    """

    def __init__(self, folder: Path, lock: Lock) -> None:
        self.folder = folder
        self._lock = lock

    def go_on(
        self,
        run: Run,
        variant: str,
        ended: str,
        then: Sequence[str],
        start: Mapping[str, str],
    ) -> None:
        """Become the worker of the next stage: the same process, as if it had just been started.

        The lock is held all the while.

        Args:
            run: the run.
            variant: the variant's name, or empty.
            ended: the stage that ended.
            then: the stages still to come, one at least.
            start: the environment that this worker was started with.

        Raises:
            OSError: the next log can't be written.
        """
        reap_group()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if _logs_to(log_path(run, ended)):
            with open_log(run, then[0]) as log:
                os.dup2(log.fileno(), sys.stdout.fileno())
                os.dup2(log.fileno(), sys.stderr.fileno())
        # Whatever a library left open, such as a GPU's device file, ends with this stage.
        for entry in list(Path("/proc/self/fd").iterdir()):
            if int(entry.name) > 2:
                with suppress(OSError):
                    os.set_inheritable(int(entry.name), False)
        descriptor = self._lock.hand_over()
        command = worker_command(then[0], variant, {}, then[1:], chain=descriptor)
        os.execve(command[0], command, dict(start))


@contextmanager
def joined(
    run: Run, variant: str, stages: Sequence[str], descriptor: int | None = None
) -> Iterator[Chain]:
    """Hold the chain's lock for a block: taken anew, or as it came through `Chain.go_on`.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        stages: what is to be done, the stage at hand first.
        descriptor: of the open lock, from the stage before.

    Raises:
        Busy: the variant has another chain.
    """
    folder = run.chain_path(variant)
    lock = Lock(folder / LOCK_NAME, "The row of stages")
    if descriptor is None or not lock.take_over(descriptor):
        lock.take(_LEAVE_SECONDS)
        # Requests to an earlier chain don't concern this one.
        (folder / REQUESTS_NAME).unlink(missing_ok=True)
    try:
        write_json(folder / _STAGES_NAME, {"stages": list(stages)})
        yield Chain(folder, lock)
    finally:
        lock.release()


def held_chains(run: Run) -> list[Path]:
    """The folders of chains that a process is on now, between two stages, too."""
    folder = run.chain_path("").parent
    chains = sorted(folder.iterdir()) if folder.is_dir() else []
    return [chain for chain in chains if is_held(chain / LOCK_NAME)]


def wait_for_turn(
    run: Run,
    variant: str,
    stage: str,
    waiting: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until no chain of the variant is about to begin a stage.

    Then a worker is on the stage, it was done, or the chain is over.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        stage: the stage.
        waiting: told the chain's process once, before the first wait.
        sleep: waits so many seconds.

    Returns:
        Whether there was anything to wait for.
    """
    folder, told = run.chain_path(variant), False
    while is_held(folder / LOCK_NAME) and stage in to_come(folder):
        holder = holder_of(folder / LOCK_NAME)
        pid = holder.pid if holder else 0
        if _is_on(run, stage, pid):
            break
        if not told:
            waiting(pid)
            told = True
        sleep(_LOOK_SECONDS)
    return told


def _is_on(run: Run, stage: str, pid: int) -> bool:
    """Whether a process is on a stage; its attempts are locked by the chain's own process."""
    locks = [folder / "lock" for folder in run.attempts(stage)]
    return any(is_held(lock) and (by := holder_of(lock)) and by.pid == pid for lock in locks)


def to_come(folder: Path) -> Sequence[str]:
    """The stages that a chain is on or goes on with."""
    try:
        stages = read_json(folder / _STAGES_NAME)["stages"]
    except (OSError, BadInput, LookupError, TypeError):
        # It has just begun, or an earlier version wrote none.
        return ()
    return tuple(map(str, stages))


def _logs_to(path: Path) -> bool:
    """Whether standard error goes into this file."""
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), path.stat())
    except OSError:
        return False


def reap_group() -> None:
    """End whatever this worker started in its own process group."""
    if os.getpgid(0) == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with suppress(ProcessLookupError):
            os.killpg(0, signal.SIGTERM)
