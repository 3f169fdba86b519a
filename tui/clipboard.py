"""Copying that tells the truth: to tmux, to the terminal, and always to a file."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from pipeline.errors import SystemRefusal
from tui.output import printable
from tui.terminal import Terminal
from tui.tmux import Tmux, read_tmux, run_tmux

TERMINAL_LENGTH_MAX = 74_000
"""Characters of base64 below every limit that terminals are known to have."""

_SCREEN_PIECE = 76
"""Characters of one string that GNU screen hands on whole."""


@dataclass(frozen=True)
class Copied:
    """What became of a copied text.

    Attributes:
        sentence: what happened, for the user.
        path: the file that holds the text; None when it couldn't be written.
        reached: the farthest place that is known to have been tried.
    """

    sentence: str
    path: Path | None
    reached: Literal["tmux", "terminal", "file"]


def copy_folder() -> Path:
    """Where the last copied text lies."""
    return platformdirs.user_state_path("embedsmith")


def copy(
    text: str,
    terminal: Terminal,
    environment: Mapping[str, str],
    write: Callable[[str], None],
    folder: Path,
) -> Copied:
    """Copy a text as far as it goes, and say how far that was.

    Inside tmux through tmux's own command: by default it drops the escape sequence (OSC 52)
    that other terminals take. Control characters are left out: a text from a document must not
    become commands where it is pasted.

    Args:
        text: what to copy.
        terminal: where the user sits; one that is no terminal gets nothing written.
        environment: the process's variables, for tmux.
        write: writes an escape sequence to the terminal.
        folder: where `last-copy.txt` lies.

    Raises:
        SystemRefusal: the text reached nothing, not even the file.
    """
    content = printable(text).encode("utf-8", "replace")
    path, refused = _keep(content, folder / "last-copy.txt")
    size = f"{len(content)} B" if len(content) < 1000 else f"{len(content) / 1000:.1f} KB"
    reached, sentence = _send(content, terminal, environment, write)
    if path is None and reached == "file":
        raise SystemRefusal(
            f"Nothing was copied: {sentence}, and the file can't be written: {refused}.",
            safe="The text is where it was.",
            next_step=f"Make {folder} writable, or free some space, and copy again.",
        )
    where = f"also in {path}" if path else f"the file can't be written: {refused}"
    if reached == "file":
        return Copied(f"{size} are only in {path}: {sentence}.", path, reached)
    return Copied(f"{size} are {sentence}; {where}.", path, reached)


def _send(
    content: bytes, terminal: Terminal, environment: Mapping[str, str], write: Callable[[str], None]
) -> tuple[Literal["tmux", "terminal", "file"], str]:
    """Where a text got, and how to say it."""
    code = base64.b64encode(content).decode("ascii")
    fits = len(code) <= TERMINAL_LENGTH_MAX
    if terminal.tmux:
        tmux = read_tmux(environment)
        return _to_tmux(content, fits, tmux, environment) if tmux else ("file", "tmux is silent")
    if not terminal.tty or terminal.term in ("", "dumb", "unknown"):
        return "file", "there is no terminal to copy to"
    if terminal.term == "linux":
        return "file", "the Linux console has no clipboard"
    if not fits:
        return "file", "too large for the terminal's clipboard"
    write(_osc52(code, terminal.screen))
    return "terminal", "sent to the terminal, which doesn't say whether it took them"


def _to_tmux(
    content: bytes, fits: bool, tmux: Tmux, environment: Mapping[str, str]
) -> tuple[Literal["tmux", "file"], str]:
    outward = fits and tmux.writes_out and tmux.clients > 0
    arguments = ["load-buffer", *(["-w"] if outward else []), "-"]
    if run_tmux(arguments, environment, content) is None:
        return "file", "tmux didn't take the text"
    if outward:
        return "tmux", (
            "in tmux's buffer and sent on to your terminal, which doesn't say whether it took them"
        )
    if not fits:
        why = "too large for the terminal around it"
    elif not tmux.clients:
        why = "no terminal shows this session"
    else:
        why = f"tmux {tmux.version} can't send it on; 3.2 can"
    return "tmux", f"in tmux's buffer, where prefix ] pastes them ({why})"


def _osc52(code: str, screen: bool) -> str:
    """The sequence that sets a terminal's clipboard; GNU screen wants it wrapped, in pieces."""
    if not screen:
        return f"\x1b]52;c;{code}\x07"
    pieces = [code[at : at + _SCREEN_PIECE] for at in range(0, len(code), _SCREEN_PIECE)]
    return "\x1bP\x1b]52;c;" + "\x1b\\\x1bP".join(pieces) + "\x07\x1b\\"


def _keep(content: bytes, path: Path) -> tuple[Path | None, str]:
    """Put the text in its file, readable by its owner alone; or why that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Its files have mode 0600 from the start.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".last-copy.", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        return None, error.strerror or str(error)
    return path, ""
