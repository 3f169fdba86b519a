"""F1: the keys of a screen, from the one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.keys import Key, keys_of, names_of
from tui.rows import Row, pad, plain, row, wrap
from tui.screens.dialogs import TextDialog
from tui.steps import STEPS

if TYPE_CHECKING:
    from tui.app import Wizard

_LIST_STEPS = frozenset(
    {"corpus", "generate", "review", "train", "metrics", "export", "deploy", "runs"}
)


def help_dialog(wizard: Wizard) -> TextDialog:
    """The dialog of the screen that is shown."""
    scope = getattr(wizard.screen, "STEP", "runs")
    keys = wizard.keymap()
    about = next((step.about for step in STEPS if step.name == scope), "")
    text = "\n".join(plain(cells).rstrip() for cells in help_rows(scope, keys, about, 76))
    return TextDialog(
        f"Keys of {scope}", lambda width, _h: help_rows(scope, keys, about, width), text
    )


def help_rows(scope: str, keys: dict[str, str], about: str, width: int) -> list[Row]:
    """Every key that works on a screen, with what it does.

    Args:
        scope: the screen's scope in the table.
        keys: keys by binding id, the user's changes in them.
        about: what the step does.
        width: columns.
    """
    rows: list[Row] = [row((part, "text")) for part in wrap(about, width)] if about else []
    blocks: list[tuple[str, Sequence[Key]]] = [("This step", keys_of(scope))]
    if scope in _LIST_STEPS:
        blocks.append(("Lists", keys_of("list")))
    blocks.append(("Everywhere", keys_of("everywhere")))
    for title, entries in blocks:
        rows += [(), row((title, "strong"))]
        for key in entries:
            names = " ".join(names_of(keys[key.id]))
            rows.append(row("  ", (pad(names, 12), "key"), " ", key.help))
    return rows
