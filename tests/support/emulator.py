"""A terminal emulator that answers what programs ask it, as xterm does, with two screens."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pyte
from wcwidth import wcwidth

_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC
    rb"|[PX^_].*?\x1b\\"  # DCS, SOS, PM, APC
    rb"|[ -/]+[0-~]"
    rb"|[0-OQ-WYZ\\`-~]"
    rb")",
    re.DOTALL,
)
_ALTERNATE = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_TITLE = re.compile(rb"\x1b\][02];([^\x07\x1b]*)(?:\x07|\x1b\\)")
_UNKNOWN_TO_PYTE = re.compile(rb"\x1b(?:[]PX^_]|\[[<=>]|\[\??[0-9;]*[ -/]+[@-~])", re.DOTALL)
"""What pyte would draw as text or take for another sequence (OSC 22 for a title)."""

_ASK_MODE = re.compile(rb"\x1b\[\?(\d+)\$p")
_ASK_COLOUR = re.compile(rb"\x1b\](1[01]);\?")
_ASK_POSITION = b"\x1b[6n"
_FIXED_ANSWERS = {
    b"\x1b[5n": b"\x1b[0n",
    b"\x1b[c": b"\x1b[?64;1;2;6;9;15;16;17;18;21;22;28c",
    b"\x1b[0c": b"\x1b[?64;1;2;6;9;15;16;17;18;21;22;28c",
    b"\x1b[>c": b"\x1b[>41;390;0c",
    b"\x1b[>0c": b"\x1b[>41;390;0c",
    b"\x1b[>q": b"\x1bP>|XTerm(390)\x1b\\",
    b"\x1b[>0q": b"\x1bP>|XTerm(390)\x1b\\",
}
_SUPPORTED_MODE = b"2026"
"""Synchronised output; every other mode is said to be unknown."""

Screen = list[str]
"""The rows as they stand, blanks at their ends left out."""


class _PyteScreen(pyte.Screen):
    """pyte's, which stops drawing at a variation selector or a joiner: they are left out."""

    def draw(self, data: str) -> None:
        if not data.isascii():
            data = "".join(c for c in data if wcwidth(c) > 0 or "\u0300" <= c <= "\u036f")
        super().draw(data)


@dataclass(frozen=True)
class _Chunk:
    """What arrived at once: parts to draw, each on the main or the alternate screen."""

    when: float
    parts: tuple[tuple[bool, bytes], ...]


class Emulator:
    """What the screen shows after the bytes that it received.

    Receiving is cheap and answers queries; drawing waits until somebody looks. Safe to use from
    several threads.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.title = ""
        """The window's title."""
        self._screens = {is_alternate: _PyteScreen(columns, rows) for is_alternate in (False, True)}
        self._streams = {key: pyte.ByteStream(screen) for key, screen in self._screens.items()}
        self._lock = threading.RLock()
        self._pending: deque[_Chunk] = deque()
        self._torn = b""
        self._receives_alternate = False
        self._shows_alternate = False

    def receive(self, data: bytes, when: float) -> bytes:
        """Take bytes that arrived at a moment; returns what the terminal answers."""
        with self._lock:
            data, position = self._torn + data, 0
            parts: list[tuple[bool, bytearray]] = [(self._receives_alternate, bytearray())]
            questions: list[bytes] = []
            while (escape := data.find(b"\x1b", position)) >= 0:
                parts[-1][1].extend(data[position:escape])
                match = _SEQUENCE.match(data, escape)
                if match is None:
                    position = escape
                    break
                position = match.end()
                if switch := _ALTERNATE.fullmatch(match.group()):
                    self._receives_alternate = switch.group(1) == b"h"
                    parts.append((self._receives_alternate, bytearray()))
                elif title := _TITLE.fullmatch(match.group()):
                    self.title = title.group(1).decode(errors="replace")
                elif not _UNKNOWN_TO_PYTE.match(match.group()):
                    parts[-1][1].extend(match.group())
                questions.append(match.group())
            else:
                parts[-1][1].extend(data[position:])
                position = len(data)
            self._torn = data[position:]
            self._pending.append(_Chunk(when, tuple((key, bytes(part)) for key, part in parts)))
            return b"".join(map(self._answer, questions))

    def draw_next(self) -> float | None:
        """Draw the oldest bytes that aren't drawn yet; returns when they came, None for none."""
        with self._lock:
            if not self._pending:
                return None
            chunk = self._pending.popleft()
            for alternate, part in chunk.parts:
                if alternate and not self._shows_alternate:
                    self._screens[True].reset()
                self._shows_alternate = alternate
                if part:
                    self._streams[alternate].feed(part)
            return chunk.when

    def lines(self, *, drawn_only: bool = False) -> Screen:
        """The screen now; with `drawn_only`, as far as `draw_next` has come."""
        with self._lock:
            while not drawn_only and self.draw_next() is not None:
                pass
            return [line.rstrip() for line in self._screens[self._shows_alternate].display]

    @property
    def alternate(self) -> bool:
        """Whether the alternate screen is shown."""
        with self._lock:
            return self._receives_alternate

    def resize(self, columns: int, rows: int) -> None:
        """Give both screens another size."""
        with self._lock:
            self.lines()
            for screen in self._screens.values():
                screen.resize(rows, columns)

    def _answer(self, sequence: bytes) -> bytes:
        if sequence == _ASK_POSITION:
            self.lines()
            cursor = self._screens[self._shows_alternate].cursor
            return f"\x1b[{cursor.y + 1};{cursor.x + 1}R".encode()
        if mode := _ASK_MODE.fullmatch(sequence):
            known = b"2" if mode.group(1) == _SUPPORTED_MODE else b"0"
            return b"\x1b[?" + mode.group(1) + b";" + known + b"$y"
        if colour := _ASK_COLOUR.match(sequence):
            value = b"ffff" if colour.group(1) == b"10" else b"0000"
            return b"\x1b]" + colour.group(1) + b";rgb:" + b"/".join([value] * 3) + b"\x1b\\"
        return _FIXED_ANSWERS.get(sequence, b"")


Wanted = str | Callable[[Screen], bool]
"""A text that has to stand on the screen, or a test of it."""


def shows(lines: Screen, wanted: Wanted) -> bool:
    """Whether a screen shows what is wanted."""
    return wanted in "\n".join(lines) if isinstance(wanted, str) else wanted(lines)


def framed(lines: Screen) -> str:
    """A screen as a message shows it."""
    width = max(map(len, lines), default=0)
    return "\n".join(f"|{line:<{width}}|" for line in lines)
