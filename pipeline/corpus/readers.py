"""The readers: bytes of a file to normalised text, or a reason why not.

A reader is found by what the first bytes hold, then by the suffix; a further format is a further
row of `READERS`.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.corpus.decoding import decode, marked_encoding
from pipeline.corpus.docx_reader import read_docx
from pipeline.corpus.html_reader import read_html
from pipeline.corpus.pdf_reader import read_pdf
from pipeline.corpus.reading import Kind, Reading, Skipped
from pipeline.corpus.text import normalise, strip_front_matter
from pipeline.settings import CorpusSettings

SNIFF_BYTES = 8192
"""How much of a file decides which reader it gets."""

_MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx"})
_HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
_RST = frozenset({".rst", ".rest"})
_TEXT = frozenset({"", ".txt", ".text", ".adoc", ".asciidoc"})
_PLAIN = frozenset({"", ".txt", ".text"})
_TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".ndjson"})
_ZIP = b"PK\x03\x04"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (_ZIP, "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (_OLD_OFFICE, "an old Office document; save it as .docx or .pdf"),
    (b"{\\rtf", "RTF; save it as .docx or .pdf"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"PAR1", "Parquet; give it as corpus.source by itself"),
)
_ARCHIVES: tuple[tuple[str, str], ...] = (
    ("xl/workbook", "a spreadsheet; save its tables as CSV"),
    ("ppt/presentation", "a presentation; save it as .pdf"),
    ("META-INF/container.xml", "an EPUB book; save it as .html or .docx"),
    ("content.xml", "an OpenDocument file; save it as .docx or .pdf"),
)
# Possessive: a comment can be matched in one way only.
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*+>\s*+)?(?:<!--(?:(?!-->).)*+-->\s*+)*+<(?:!doctype\s+html|html[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_HEADING_LINE = re.compile(r"(?:\A|\n)#{1,6} [^\n]+\n[ \t]*(?:\n|\Z)")


@dataclass(frozen=True)
class _Head:
    """What a reader is found by.

    Attributes:
        content: all bytes.
        suffix: the suffix that tells a format, lower case, or empty.
        text: the beginning as text; empty where it is none.
    """

    content: bytes
    suffix: str
    text: str


@dataclass(frozen=True)
class Reader:
    """One format.

    Attributes:
        kind: its word in the report.
        takes: whether a file is of this format.
        read: a file's name and bytes to its text.
    """

    kind: Kind
    takes: Callable[[_Head], bool]
    read: Callable[[str, bytes, CorpusSettings], Reading | Skipped]


def read_content(name: str, content: bytes, settings: CorpusSettings) -> Reading | Skipped:
    """Read one file's content.

    The same bytes, suffix and settings always give the same answer.

    Args:
        name: the file's name; only its suffix matters.
        content: all of its bytes.
        settings: the encoding of what is not UTF-8, and the limits.

    Raises:
        StageFailure: the process that reads PDF files hung or was killed from outside.
    """
    if not content:
        return Skipped("the file is empty")
    head = _Head(content, suffix_of(name), _head_text(content[:SNIFF_BYTES]))
    for reader in READERS:
        if reader.takes(head):
            return reader.read(name, content, settings)
    return Skipped(_refusal(head))


def suffix_of(name: str) -> str:
    """The suffix that tells a format: lower case; empty for `notes.2024` and the like.

    `.rst.txt` and `.md.txt`, as documentation sites serve their sources, are what they say first.
    """
    path = PurePosixPath(name.lower())
    if path.suffix == ".txt" and PurePosixPath(path.stem).suffix in _RST | _MARKDOWN:
        path = PurePosixPath(path.stem)
    return path.suffix if re.fullmatch(r"\.[a-z][a-z0-9]{0,9}", path.suffix) else ""


def _head_text(head: bytes) -> str:
    if marked := marked_encoding(head):
        return head.decode(marked, "replace")
    if b"\0" in head or any(head.startswith(magic) for magic, _ in _MAGIC):
        return ""
    return head.decode("utf-8", "replace")


def _takes_pdf(head: _Head) -> bool:
    start = head.content[:1024] if head.suffix == ".pdf" else head.content[:5]
    return b"%PDF-" in start


def _takes_docx(head: _Head) -> bool:
    if not head.content.startswith(_ZIP):
        return False
    names = _members(head.content)
    # A damaged archive has no list of members: then the suffix tells.
    return (
        head.suffix == ".docx"
        if names is None
        else any(name.startswith("word/document") for name in names)
    )


def _takes_html(head: _Head) -> bool:
    return bool(head.text and (head.suffix in _HTML_SUFFIXES or _HTML.match(head.text)))


def _takes_markdown(head: _Head) -> bool:
    if not head.text:
        return False
    return head.suffix in _MARKDOWN or (head.suffix in _PLAIN and _has_headings(head.text))


def _has_headings(text: str) -> bool:
    """Two `#` lines with a blank line below: more than a commented configuration file has."""
    return len(_HEADING_LINE.findall(text.replace("\r\n", "\n"))) >= 2


def _read_pdf(name: str, content: bytes, settings: CorpusSettings) -> Reading | Skipped:
    return read_pdf(name, content, settings.pdf_pages_max)


def _read_docx(name: str, content: bytes, settings: CorpusSettings) -> Reading | Skipped:
    return read_docx(content, settings.file_megabytes_max)


def _read_html(name: str, content: bytes, settings: CorpusSettings) -> Reading | Skipped:
    return read_html(content, settings.encoding)


def _read_markdown(name: str, content: bytes, settings: CorpusSettings) -> Reading | Skipped:
    decoded = decode(content, settings.encoding)
    if isinstance(decoded, Skipped):
        return Skipped(decoded.reason, "markdown")
    body = strip_front_matter(normalise(decoded[0]))
    return Reading("markdown", body.text, body.title, decoded[1])


def _plain(kind: Kind) -> Callable[[str, bytes, CorpusSettings], Reading | Skipped]:
    """A reader that keeps a text as it is."""

    def read(name: str, content: bytes, settings: CorpusSettings) -> Reading | Skipped:
        decoded = decode(content, settings.encoding)
        if isinstance(decoded, Skipped):
            return Skipped(decoded.reason, kind)
        return Reading(kind, normalise(decoded[0]), remark=decoded[1])

    return read


def _members(content: bytes) -> frozenset[str] | None:
    """The names in a zip archive; None where they cannot be listed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return frozenset(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, ValueError, OSError):
        return None


def _refusal(head: _Head) -> str:
    if head.content.startswith(_ZIP):
        return f"not read: {_archive(_members(head.content))}"
    if head.content.startswith(_OLD_OFFICE) and _ENCRYPTED in head.content:
        return "encrypted: an Office document that needs a password"
    for magic, what in _MAGIC:
        if head.content.startswith(magic):
            return f"not read: {what}"
    if not head.text:
        return "binary: it holds NUL bytes"
    if head.suffix == ".ipynb":
        return "not read: a Jupyter notebook; export it as Markdown or HTML"
    if head.suffix in _TABLES:
        return "not read: a table among documents; give it as corpus.source by itself"
    return f"{head.suffix} files are not read; text, Markdown, HTML, RST, PDF and Word files are"


def _archive(names: frozenset[str] | None) -> str:
    if names is None:
        return "a damaged zip archive"
    return next(
        (what for part, what in _ARCHIVES if any(name.startswith(part) for name in names)),
        "a zip archive",
    )


READERS: tuple[Reader, ...] = (
    Reader("pdf", _takes_pdf, _read_pdf),
    Reader("docx", _takes_docx, _read_docx),
    Reader("html", _takes_html, _read_html),
    Reader("markdown", _takes_markdown, _read_markdown),
    Reader("rst", lambda head: bool(head.text) and head.suffix in _RST, _plain("rst")),
    Reader("text", lambda head: bool(head.text) and head.suffix in _TEXT, _plain("text")),
)
"""Asked in this order."""
