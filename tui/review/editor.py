"""A text in the user's editor: which one, and what came of it. The screen gives up the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from pipeline.errors import BadInput

_FALLBACKS = ("vi", "nano")
_NAME = "sample.txt"


def editor_command(
    environment: Mapping[str, str], which: Callable[[str], str | None] = shutil.which
) -> list[str]:
    """The editor that the user wants: VISUAL, EDITOR, else vi or nano.

    Raises:
        BadInput: there is none.
    """
    for name in ("VISUAL", "EDITOR"):
        if command := environment.get(name, "").strip():
            try:
                return shlex.split(command)
            except ValueError as error:
                raise _no_editor(f"{name}={command} can't be understood: {error}") from error
    for program in _FALLBACKS:
        if which(program):
            return [program]
    raise _no_editor("VISUAL and EDITOR are not set, and there is neither vi nor nano")


def edit_text(command: list[str], text: str) -> str | None:
    """Let the editor work on a text; None when it was left unchanged, or with an error.

    The file is readable by its owner alone and gone afterwards. Control-C belongs to the editor.

    Raises:
        BadInput: the editor can't be started.
    """
    with tempfile.TemporaryDirectory(prefix="embedsmith-") as folder:
        path = Path(folder) / _NAME
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        # A handler, not SIG_IGN: what is ignored would stay so in the editor.
        before = signal.signal(signal.SIGINT, _leave_to_editor)
        try:
            code = subprocess.call([*command, str(path)])
        except OSError as error:
            raise _no_editor(f"{command[0]}: {os.strerror(error.errno or 0)}") from error
        finally:
            signal.signal(signal.SIGINT, before)
        try:
            edited = path.read_bytes().decode("utf-8", errors="replace")
        except OSError:
            return None
    return None if code or edited == text else edited


def _leave_to_editor(_number: int, _frame: FrameType | None) -> None:
    """The editor gets the signal, too, and knows what to do."""


def _no_editor(fault: str) -> BadInput:
    return BadInput(
        f"No editor can be started: {fault}.",
        safe="Nothing was changed.",
        next_step="Set VISUAL or EDITOR to your editor, or press e to edit here.",
    )
