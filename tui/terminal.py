"""Facts of a terminal, and the escape sequences that are ours: pure, nothing here is written."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import Failure

COLUMNS_MIN = 60
ROWS_MIN = 16
"""Below this size a note takes the place of a screen."""

Colours = Literal[0, 16, 256, 16777216]
"""How many colours a terminal shows; 0: none, or none are wanted."""

_SIZE_UNKNOWN = (80, 24)
"""Where nobody says: a VT100's."""

_COLOURLESS = frozenset({"", "dumb", "unknown", "vt52", "vt100", "vt102", "vt220"})
"""Values of TERM that promise no colour."""

_TRUE_COLOUR = ("xterm-kitty", "xterm-ghostty", "alacritty", "wezterm", "foot", "contour")
"""Beginnings of TERM of terminals that all show 16.7 million colours. ssh passes TERM on, and
COLORTERM it doesn't."""

_TITLE_LENGTH_MAX = 120
"""Characters of a title or notification; longer ones help nobody."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Unfit(Failure):
    """A terminal that can't show the wizard."""

    exit_code = 2


@dataclass(frozen=True)
class Terminal:
    """What is known of a terminal without asking it.

    Attributes:
        tty: whether input and output are a terminal.
        term: the variable TERM.
        colours: how many colours it shows and the user wants.
        colours_from: the variable that says so, for a report.
        encoding: of its output, as Python calls it.
        unicode: whether signs beyond ASCII can be shown.
        tmux: whether tmux lies between.
        tmux_version: as tmux tells its programs (3.2 and later); empty when it doesn't.
        screen: whether GNU screen lies between.
        ssh: whether a line lies between.
        size: columns and rows.
    """

    tty: bool
    term: str
    colours: Colours
    colours_from: str
    encoding: str
    unicode: bool
    tmux: bool
    tmux_version: str
    screen: bool
    ssh: bool
    size: tuple[int, int]

    @property
    def small(self) -> bool:
        """Whether a screen doesn't fit."""
        return self.size[0] < COLUMNS_MIN or self.size[1] < ROWS_MIN


def read_terminal(
    environment: Mapping[str, str],
    stdin_isatty: bool,
    stdout_isatty: bool,
    encoding: str,
    size: tuple[int, int],
) -> Terminal:
    """Judge a terminal by its environment and streams.

    Args:
        environment: the process's variables.
        stdin_isatty: whether keys come from a terminal.
        stdout_isatty: whether everything that is written goes to a terminal; Textual draws on
            standard error.
        encoding: of the output.
        size: columns and rows.
    """
    term = environment.get("TERM", "")
    tmux = bool(environment.get("TMUX"))
    tells_version = tmux and environment.get("TERM_PROGRAM") == "tmux"
    colours, colours_from = _colours(environment, term)
    return Terminal(
        tty=stdin_isatty and stdout_isatty,
        term=term,
        colours=colours,
        colours_from=colours_from,
        encoding=encoding,
        # The Linux console's font has neither braille nor most signs.
        unicode=_is_utf8(encoding) and term != "linux",
        tmux=tmux,
        tmux_version=environment.get("TERM_PROGRAM_VERSION", "") if tells_version else "",
        screen=bool(environment.get("STY")) and not tmux,
        ssh=any(environment.get(name) for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT")),
        size=size,
    )


def this_terminal(environment: Mapping[str, str]) -> Terminal:
    """The terminal of this process."""
    streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    keys, *outputs = (_isatty(stream) for stream in streams)
    size = _SIZE_UNKNOWN
    for stream in reversed(streams):
        with suppress(AttributeError, OSError, ValueError):
            asked = os.get_terminal_size(stream.fileno())  # type: ignore[union-attr]
            # A serial console doesn't know, and says 0x0.
            if asked.columns and asked.lines:
                size = (asked.columns, asked.lines)
                break
    encoding = getattr(sys.__stdout__, "encoding", None) or "ascii"
    return read_terminal(environment, keys, all(outputs), encoding, size)


def _isatty(stream: object) -> bool:
    """Whether a stream is there, open and a terminal."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


def _colours(environment: Mapping[str, str], term: str) -> tuple[Colours, str]:
    """How many colours, and the variable that decides.

    NO_COLOR counts when it isn't empty (no-color.org); CLICOLOR=0 means the same.
    """
    colour_term = environment.get("COLORTERM", "").strip().lower()
    if environment.get("NO_COLOR"):
        return 0, "NO_COLOR"
    if environment.get("CLICOLOR") == "0":
        return 0, "CLICOLOR"
    if term in _COLOURLESS:
        return 0, "TERM"
    if environment.get("STY") and not environment.get("TMUX"):
        # GNU screen hands COLORTERM on from outside and garbles what it promises.
        return (256 if "256color" in term else 16), "TERM"
    if colour_term in ("truecolor", "24bit"):
        return 16777216, "COLORTERM"
    if term.endswith("-direct") or term.startswith(_TRUE_COLOUR):
        return 16777216, "TERM"
    return (256 if "256color" in term else 16), "TERM"


def unfit(terminal: Terminal) -> Failure | None:
    """Why the wizard can't be shown here, with the commands that do its work; None: it can."""
    if not terminal.tty:
        happened = "The wizard needs a terminal, and input or output is none."
    elif terminal.term in ("", "dumb", "unknown"):
        happened = (
            f"The wizard needs a terminal that can move its cursor; TERM is {terminal.term!r}."
        )
    else:
        return None
    return Unfit(
        happened,
        safe="Nothing was started and nothing was changed.",
        next_step="Use the commands: `embedsmith run FOLDER` does all steps, `embedsmith show RUN` "
        "says where a run stands, `embedsmith --help` lists the rest.",
    )


def hung_up() -> bool:
    """Whether the terminal is gone: its end of the line was closed."""
    if sys.__stdin__ is None:
        return False
    try:
        poll = select.poll()
        poll.register(sys.__stdin__.fileno(), 0)
        return any(event & (select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False


SAVE_TITLE = "\x1b[22;2t"
"""Puts the window's title aside; `restore_sequence` brings it back."""

_MOUSE_MODES = (1000, 1002, 1003, 1006, 1015, 1016)
_FOCUS_MODE, _PASTE_MODE, _RESIZE_MODE, _SYNC_MODE = 1004, 2004, 2048, 2026
_ALTERNATE_SCREEN = 1049


def restore_sequence() -> str:
    """Gives the terminal back as a shell expects it, whatever state it is in.

    Write it before any line is printed: leaving the alternate screen moves the cursor.
    """
    modes = (*_MOUSE_MODES, _FOCUS_MODE, _PASTE_MODE, _RESIZE_MODE, _SYNC_MODE)
    off = "".join(f"\x1b[?{mode}l" for mode in modes)
    # Kitty's keys belong to the alternate screen, so they go first.
    return f"{off}\x1b[<u\x1b[?{_ALTERNATE_SCREEN}l\x1b[0m\x1b[?7h\x1b[?25h\x1b[23;2t"


def title_sequence(text: str) -> str:
    """Sets the window's title."""
    return f"\x1b]2;{_one_line(text)}\x07"


def notify_sequence(text: str, terminal: Terminal, passthrough: bool = False) -> str:
    """Rings the bell and shows a notification where the terminal can (OSC 9).

    Args:
        text: what happened.
        terminal: where it goes; multiplexers and the Linux console get the bell alone.
        passthrough: whether tmux hands sequences on (`allow-passthrough on`).
    """
    # A digit in front would be one of ConEmu's commands, so the name stands there.
    note = f"\x1b]9;embedsmith: {_one_line(text)}\x07"
    if terminal.tmux:
        return "\x07" + (f"\x1bPtmux;\x1b{note}\x1b\\" if passthrough else "")
    if terminal.screen or terminal.term == "linux":
        return "\x07"
    return "\x07" + note


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()[:_TITLE_LENGTH_MAX]
