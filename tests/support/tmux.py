"""A program in tmux, on a server of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from uuid import uuid4

import psutil  # type: ignore[import-untyped]
import pytest
from emulator import Screen, Wanted, framed, shows
from pty_terminal import ESCAPE_SECONDS, clean_environment

_POLL_SECONDS = 0.05
_WRAPPER = 'trap : INT QUIT; "$@"; echo $? > "$0"'
"""Keeps the program's exit code: tmux 3.3a now and then doesn't see that a program ended."""


class Tmux:
    """One pane. Use it as a context manager: leaving it kills the server and what runs in it.

    The pane stays when its program ends, so that its last lines can be read.
    """

    def __init__(self, columns: int = 80, rows: int = 24, *, term: str = "screen-256color") -> None:
        """Starts nothing yet; skips the test where tmux isn't installed.

        Args:
            columns: width of the pane.
            rows: its height.
            term: the variable TERM inside.
        """
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        self._columns, self._rows, self._term = columns, rows, term
        self._folder = tempfile.TemporaryDirectory(prefix="tmux-")
        self._running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def run(
        self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        """Run a program in the pane, in place of the one that ran there before, if any."""
        added = {"LC_ALL": "C.UTF-8", **(environment or {})}
        variables = [f"-e{name}={value}" for name, value in added.items()]
        self._ending = Path(self._folder.name) / f"exit-{uuid4().hex}"
        program = [*variables, "--", "sh", "-c", _WRAPPER, str(self._ending), *map(str, command)]
        if self._running:
            self._tmux("respawn-pane", "-k", *program)
            self._tmux("clear-history")
            return
        size = (f"-x{self._columns}", f"-y{self._rows}")
        # The session begins with a shell: options have to stand before the program does.
        self._tmux("new-session", "-d", *size, "sleep infinity")
        self._running = True
        for name, value in (
            ("default-terminal", self._term),
            ("remain-on-exit", "on"),
            ("status", "off"),
            ("escape-time", "10"),
        ):
            self._tmux("set-option", "-g", name, value)
        self._tmux("resize-window", *size)
        self._tmux("respawn-pane", "-k", *program)

    def keys(self, *keys: str, literal: bool = False) -> None:
        """Send keys as `tmux send-keys` takes them (`Enter`, `F1`, `C-c`), or text as it is."""
        if literal:
            self._tmux("send-keys", "-l", "--", *keys)
            return
        for key in keys:
            self._tmux("send-keys", "--", key)
            if key == "Escape":
                time.sleep(ESCAPE_SECONDS)

    def screen(self) -> Screen:
        """What the pane shows now."""
        return [line.rstrip() for line in self._tmux("capture-pane", "-p").split("\n")][:-1]

    def wait_for(self, wanted: Wanted, timeout: float = 10.0) -> Screen:
        """Wait until the pane shows something; returns the screen.

        Raises:
            AssertionError: it doesn't in time, or the program ended without; the screen is in it.
        """
        until = time.monotonic() + timeout
        while True:
            code, late = self.exit_code(), time.monotonic() > until
            lines = self.screen()
            if shows(lines, wanted):
                return lines
            if late or code is not None:
                what = repr(wanted) if isinstance(wanted, str) else "what was waited for"
                how = "the time is up" if code is None else f"the program ended with {code}"
                raise AssertionError(f"tmux doesn't show {what}, and {how}:\n{framed(lines)}")
            time.sleep(_POLL_SECONDS)

    def pid(self) -> int:
        """The program in the pane."""
        shell = int(self._tmux("display-message", "-p", "#{pane_pid}"))
        return int(psutil.Process(shell).children()[0].pid)

    def exit_code(self) -> int | None:
        """The program's exit code, 128 and more for a signal; None while it runs."""
        said = self._ending.read_text() if self._ending.is_file() else ""
        return int(said) if said.endswith("\n") else None

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for the program's end; returns its exit code.

        Raises:
            AssertionError: it goes on.
        """
        until = time.monotonic() + timeout
        while (code := self.exit_code()) is None:
            if time.monotonic() > until:
                raise AssertionError(f"the program goes on:\n{framed(self.screen())}")
            time.sleep(_POLL_SECONDS)
        return code

    def kill(self) -> None:
        """End the server and what runs in it; safe to call twice."""
        if self._running:
            self._running = False
            self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        socket = Path(self._folder.name) / "s"
        done = subprocess.run(
            ["tmux", "-S", str(socket), "-f", "/dev/null", *arguments],
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout
