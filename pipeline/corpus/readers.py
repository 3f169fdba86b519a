"""The readers: bytes of a file to normalised text, or a reason why not.

A reader is found by what the first bytes hold, then by the suffix; further formats are
further rows of `READERS`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.corpus.text import normalise, strip_front_matter

BYTES_MAX = 20_000_000
"""Larger files are skipped: 20 MB of text is a dump, not a document."""
SNIFF_BYTES = 8192
"""How much of a file decides which reader it gets."""

_MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx"})
_TEXT = frozenset({"", ".txt", ".text", ".rst", ".adoc", ".asciidoc"})
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "a zip archive or Office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"{\\rtf", "RTF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"PAR1", "Parquet"),
)
_BOMS: tuple[tuple[bytes, str], ...] = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OFFICE = (("word/", "a Word document"), ("xl/", "a spreadsheet"), ("ppt/", "a presentation"))
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html[\s>])", re.IGNORECASE | re.S)
_HEADING_LINE = re.compile(r"(?:\A|\n)#{1,6} [^\n]+\n[ \t]*(?:\n|\Z)")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
_UNPRINTABLE_MAX = 0.01
"""A text with a larger share of control characters and U+FFFD is damaged or binary."""


@dataclass(frozen=True)
class Reading:
    """What a reader made of a file.

    Attributes:
        kind: `text` or `markdown`.
        text: normalised, front matter taken off.
        title: a title that the file states outside of its text, or empty.
        remark: what a person should know, such as a guessed encoding; or empty.
    """

    kind: str
    text: str
    title: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Skipped:
    """Why a file was not read, in words."""

    reason: str
    kind: str = "unknown"


@dataclass(frozen=True)
class Reader:
    """One format.

    Attributes:
        kind: its word in the report.
        recognises: whether it takes a file, from its first bytes and its suffix.
        read: its content to a text.
    """

    kind: str
    recognises: Callable[[bytes, str], bool]
    read: Callable[[bytes], Reading | Skipped]


def read_content(name: str, content: bytes) -> Reading | Skipped:
    """Read one file's content.

    Args:
        name: the file's name; only its suffix matters.
        content: all of its bytes.
    """
    if not content:
        return Skipped("the file is empty")
    head, suffix = content[:SNIFF_BYTES], suffix_of(name)
    for reader in READERS:
        if reader.recognises(head, suffix):
            return reader.read(content)
    return _refusal(head, suffix)


def suffix_of(name: str) -> str:
    """The suffix that tells a format: lower case; empty for `notes.2024` and the like."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z][a-z0-9]{0,9}", suffix) else ""


def decode(content: bytes) -> tuple[str, str] | Skipped:
    """Text and a remark: by byte order mark, as UTF-8, or as Windows-1252.

    Guessing among more encodings garbles more files than it saves, so there is no fourth try.
    """
    marked = next((name for mark, name in _BOMS if content.startswith(mark)), "")
    text, remark = "", ""
    try:
        text = content.decode(marked or "utf-8")
    except UnicodeDecodeError:
        if marked:
            return Skipped(f"its byte order mark says {marked}, but it is damaged")
        try:
            text, remark = content.decode("cp1252"), "read as Windows-1252: not UTF-8"
        except UnicodeDecodeError:
            return Skipped("its encoding is neither UTF-8 nor Windows-1252")
    if len(_UNPRINTABLE.findall(text)) > _UNPRINTABLE_MAX * len(text):
        return Skipped("more than 1 % of it are control or replacement characters")
    return text, remark


def _is_text(head: bytes) -> bool:
    if any(head.startswith(mark) for mark, _ in _BOMS):
        return True
    return b"\0" not in head and not any(head.startswith(magic) for magic, _ in _MAGIC)


def _has_headings(head: bytes) -> bool:
    """Two `#` lines with a blank line below: more than a commented configuration file has."""
    return len(_HEADING_LINE.findall(head.decode("utf-8", "replace").replace("\r\n", "\n"))) >= 2


def _takes_markdown(head: bytes, suffix: str) -> bool:
    if not _is_text(head) or _HTML.match(head):
        return False
    return suffix in _MARKDOWN or (suffix in ("", ".txt", ".text") and _has_headings(head))


def _takes_text(head: bytes, suffix: str) -> bool:
    return suffix in _TEXT and _is_text(head) and not _HTML.match(head)


def _read_text(content: bytes) -> Reading | Skipped:
    decoded = decode(content)
    if isinstance(decoded, Skipped):
        return Skipped(decoded.reason, "text")
    return Reading("text", normalise(decoded[0]), remark=decoded[1])


def _read_markdown(content: bytes) -> Reading | Skipped:
    decoded = decode(content)
    if isinstance(decoded, Skipped):
        return Skipped(decoded.reason, "markdown")
    body = strip_front_matter(normalise(decoded[0]))
    return Reading("markdown", body.text, title=body.title, remark=decoded[1])


def _refusal(head: bytes, suffix: str) -> Skipped:
    if _HTML.match(head):
        return Skipped("HTML is not read yet")
    for magic, what in _MAGIC:
        if head.startswith(magic):
            if magic == b"PK\x03\x04":
                what = next((name for part, name in _OFFICE if part.encode() in head), what)
            return Skipped(f"{what} is not read yet" if what == "PDF" else f"{what}: not read yet")
    if not _is_text(head):
        return Skipped("binary: it holds NUL bytes")
    return Skipped(f"{suffix} files are not read yet; text and Markdown are")


READERS: tuple[Reader, ...] = (
    Reader("markdown", _takes_markdown, _read_markdown),
    Reader("text", _takes_text, _read_text),
)
"""Asked in this order."""
