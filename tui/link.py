"""How long a terminal takes to answer: the line's round trip, measured without a screen."""

from __future__ import annotations

import os
import re
import select
import statistics
import termios
import time
import tty
from contextlib import suppress

PROBES = 3
_ANSWER_SECONDS = 1.0
"""A line slower than this makes typing hard anyway."""

_ASK_POSITION = b"\x1b[6n"
_POSITION = re.compile(rb"\x1b\[\d+;\d+R")


def round_trip(keys: int, screen: int) -> float | None:
    """Seconds between asking the terminal where its cursor is and its answer; a median of three.

    What is typed meanwhile is dropped, and the terminal's settings are as before, always.

    Args:
        keys: descriptor to read the answer from.
        screen: descriptor to ask through.

    Returns:
        None where there is no terminal, we are in its background, or it doesn't answer.
    """
    try:
        # A background process that changes a terminal's settings is stopped.
        if os.tcgetpgrp(keys) != os.getpgrp() or not os.isatty(screen):
            return None
        before = termios.tcgetattr(keys)
    except (OSError, termios.error):
        return None
    try:
        # Not raw: Ctrl+C stays Ctrl+C.
        tty.setcbreak(keys, termios.TCSAFLUSH)
        times: list[float] = []
        # After a silence, a late answer would pass for a quick one.
        while len(times) < PROBES and (seconds := _probe(keys, screen)) is not None:
            times.append(seconds)
    except (OSError, termios.error):
        return None
    finally:
        with suppress(OSError, termios.error):
            termios.tcsetattr(keys, termios.TCSAFLUSH, before)
    return statistics.median(times) if times else None


def _probe(keys: int, screen: int) -> float | None:
    """One question; None when the answer doesn't come in time."""
    began = time.monotonic()
    os.write(screen, _ASK_POSITION)
    heard = b""
    while (left := began + _ANSWER_SECONDS - time.monotonic()) > 0:
        ready, _, _ = select.select([keys], [], [], left)
        if not ready:
            return None
        piece = os.read(keys, 1024)
        if not piece:
            return None
        heard += piece
        if _POSITION.search(heard):
            return time.monotonic() - began
    return None
