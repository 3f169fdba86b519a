"""Snapshots of a Textual app as plain text, and of its colours as one line a run."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.style import Style
from textual.app import App

SNAPSHOTS = Path(__file__).parent.parent / "tui" / "snapshots"
UPDATE = "EMBEDSMITH_UPDATE_SNAPSHOTS"
"""Set to 1, it lets snapshots be written; never in CI."""

_ATTRIBUTES = ("bold", "dim", "italic", "underline", "reverse", "strike")


def screen_text(app: App[Any]) -> str:
    """What the screen shows, row by row, without blanks at the ends and without styles."""
    return "\n".join("".join(text for text, _ in row).rstrip() for row in _rows(app))


def styled_text(app: App[Any]) -> str:
    """What the screen shows with its colours: `row:column text fg on bg attributes`, one a run.

    It is what a SVG of the screen holds, but can be read in a review.
    """
    lines = []
    for number, row in enumerate(_rows(app)):
        column = 0
        for style, group in groupby(row, key=lambda run: _style_words(run[1])):
            text = "".join(part for part, _ in group)
            shown = f"{len(text)} blanks" if text.isspace() else repr(text)
            lines.append(f"{number:02d}:{column:03d} {shown} {style}")
            column += len(text)
    return "\n".join(lines)


def assert_snapshot(name: str, text: str, folder: Path = SNAPSHOTS) -> None:
    """Compare with `<name>.txt`.

    Args:
        name: of the snapshot, such as `review-80x24`.
        text: from `screen_text` or `styled_text`.
        folder: where snapshots lie.

    Raises:
        AssertionError: it differs or isn't there, with the difference; `UPDATE` writes it instead,
            but refuses to in CI.
    """
    path = folder / f"{name}.txt"
    text = text.rstrip("\n") + "\n"
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    if text == before:
        return
    if os.environ.get(UPDATE) == "1":
        assert os.environ.get("CI", "").lower() not in ("true", "1"), f"{UPDATE} is set in CI"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    how = f"set {UPDATE}=1 to write it"
    assert before is not None, f"there is no {path.name}; {how}. The screen:\n{text}"
    difference = difflib.unified_diff(
        before.splitlines(),
        text.splitlines(),
        f"{path.name}, as kept",
        "as it is",
        lineterm="",
        n=1,
    )
    raise AssertionError(f"{path.name} differs; {how}.\n" + "\n".join(difference))


def _rows(app: App[Any]) -> Iterator[list[tuple[str, Style | None]]]:
    """The rows of the screen on top, each as runs of text."""
    for strip in app.screen._compositor.render_strips():
        yield [(segment.text, segment.style) for segment in strip if not segment.control]


def _style_words(style: Style | None) -> str:
    if style is None:
        return "default on default"
    fg, bg = (
        "default" if colour is None or colour.is_default else colour.name
        for colour in (style.color, style.bgcolor)
    )
    attributes = [name for name in _ATTRIBUTES if getattr(style, name)]
    return " ".join((f"{fg} on {bg}", *attributes))
