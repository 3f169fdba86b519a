"""What a reader gives back: a text, or a reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "markdown", "html", "pdf", "docx", "rst"]
"""The formats that are read. All but `text` and `rst` come out as Markdown."""


@dataclass(frozen=True)
class Reading:
    """What a reader made of a file.

    Attributes:
        kind: its format.
        text: normalised, front matter taken off.
        title: a title that the file states outside of its text, or empty.
        remark: what a person should know, such as a guessed encoding; or empty.
    """

    kind: Kind
    text: str
    title: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Skipped:
    """Why a file was not read, in words."""

    reason: str
    kind: Kind | Literal["unknown"] = "unknown"
