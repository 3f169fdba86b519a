"""The process that opens PDF files: pdfium is native code, and a damaged file may crash it.

It reads requests from its standard input until that closes and answers each with frames: four
bytes of length, then JSON. `pipeline.corpus.pdf_reader` is the other end.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from ctypes import byref, c_int, c_ushort, create_string_buffer
from signal import SIG_IGN, SIGINT, SIGTERM, signal
from typing import Any, BinaryIO

import pypdfium2
import pypdfium2.raw as pdfium

from pipeline.corpus.pdf_frames import FRAME, REQUEST

_MEMORY_MAX = 4 << 30
"""Bytes of address space: a file that unpacks to more ends this process, not the machine."""
_SECONDS_MAX = 1800
"""Seconds of computing for one file."""
_FIXED_PITCH = 1
"""The flag of a font whose letters are all of one width (PDF 32000-1, table 123)."""
_HYPHENS = {0x02: "-", 0xFFFE: "-"}
"""What pdfium puts for the hyphen of a word that a line's end breaks."""
# pdfium goes on with the next line where a word is broken; blanks at a line's ends have no place.
_LINE = re.compile(r"[^\s\x00\x02\ufffe](?:[^\r\n\x02\ufffe]*[^\s\x02\ufffe])?[\x02\ufffe]?")
_LETTER = re.compile(r"\w")
_FIXED_NAME = re.compile(rb"mono|courier|consol|menlo|typewriter|lettergoth|cm(?:sl|i)?tt", re.I)
"""Fonts of fixed pitch whose files don't say so, as TeX's."""
_OUTLINE_MAX = 5000
_SAMPLED = 16
"""Every so many characters one is asked whether its font says what it shows."""


def main() -> None:
    """Serve until standard input ends."""
    # What native code prints must not come between the frames.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Who ends the stage tells the stage; this process ends with its input.
    signal(SIGTERM, SIG_IGN)
    signal(SIGINT, SIG_IGN)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX, _MEMORY_MAX))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while len(head := sys.stdin.buffer.read(REQUEST.size)) == REQUEST.size:
        pages_max, length = REQUEST.unpack(head)
        content = sys.stdin.buffer.read(length)
        _limit_time()
        for frame in _answer(content, pages_max):
            _send(output, frame)


def _limit_time() -> None:
    """A file that hangs ends this process, even where nobody is left to do so."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + _SECONDS_MAX, hard))


def _send(output: BinaryIO, frame: dict[str, Any]) -> None:
    body = json.dumps(frame, ensure_ascii=True).encode()
    output.write(FRAME.pack(len(body)) + body)
    output.flush()


def _answer(content: bytes, pages_max: int) -> Iterator[dict[str, Any]]:
    """A frame a page, then one with `end`; or one with `refused`."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        locked = error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
        yield {"refused": "encrypted" if locked else "damaged"}
        return
    with closing(document):
        if (pages := len(document)) > pages_max or not pages:
            yield {"refused": "pages" if pages else "empty", "pages": pages}
            return
        for number in range(pages):
            yield _page(document, number)
        yield {"end": True, "title": _title(document), "outline": _outline(document)}


def _title(document: pypdfium2.PdfDocument) -> str:
    try:
        return str(document.get_metadata_value("Title"))
    except UnicodeError:
        return ""


def _outline(document: pypdfium2.PdfDocument) -> list[list[Any]]:
    """The bookmarks: level from 1, title, page from 0."""
    found: list[list[Any]] = []
    with suppress(pypdfium2.PdfiumError, UnicodeError):
        for bookmark in document.get_toc(max_depth=6):
            target = bookmark.get_dest()
            page = target.get_index() if target else None
            if page is not None:
                found.append([bookmark.level + 1, bookmark.get_title(), page])
            if len(found) >= _OUTLINE_MAX:
                break
    return found


def _page(document: pypdfium2.PdfDocument, number: int) -> dict[str, Any]:
    """The lines of a page in the order of the file, and how many characters mean nothing."""
    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        return {"lines": [], "height": 0, "unmapped": 0, "sampled": 0, "damaged": True}
    with closing(page), closing(page.get_textpage()) as text:
        characters = _characters(text)
        sample = range(0, len(characters), _SAMPLED)
        unmapped = sum(pdfium.FPDFText_HasUnicodeMapError(text, index) == 1 for index in sample)
        return {
            "lines": [_line(text, *match.span(), match[0]) for match in _LINE.finditer(characters)],
            "height": page.get_height(),
            "unmapped": unmapped,
            "sampled": len(sample),
        }


def _characters(text: pypdfium2.PdfTextPage) -> str:
    """The characters of a page, each at the index that pdfium knows it by."""
    count = max(0, pdfium.FPDFText_CountChars(text))
    buffer = (c_ushort * (count + 1))()
    written = pdfium.FPDFText_GetText(text, 0, count, buffer)
    whole = bytes(buffer)[: 2 * max(0, written - 1)].decode("utf-16-le", "replace")
    if len(whole) == count:
        return whole
    # One that was left out, or two units for one, would shift all places after it.
    return "".join(_character(pdfium.FPDFText_GetUnicode(text, index)) for index in range(count))


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\0"


def _line(text: pypdfium2.PdfTextPage, start: int, end: int, content: str) -> list[Any]:
    """Text, left, bottom, right, top in points, and whether its font has a fixed pitch."""
    # A bullet's font may be much smaller or larger than the text's.
    word = _LETTER.search(content)
    letter = start + (word.start() if word else 0)
    first, last, typical = (_box(text, index) for index in (start, end - 1, letter))
    return [
        content.translate(_HYPHENS),
        round(min(first[0], last[0]), 1),
        round(typical[1], 1),
        round(max(first[2], last[2]), 1),
        round(typical[3], 1),
        _is_fixed(text, letter) and _is_fixed(text, end - 1),
    ]


def _box(text: pypdfium2.PdfTextPage, index: int) -> tuple[float, float, float, float]:
    """The place of a character, from the font's descent to its ascent; left, bottom, right, top."""
    box = pdfium.FS_RECTF()
    if not pdfium.FPDFText_GetLooseCharBox(text, index, byref(box)):
        return (0.0, 0.0, 0.0, 0.0)
    return (box.left, box.bottom, box.right, box.top)


def _is_fixed(text: pypdfium2.PdfTextPage, index: int) -> bool:
    flags, name = c_int(0), create_string_buffer(64)
    if not pdfium.FPDFText_GetFontInfo(text, index, name, len(name), byref(flags)):
        return False
    return bool(flags.value & _FIXED_PITCH or _FIXED_NAME.search(name.value))


if __name__ == "__main__":
    main()
