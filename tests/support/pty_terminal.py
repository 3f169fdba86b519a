"""A program in a real pseudo-terminal: keys, screen, bytes, slow lines, stalls, hang-ups."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from emulator import Emulator, Screen, Wanted, framed, shows

_FOREIGN = ("NO_COLOR", "CLICOLOR", "COLORTERM", "COLUMNS", "LINES", "STY", "TERM_PROGRAM")
_FOREIGN_BEGINNINGS = ("TMUX", "SSH_", "TEXTUAL")
"""Variables of the terminal that the tests run in; the program must not see them."""

_ARROWS = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}

KEYS: Mapping[str, str] = {
    "enter": "\r",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "escape": "\x1b",
    "space": " ",
    "backspace": "\x7f",
    "insert": "\x1b[2~",
    "delete": "\x1b[3~",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    **{
        name: f"\x1b[{letter}"
        for name, letter in zip(
            ("up", "down", "right", "left", "home", "end"), "ABCDHF", strict=True
        )
    },
    **{f"f{number}": f"\x1bO{letter}" for number, letter in enumerate("PQRS", start=1)},
    **{
        f"f{number}": f"\x1b[{code}~"
        for number, code in enumerate((15, 17, 18, 19, 20, 21, 23, 24), start=5)
    },
    **{f"ctrl+{chr(code + 96)}": chr(code) for code in range(1, 27)},
}
"""What xterm sends for a key; any other key is the character itself."""

ESCAPE_SECONDS = 0.15
"""What follows an Escape sooner makes an Alt with it: Textual waits for 0.1 s."""
_READ_BYTES = 65536
_RATE_STEP_SECONDS = 0.01
"""A slow line is read in steps as long as this."""
_POLL_SECONDS = 0.02


class PtyTerminal:
    """A process in a pseudo-terminal of its own, of which it is the controlling one.

    Use it as a context manager: leaving it kills the process. Workers that the process has put
    into sessions of their own go on.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        columns: int = 80,
        rows: int = 24,
        *,
        term: str = "xterm-256color",
        colorterm: str | None = "truecolor",
        rate: float | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Starts the process.

        Args:
            command: what to run.
            environment: added to this process's, without what that says of its own terminal.
            columns: width.
            rows: height.
            term: the variable TERM.
            colorterm: the variable COLORTERM; None leaves it out, as ssh does.
            rate: bytes a second that the line carries to the terminal; None: no limit.
            cwd: where it starts.
        """
        self.rate = rate
        self.started = time.monotonic()
        self.emulator = Emulator(columns, rows)
        self._chunks: list[bytes] = []
        self._count = 0
        self._last = self.started
        self._news = threading.Condition()
        self._stalled = self._leaving = self._ended = False
        self._master, slave = os.openpty()
        self._woken, self._wake = os.pipe()
        self._set_size(columns, rows)
        try:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd=cwd,
                env=_environment(environment or {}, term, colorterm),
                start_new_session=True,
                preexec_fn=take_terminal,
            )
        finally:
            os.close(slave)
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.hangup()

    # Input

    def send(self, text: str) -> None:
        """Send text as it is, such as a paste."""
        os.write(self._master, text.encode())

    def key(self, *names: str) -> None:
        """Press keys, by name (`enter`, `f1`, `ctrl+c`, `up`) or as a character."""
        for name in names:
            self.send(KEYS.get(name, name))
            if name == "escape":
                time.sleep(ESCAPE_SECONDS)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size; the process gets its signal."""
        self.emulator.resize(columns, rows)
        self._set_size(columns, rows)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    def stall(self) -> None:
        """Stop reading: what the process writes stays in the kernel's buffer, until it is full."""
        self._stalled = True
        os.write(self._wake, b".")

    def resume(self) -> None:
        """Read on."""
        self._stalled = False
        os.write(self._wake, b".")

    def hangup(self) -> None:
        """Close the terminal, as a dropped line does; safe to call twice."""
        if not self._leaving:
            self._leaving = True
            os.write(self._wake, b".")
        self._reader.join()
        for descriptor in (self._master, self._wake, self._woken):
            with suppress(OSError):
                os.close(descriptor)

    # Output

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    @property
    def raw(self) -> bytes:
        """Everything that came so far."""
        with self._news:
            return b"".join(self._chunks)

    @property
    def title(self) -> str:
        """The window's title."""
        return self.emulator.title

    def screen(self) -> Screen:
        """What the screen shows now."""
        return self.emulator.lines()

    def mark(self) -> int:
        """How many bytes came so far, for `bytes_since`."""
        with self._news:
            return self._count

    def bytes_since(self, mark: int) -> bytes:
        """What came since a mark."""
        return self.raw[mark:]

    # Waiting

    def wait_for(self, wanted: Wanted, timeout: float = 10.0) -> Screen:
        """Wait until the screen shows something; returns the screen.

        Raises:
            AssertionError: it doesn't in time, or the process ended without; the screen is in it.
        """
        until = time.monotonic() + timeout
        while True:
            ended, seen = self._ended, self.mark()
            lines = self.screen()
            if shows(lines, wanted):
                return lines
            if ended or time.monotonic() > until:
                raise AssertionError(self._missing(wanted, ended, lines))
            with self._news:
                if self._count == seen and not self._ended:
                    self._news.wait(_POLL_SECONDS)

    def settle(self, quiet_seconds: float = 0.3, timeout: float = 15.0) -> None:
        """Wait until nothing was written for so long.

        Raises:
            AssertionError: it never is that quiet.
        """
        began = time.monotonic()
        while (now := time.monotonic()) - max(self._last, began) < quiet_seconds:
            if now - began > timeout:
                raise AssertionError(f"never quiet for {quiet_seconds} s:\n{framed(self.screen())}")
            time.sleep(_POLL_SECONDS)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for the process's end; returns its exit code, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        code = self.process.wait(timeout)
        if not (self._leaving or self._stalled):
            with self._news:
                self._news.wait_for(lambda: self._ended, 1.0)
        return code

    def first_frame_seconds(self, timeout: float = 20.0) -> float:
        """Seconds from the process's start until the screen showed anything but blanks."""
        return self._until(self.started, lambda lines: any(lines), timeout)

    def echo_seconds(
        self, key: str, predicate: Callable[[Screen], bool], timeout: float = 20.0
    ) -> float:
        """Press a key; seconds until the bytes arrived that make the screen pass `predicate`.

        Raises:
            AssertionError: it passes already, or doesn't in time.
        """
        assert not predicate(self.screen()), f"shown before the key:\n{framed(self.screen())}"
        began = time.monotonic()
        self.key(key)
        return self._until(began, predicate, timeout)

    def _until(self, began: float, predicate: Callable[[Screen], bool], timeout: float) -> float:
        while time.monotonic() - began < timeout:
            when = self.emulator.draw_next()
            if when is None:
                with self._news:
                    self._news.wait(_POLL_SECONDS / 10)
            elif predicate(self.emulator.lines(drawn_only=True)):
                return when - began
        raise AssertionError(f"not within {timeout} s:\n{framed(self.screen())}")

    def _missing(self, wanted: Wanted, ended: bool, lines: Screen) -> str:
        what = repr(wanted) if isinstance(wanted, str) else "what was waited for"
        how = "the time is up"
        if ended:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            how = f"the process ended with {self.process.poll()}"
        return f"the screen doesn't show {what}, and {how}:\n{framed(lines)}"

    # Reading

    def _read(self) -> None:
        """Take what the process writes, at the speed of the line, and answer its questions."""
        free = 0.0
        while not self._leaving:
            watched = [self._woken] if self._stalled else [self._woken, self._master]
            ready, _, _ = select.select(watched, [], [])
            if self._woken in ready:
                os.read(self._woken, 64)
                continue
            rate = self.rate
            size = _READ_BYTES if rate is None else max(1, int(rate * _RATE_STEP_SECONDS))
            try:
                data = os.read(self._master, size)
            except OSError:  # EIO: nobody has the other side open any more
                data = b""
            if not data:
                break
            now = time.monotonic()
            # When the line has carried the last of these bytes, however late we are woken.
            free = max(free, now) + (len(data) / rate if rate else 0.0)
            time.sleep(max(0.0, free - now))
            self._take(data, free)
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _take(self, data: bytes, when: float) -> None:
        answer = self.emulator.receive(data, when)
        with self._news:
            self._chunks.append(data)
            self._count += len(data)
            self._last = when
            self._news.notify_all()
        if answer:
            with suppress(OSError):
                os.write(self._master, answer)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def clean_environment() -> dict[str, str]:
    """This process's environment without what it says of the terminal that the tests run in."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN and not name.startswith(_FOREIGN_BEGINNINGS)
    }


def _environment(added: Mapping[str, str], term: str, colorterm: str | None) -> dict[str, str]:
    own = {"TERM": term, "LC_ALL": "C.UTF-8"} | ({"COLORTERM": colorterm} if colorterm else {})
    return {**clean_environment(), **own, **added}


def take_terminal() -> None:
    """Make standard input the controlling terminal of the new session."""
    # A caller in the background may ignore these, and would hand that on.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
