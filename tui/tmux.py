"""What tmux says of itself, asked by its command, never for long."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ASK_SECONDS = 2.0
"""How long tmux may take to answer; a hung server answers never."""

_ASKED = ("version", "set-clipboard", "escape-time", "mouse", "allow-passthrough")
"""Formats that tmux fills in with its version and the options of this pane."""

WRITES_OUT_SINCE = (3, 2)
"""The first tmux whose `load-buffer -w` sends the text on to the terminal around it."""

PASSTHROUGH_OPTION_SINCE = (3, 3)
"""The first tmux that hands sequences on only where `allow-passthrough` is on."""


@dataclass(frozen=True)
class Tmux:
    """A running tmux, as seen from one of its panes.

    Attributes:
        version: as tmux writes it, such as `3.3a`.
        set_clipboard: `on`, `external` or `off`.
        escape_time: milliseconds that it waits after Escape; None when it doesn't say.
        mouse: whether it takes the mouse.
        passthrough: whether it hands escape sequences on to the terminal around it.
        clients: how many terminals show this session.
    """

    version: str
    set_clipboard: str
    escape_time: int | None
    mouse: bool
    passthrough: bool
    clients: int

    @property
    def writes_out(self) -> bool:
        """Whether `load-buffer -w` is known to it."""
        return _number(self.version) >= WRITES_OUT_SINCE


def read_tmux(environment: Mapping[str, str]) -> Tmux | None:
    """The tmux around this process; None when there is none or it doesn't answer."""
    pane = ("-t", environment["TMUX_PANE"]) if environment.get("TMUX_PANE") else ()
    formats = "\t".join(f"#{{{name}}}" for name in _ASKED)
    answer = run_tmux(["display-message", *pane, "-p", formats], environment)
    clients = run_tmux(["list-clients", *pane, "-F", "client"], environment)
    if answer is None or answer.count("\t") != len(_ASKED) - 1:
        return None
    version, set_clipboard, escape_time, mouse, passthrough = answer.rstrip("\n").split("\t")
    always = _number(version) < PASSTHROUGH_OPTION_SINCE
    return Tmux(
        version=version,
        set_clipboard=set_clipboard,
        escape_time=int(escape_time) if escape_time.isdecimal() else None,
        mouse=mouse in ("1", "on"),
        passthrough=always or passthrough in ("1", "on", "all"),
        clients=len((clients or "").splitlines()),
    )


def run_tmux(
    arguments: Sequence[str], environment: Mapping[str, str], content: bytes = b""
) -> str | None:
    """What a tmux command writes, given `content` on its input; None when it fails."""
    try:
        done = subprocess.run(
            ["tmux", *arguments],
            input=content,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _number(version: str) -> tuple[int, int]:
    """Major and minor of `3.3a`, `next-3.5` or `openbsd-7.4`; (0, 0) when there is none."""
    found = re.search(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
