"""What others ask of a running worker: pause, resume, finish, cancel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, get_args

from pipeline.errors import Cancelled, Terminated
from pipeline.files import append_line, canonical_json
from pipeline.journal import JournalWriter

Request = Literal["pause", "resume", "finish", "cancel"]
REQUESTS: tuple[Request, ...] = get_args(Request)

REQUESTS_NAME = "requests.jsonl"

_LOOK_SECONDS = 0.2
"""How often the file is looked at; a poll between two looks costs nothing."""


def ask(folder: Path, request: Request) -> None:
    """Leave a request for the worker that writes the result in `folder`."""
    append_line(folder / REQUESTS_NAME, _line(request))


def asked_to_leave(folder: Path) -> bool:
    """Whether a chain was asked to end; see `pipeline.chain`."""
    path = folder / REQUESTS_NAME
    return path.is_file() and _line("cancel") in path.read_text(errors="replace").splitlines()


def _line(request: Request) -> str:
    return canonical_json({"request": request})


class Requests:
    """The worker's side: requests that were made since it started, and SIGTERM."""

    def __init__(self, path: Path, journal: JournalWriter, chain: Path | None = None) -> None:
        """Listen from now on.

        Args:
            path: requests to this attempt.
            journal: where pauses are written down.
            chain: requests to the chain that the attempt is part of; those made before it began,
                between two stages, count as well.
        """
        self._journal = journal
        # Requests to an earlier attempt don't concern this one.
        self._offsets = {path: path.stat().st_size if path.is_file() else 0}
        if chain:
            self._offsets[chain] = 0
        self._looked = 0.0
        self._paused = False
        self._finish = False
        self._cancel = False
        self._terminate = False

    @property
    def finish_asked(self) -> bool:
        """Whether to end now and keep the best."""
        self._look()
        return self._finish

    @property
    def leave_asked(self) -> bool:
        """Whether somebody asked for the end of work: cancel or SIGTERM."""
        self._looked = 0.0
        self._look()
        return self._cancel or self._terminate

    def terminate(self) -> None:
        """SIGTERM arrived; safe to call from a signal handler."""
        self._terminate = True

    def poll(self) -> None:
        """Wait while paused; leave where that was asked.

        Raises:
            Cancelled: `cancel` was asked.
            Terminated: SIGTERM arrived.
        """
        self._look()
        self._leave_if_asked()
        if self._paused:
            self._journal.write("paused")
            while self._paused and not self._finish:
                time.sleep(_LOOK_SECONDS)
                self._look()
                self._leave_if_asked()
            self._journal.write("continued")

    def _leave_if_asked(self) -> None:
        if self._terminate:
            raise Terminated
        if self._cancel:
            raise Cancelled

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        for path in self._offsets:
            self._read_on(path)

    def _read_on(self, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                stream.seek(self._offsets[path])
                content = stream.read()
        except FileNotFoundError:
            return
        end = content.rfind(b"\n") + 1
        self._offsets[path] += end
        for line in content[:end].decode(errors="replace").splitlines():
            self._take(line)

    def _take(self, line: str) -> None:
        for request in REQUESTS:
            if line == _line(request):
                self._paused = {"pause": True, "resume": False}.get(request, self._paused)
                self._finish = self._finish or request == "finish"
                self._cancel = self._cancel or request == "cancel"
