"""The log viewer: the end of a worker's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.rows import row
from tui.screens.dialogs import TextDialog, log_tail

if TYPE_CHECKING:
    from tui.app import Wizard


def log_dialog(wizard: Wizard, stages: Sequence[str]) -> TextDialog:
    """The log of the last of some stages that has one."""
    from pipeline.launch import LOG_NAME

    run = wizard.current
    paths = [run.path / stage / LOG_NAME for stage in stages] if run else []
    present = [path for path in paths if path.is_file()]
    path = max(present, key=lambda path: path.stat().st_mtime, default=None)
    lines = log_tail(path) if path else []
    lines = lines or ["There is no log yet: no worker of this step has run."]
    title = f"Log {path}" if path else "Log"
    return TextDialog(
        title, lambda _w, _h: [row(line) for line in lines], "\n".join(lines), end=True
    )
