"""Bytes to text: by byte order mark, as UTF-8, or by the setting. Imports nothing heavy."""

from __future__ import annotations

import codecs
import re

from pipeline.corpus.reading import Skipped
from pipeline.setting_rules import holds_ascii

_BOMS: tuple[tuple[bytes, str], ...] = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
_UNPRINTABLE_MAX = 0.01
"""A text with a larger share of control characters and U+FFFD is damaged or binary."""
GUESSED = "not UTF-8"
"""Stands in the remark on a text whose encoding is the setting's."""
_NAMES = {"cp1252": "Windows-1252"}


def marked_encoding(content: bytes) -> str:
    """The encoding that a byte order mark tells, or empty."""
    return next((name for mark, name in _BOMS if content.startswith(mark)), "")


def decode(content: bytes, encoding: str, declared: str = "") -> tuple[str, str] | Skipped:
    """A text and a remark, which is empty unless the encoding is a guess.

    UTF-8 is asked before what a file declares: a text in another encoding is hardly ever valid
    UTF-8, and tools that convert a page leave its old declaration standing. Guessing by
    statistics garbles more files than it saves.

    Args:
        content: all bytes of a file.
        encoding: `corpus.encoding`, of what is neither marked nor UTF-8 nor declared.
        declared: what the file says of itself, as an HTML page does; not trusted blindly.
    """
    marked = marked_encoding(content)
    # Seven-bit encodings are valid UTF-8, and say something else.
    escaped = declared.lower().startswith("iso-2022") and b"\x1b" in content
    try:
        text = content.decode(marked or (declared if escaped else "utf-8"))
    except (UnicodeDecodeError, LookupError):
        if marked:
            return Skipped(f"its byte order mark says {marked}, but it is damaged")
    else:
        return _checked(text, "")
    if declared and holds_ascii(declared) and (text := _decoded(content, declared)):
        return _checked(text, "")
    name = _NAMES.get(encoding, encoding)
    if text := _decoded(content, encoding):
        return _checked(text, f"read as {name}: {GUESSED}")
    return Skipped(f"its encoding is neither UTF-8 nor {name} (corpus.encoding)")


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeError:
        return ""


def _checked(text: str, remark: str) -> tuple[str, str] | Skipped:
    if len(_UNPRINTABLE.findall(text)) > _UNPRINTABLE_MAX * len(text):
        return Skipped("more than 1 % of it are control or replacement characters")
    return text, remark
