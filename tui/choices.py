"""What a person chooses before a step's work: a setting, its value, and what it costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from tui.rows import Row, Tone, cut, pad, row


@dataclass(frozen=True)
class Choice:
    """One setting of the recipe as a row.

    Attributes:
        setting: its dotted name.
        label: what it is.
        value: what it is now, in words.
        hint: what that costs, in a few words.
        about: what it means and what a change leads to, in a sentence or two.
        tone: of the value.
    """

    setting: str
    label: str
    value: str
    hint: str
    about: str
    tone: Tone = "strong"


def choice_row(choices: Sequence[Choice], index: int, width: int, ellipsis: str) -> Row:
    """One choice in columns that fit all of them."""
    choice = choices[index]
    label = max(cell_len(each.label) for each in choices)
    value = min(max(cell_len(each.value) for each in choices), max(width - label - 8, 8))
    room = max(width - label - value - 7, 0)
    return row(
        " ",
        (pad(choice.label, label) + "  ", "muted"),
        (pad(choice.value, value, ellipsis) + "  ", choice.tone),
        (cut(choice.hint, room, ellipsis), "muted"),
    )
