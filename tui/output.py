"""Where a command's words go: a live line on a terminal, plain lines, or JSON lines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TextIO

from pipeline.errors import Failure
from pipeline.journal import Event
from tui.progress import View, duration, fold, metrics_line

_PLAIN_SECONDS = 5.0
"""At most one plain progress line in this time."""


class Output(Protocol):
    """What commands say, independent of how it looks."""

    def say(self, text: str = "") -> None:
        """Lines for a person; nothing under `--json`."""

    def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        """One JSON object under `--json`; nothing else."""

    def event(self, stage: str, event: Event) -> None:
        """Something happened in a running stage."""

    def stage_ended(self, stage: str) -> None:
        """No more events of this stage come."""

    def failure(self, failure: Failure) -> None:
        """What happened, what is safe, what to do next."""


class _Quiet:
    """Writes that survive a terminal that has gone away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def line(self, text: str) -> None:
        if self._stream is None:
            return
        encoding = self._stream.encoding or "utf-8"
        # What the terminal's encoding lacks is spelled out; it ends nothing.
        line = printable(text).encode(encoding, "backslashreplace").decode(encoding)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal is gone; the work goes on, and the exit must not fail on flushing.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._stream = None


def printable(text: str) -> str:
    """`text` without control characters: words of a document can't move the cursor."""
    return "".join(
        char
        for char in text
        if char in "\n\t" or (ord(char) >= 32 and not 0x7F <= ord(char) < 0xA0)
    )


class PlainOutput:
    """Plain lines, for pipes, logs and dumb terminals."""

    def __init__(self, stream: TextIO, errors: TextIO, clock: Callable[[], float]) -> None:
        self._lines = _Quiet(stream)
        self._errors = _Quiet(errors)
        self._clock = clock
        self._view = View()
        self._spoke = 0.0
        self._spoken = ""

    def say(self, text: str = "") -> None:
        """Print lines."""
        self._lines.line(text)

    def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Nothing: this is for people."""

    def event(self, stage: str, event: Event) -> None:
        """A line now and then, and one for every warning."""
        self._view = fold(self._view, event)
        if event.type == "log":
            self.say(f"{stage}: {event.data['message']}")
        elif event.type == "resumed":
            self.say(f"{stage}: goes on from {_where(event)}")
        elif event.type in ("paused", "continued"):
            self.say(f"{stage}: {event.type}")
        elif event.type == "progress":
            self._progress(stage)

    def _progress(self, stage: str) -> None:
        now = self._clock()
        new = self._view.what != self._spoken
        if not new and now - self._spoke < _PLAIN_SECONDS and self._view.done < self._view.total:
            return
        self._spoke, self._spoken = now, self._view.what
        self.say(f"{stage}: {progress_line(self._view)}")

    def stage_ended(self, stage: str) -> None:
        """Forget the stage's progress."""
        self._view, self._spoken = View(), ""

    def failure(self, failure: Failure) -> None:
        """The three sentences, on standard error."""
        for line in failure_lines(failure):
            self._errors.line(line)


class JsonOutput:
    """JSON lines on standard output, for programs."""

    def __init__(self, stream: TextIO) -> None:
        self._lines = _Quiet(stream)

    def say(self, text: str = "") -> None:
        """Nothing: this is for programs."""

    def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Print one object."""
        row = {"type": kind, **fields}
        self._lines.line(json.dumps(row, ensure_ascii=True, allow_nan=False, default=str))

    def event(self, stage: str, event: Event) -> None:
        """Print the event with its stage."""
        about = {"stage": stage, "seq": event.seq, "time": event.time}
        self.record(event.type, {**event.data, **about})

    def stage_ended(self, stage: str) -> None:
        """Nothing."""

    def failure(self, failure: Failure) -> None:
        """Print the three sentences as one object."""
        self.record(
            "failure",
            {
                "happened": failure.happened,
                "safe": failure.safe,
                "next": failure.next_step,
                "exit_code": failure.exit_code,
                "remedy": dict(failure.remedy),
            },
        )


class LiveOutput(PlainOutput):
    """Plain lines above one live line with a bar and an ETA, on a terminal."""

    def __init__(self, stream: TextIO, errors: TextIO, clock: Callable[[], float]) -> None:
        super().__init__(stream, errors, clock)
        self._stream = stream
        self._drawn = 0.0
        self._showing = False

    def say(self, text: str = "") -> None:
        """Print lines above the live line."""
        self._clear()
        super().say(text)

    def failure(self, failure: Failure) -> None:
        """The three sentences, after the live line is gone."""
        self._clear()
        super().failure(failure)

    def _progress(self, stage: str) -> None:
        now = self._clock()
        if now - self._drawn < 0.1 and self._view.done < self._view.total:
            return
        self._drawn = now
        try:
            width = max(20, os.get_terminal_size(self._stream.fileno()).columns) - 1
        except (OSError, ValueError):
            return  # the terminal is gone
        line = f"{stage:<9}{bar(self._view)} {progress_line(self._view)}"
        self._raw(f"\r\x1b[2K{line[:width]}")
        self._showing = True

    def stage_ended(self, stage: str) -> None:
        """Take the live line away."""
        self._clear()
        super().stage_ended(stage)

    def _clear(self) -> None:
        if self._showing:
            self._raw("\r\x1b[2K")
            self._showing = False

    def _raw(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def make_output(json_lines: bool) -> Output:
    """The output that fits where standard output goes."""
    if json_lines:
        return JsonOutput(sys.stdout)
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveOutput(sys.stdout, sys.stderr, time.monotonic)
    return PlainOutput(sys.stdout, sys.stderr, time.monotonic)


def bar(view: View, width: int = 16) -> str:
    """A progress bar in plain characters."""
    filled = round(width * view.done / view.total) if view.total else 0
    return "[" + "#" * filled + "." * (width - filled) + "]"


def progress_line(view: View) -> str:
    """So many of so many, the ETA and the metrics, in one line."""
    counts = f"{view.done}/{view.total}" if view.total else f"{view.done}"
    parts = [f"{view.what} {counts}"]
    if view.eta_seconds is not None and view.done < view.total:
        parts.append(f"ETA {duration(view.eta_seconds)}")
    if metrics := metrics_line(view):
        parts.append(metrics)
    return "  ".join(parts)


def failure_lines(failure: Failure) -> list[str]:
    """The three sentences as lines."""
    return [
        f"What happened  {failure.happened}",
        f"What is safe   {failure.safe}",
        f"What to do     {failure.next_step}",
    ]


def _where(event: Event) -> str:
    return ", ".join(f"{name} {value}" for name, value in event.data.items())
