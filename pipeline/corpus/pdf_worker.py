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
from collections.abc import Iterator
from contextlib import closing, suppress
from ctypes import byref, c_int, create_string_buffer
from typing import Any, BinaryIO

import pypdfium2
import pypdfium2.raw as pdfium

from pipeline.corpus.pdf_frames import FRAME, REQUEST

_MEMORY_MAX = 4 << 30
"""Bytes of address space: a file that unpacks to more ends this process, not the machine."""
_FIXED_PITCH = 1
"""The flag of a font whose letters are all of one width (PDF 32000-1, table 123)."""
_BROKEN = 0x02
"""What pdfium puts for a hyphen at a line's end."""
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
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX, _MEMORY_MAX))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while len(head := sys.stdin.buffer.read(REQUEST.size)) == REQUEST.size:
        pages_max, length = REQUEST.unpack(head)
        content = sys.stdin.buffer.read(length)
        for frame in _answer(content, pages_max):
            _send(output, frame)


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
        count = max(0, pdfium.FPDFText_CountChars(text))
        codes = [pdfium.FPDFText_GetUnicode(text, index) for index in range(count)]
        sample = range(0, count, _SAMPLED)
        unmapped = sum(pdfium.FPDFText_HasUnicodeMapError(text, index) == 1 for index in sample)
        lines = [line for span in _spans(codes) if (line := _line(text, codes, *span))]
        return {
            "lines": lines,
            "height": page.get_height(),
            "unmapped": unmapped,
            "sampled": len(sample),
        }


def _spans(codes: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for index, code in enumerate(codes):
        if code in (10, 13):
            yield start, index
            start = index + 1
        elif code == _BROKEN:
            # pdfium goes on with the next line where a word is broken.
            yield start, index + 1
            start = index + 1
    yield start, len(codes)


def _line(text: pypdfium2.PdfTextPage, codes: list[int], start: int, end: int) -> list[Any] | None:
    """Text, left, bottom, right, top in points, and whether its font has a fixed pitch."""
    blank = (0, 9, 32, 160)
    while start < end and codes[start] in blank:
        start += 1
    while start < end and codes[end - 1] in blank:
        end -= 1
    if start == end:
        return None
    # A bullet's font may be much smaller or larger than the text's.
    letter = next(
        (index for index in range(start, end) if _character(codes[index]).isalnum()), start
    )
    first, last, typical = (_box(text, index) for index in (start, end - 1, letter))
    content = "".join(map(_character, codes[start:end]))
    return [
        content,
        round(min(first[0], last[0]), 1),
        round(typical[1], 1),
        round(max(first[2], last[2]), 1),
        round(typical[3], 1),
        _is_fixed(text, letter) and _is_fixed(text, end - 1),
    ]


def _character(code: int) -> str:
    if code in (_BROKEN, 0xFFFE):
        return "-"
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else ""


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
