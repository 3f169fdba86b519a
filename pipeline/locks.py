"""Locks that die with their holder: one per result being written, one per GPU."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import Busy


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: host name of the machine.
        pid: process id there.
        started: seconds since the epoch when the lock was taken.
    """

    host: str
    pid: int
    started: float


_LOOK_SECONDS = 0.06


class Lock:
    """An exclusive advisory lock on one file, released by the kernel when its holder dies."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._descriptor: int | None = None

    def take(self, patience: float = _LOOK_SECONDS) -> None:
        """Take the lock.

        Args:
            patience: seconds to wait for it. The default is just above the instant for which
                `is_held` takes a lock.

        Raises:
            Busy: somebody else holds it; the message names host, pid and start time.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open(self._path)
        until = time.monotonic() + patience
        while not try_exclusive(descriptor):
            if time.monotonic() > until:
                os.close(descriptor)
                raise self._busy()
            time.sleep(_LOOK_SECONDS / 4)
        holder = Holder(socket.gethostname(), os.getpid(), round(time.time(), 3))
        with suppress(OSError):  # another user's file, locked all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
        self._descriptor = descriptor

    def hand_over(self) -> int:
        """The open lock's descriptor, for the program that this process becomes next."""
        assert self._descriptor is not None, "only a lock that is held is handed over"
        os.set_inheritable(self._descriptor, True)
        return self._descriptor

    def take_over(self, descriptor: int) -> bool:
        """Go on holding a lock that came through `hand_over`.

        Returns:
            Whether it is this lock and held; if not, nothing was changed.
        """
        try:
            if not os.path.samestat(os.fstat(descriptor), self._path.stat()):
                return False
        except OSError:
            return False
        if not try_exclusive(descriptor):
            return False
        # No process that is started from here on holds it, too.
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        return True

    def beat(self) -> None:
        """Show that the holder is alive, for readers on another host."""
        with suppress(FileNotFoundError):
            os.utime(self._path)

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def held(self, patience: float = _LOOK_SECONDS) -> Iterator[Lock]:
        """Hold the lock for a block; see `take`."""
        self.take(patience)
        try:
            yield self
        finally:
            self.release()

    def __enter__(self) -> Lock:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _busy(self) -> Busy:
        holder = holder_of(self._path)
        who = "another process"
        if holder:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.started))
            who = f"process {holder.pid} on {holder.host}, since {since}"
        return Busy(
            f"{self._what} is in use by {who}.",
            safe="Nothing was started and nothing was changed.",
            next_step="Wait for it (`embedsmith show RUN`) or end it (`embedsmith stop RUN`).",
        )


def _open(path: Path) -> int:
    """Open a lock file, another user's for reading: that is enough to lock it."""
    with suppress(FileNotFoundError):
        try:
            return os.open(path, os.O_RDWR)
        except PermissionError:
            return os.open(path, os.O_RDONLY)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def try_exclusive(descriptor: int) -> bool:
    """Take the lock of an open file, if nobody holds it; returns whether it was taken."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_of(path: Path) -> Holder | None:
    """Who wrote the lock file last, whether or not the lock is still held."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def gpu_lock(uuid: str) -> Lock:
    """The lock of one GPU, by UUID, for every user and run of this machine."""
    name = f"embedsmith-{uuid.replace('/', '-')}.lock"
    # One folder for all users, whatever their TMPDIR is.
    folder = Path("/tmp")
    return Lock((folder if folder.is_dir() else Path(tempfile.gettempdir())) / name, f"GPU {uuid}")
