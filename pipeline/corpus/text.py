"""Normalisation: done once, before any id or offset is made."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from pipeline.files import digest_bytes

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Joiners (U+200C, U+200D) stay: Persian, Indic scripts and emoji mean something by them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(?P<yaml>(?:[ \t]*#.*\n|\s*\n)*[\w\"'-]+[ \t]*:(?:.*\n)*?)(?:---|\.\.\.)"
    r"|\+\+\+[ \t]*\n(?P<toml>(?:.*\n)*?)\+\+\+)[ \t]*(?:\n|\Z)"
)
_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class FrontMatter:
    """A text without the metadata on top of it.

    Attributes:
        text: what follows the front matter.
        title: the metadata's title, or empty.
    """

    text: str
    title: str


def normalise(text: str) -> str:
    """The one form of a text: `\\n` line ends, NFC, no control or invisible characters.

    Tabs stay. Applying it twice changes nothing.
    """
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text)))


def strip_front_matter(text: str) -> FrontMatter:
    """Take YAML (`---`) or TOML (`+++`) metadata off the top of a Markdown text."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return FrontMatter(text, "")
    title = _TITLE.search(match["yaml"] or match["toml"] or "")
    return FrontMatter(text[match.end() :], title[1] if title else "")


def document_id(text: str) -> str:
    """`d` and 16 hexadecimal digits of the normalised text's SHA-256."""
    return "d" + digest_bytes(text.encode())[:16]


def one_line(text: str, limit: int = 120) -> str:
    """A text as it may stand in a message: normalised, one line, cut at `limit` characters."""
    line = " ".join(normalise(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def clean_json(value: Any) -> Any:
    """A foreign JSON value that can be written again: texts normalised, NaN and infinity None."""
    if isinstance(value, str):
        return normalise(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {normalise(str(key)): clean_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_json(inner) for inner in value]
    return value if isinstance(value, (int, bool)) or value is None else normalise(str(value))
