"""Word documents to Markdown.

The parts of the archive are read with the standard library: what Word shows also stands in
content controls, tracked insertions, text boxes and notes, and a dangling relationship, which
Word forgives, is no reason to refuse a document.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from lzma import LZMAError
from xml.etree.ElementTree import Element, ParseError, fromstring

from pipeline.corpus import markdown
from pipeline.corpus.docx_styles import NO_STYLES, Numbering, Styles, attribute, child, local
from pipeline.corpus.reading import Reading, Skipped
from pipeline.corpus.spans import Cell, spread
from pipeline.corpus.text import normalise, one_line

_EXPANSION_MAX = 3
"""The parts that are read may unpack to so many times `corpus.file_megabytes_max`; their trees
take several times that in memory."""
_MAIN = "word/document.xml"
_LEFT_OUT = frozenset(
    {"del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "rPr", "sectPr"}
)
_HANGING = frozenset({"txbxContent", "footnoteReference", "endnoteReference"})
_BREAKS = {"br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "-", "ptab": "\t"}
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile doesn't know
    UnicodeError,
    ValueError,
    OSError,
)


@dataclass(frozen=True)
class _Line:
    """One paragraph.

    Attributes:
        kind: `heading`, `item`, `code` or `paragraph`; `table` for a finished block.
        text: normalised; of a table, its Markdown.
        level: of a heading from 1, of an item from 0.
        marker: of an item.
    """

    kind: str
    text: str
    level: int = 0
    marker: str = ""


def read_docx(content: bytes, megabytes_max: int) -> Reading | Skipped:
    """Read a Word document.

    Heading styles and outline levels become headings, lists nest, merged cells say their text in
    each of their places. Headers, footers, comments, deleted text and tables of contents are
    left out; footnotes follow their paragraph.

    Args:
        content: the file's bytes, a zip archive.
        megabytes_max: `corpus.file_megabytes_max`.
    """
    try:
        parts = _parts(content, megabytes_max)
    except _DAMAGE:
        return Skipped("a damaged Word document: its archive cannot be unpacked", "docx")
    if isinstance(parts, Skipped):
        return parts
    try:
        trees = {name: _tree(part) for name, part in parts.items()}
    except ParseError:
        return Skipped("a damaged Word document: its XML cannot be parsed", "docx")
    text = _Document.of(trees).markdown()
    if not text:
        return Skipped("the document holds no text (only pictures, or nothing)", "docx")
    return Reading("docx", text, _title(trees.get("core")))


def _parts(content: bytes, megabytes_max: int) -> dict[str, bytes] | Skipped:
    """The parts that are read, by their short names; `document` is always among them."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        main = _main_part(archive, infos)
        folder = posixpath.dirname(main)
        names = {"document": main, "core": "docProps/core.xml"}
        names |= {
            short: posixpath.join(folder, f"{short}.xml")
            for short in ("styles", "numbering", "footnotes", "endnotes")
        }
        present = {short: infos[name] for short, name in names.items() if name in infos}
        if "document" not in present:
            return Skipped("a damaged Word document: its text is not in the archive", "docx")
        if any(info.flag_bits & 1 for info in present.values()):
            return Skipped("encrypted: a password is needed to read it", "docx")
        size = sum(info.file_size for info in present.values())
        if size > _EXPANSION_MAX * megabytes_max * 1_000_000:
            return Skipped(
                f"it unpacks to {size // 1_000_000} MB, more than {_EXPANSION_MAX} x "
                f"corpus.file_megabytes_max = {megabytes_max}",
                "docx",
            )
        return {short: archive.read(info) for short, info in present.items()}


def _main_part(archive: zipfile.ZipFile, infos: Mapping[str, zipfile.ZipInfo]) -> str:
    """Where the text lies: as the archive's relationships say, else the usual place."""
    relations = infos.get("_rels/.rels")
    if relations is None or relations.file_size > 1_000_000 or relations.flag_bits & 1:
        return _MAIN
    try:
        root = _tree(archive.read(relations))
    except ParseError:
        return _MAIN
    for relation in root:
        if relation.get("Type", "").endswith("/officeDocument"):
            return relation.get("Target", _MAIN).lstrip("/")
    return _MAIN


def _tree(part: bytes) -> Element:
    """A part's XML. Documents have no DTD; one that has is an attack or broken."""
    if b"<!DOCTYPE" in part[:4096]:
        raise ParseError("a document type")
    try:
        return fromstring(part)
    except (LookupError, ValueError) as error:
        raise ParseError("an unknown encoding") from error


def _title(core: Element | None) -> str:
    found = child(core, "title") if core is not None else None
    return one_line(found.text or "") if found is not None else ""


@dataclass
class _Document:
    body: Element
    styles: Styles
    numbering: Numbering
    notes: dict[tuple[str, str], Element] = field(default_factory=dict)

    @classmethod
    def of(cls, trees: Mapping[str, Element]) -> _Document:
        notes = {
            (f"{kind}Reference", attribute(note, "id")): note
            for kind in ("footnote", "endnote")
            for note in trees.get(f"{kind}s", ())
            if not attribute(note, "type")
        }
        styles = Styles.of(trees["styles"]) if "styles" in trees else NO_STYLES
        return cls(trees["document"], styles, Numbering.of(trees.get("numbering")), notes)

    def markdown(self) -> str:
        blocks = []
        for kind, lines in groupby(self._lines(), key=lambda line: line.kind):
            if kind == "item":
                blocks.append(_list(lines))
            elif kind == "code":
                blocks.append(markdown.fence("\n".join(line.text for line in lines)))
            elif kind == "heading":
                blocks += [markdown.heading(line.text, line.level) for line in lines]
            elif kind == "table":
                blocks += [line.text for line in lines]
            else:
                blocks += [markdown.escape(line.text) for line in lines]
        return normalise(markdown.join(blocks))

    def _lines(self) -> Iterator[_Line]:
        # No recursion: content controls and text boxes may nest deeper than Python's stack.
        pending = [self.body]
        while pending:
            element = pending.pop()
            kind = local(element)
            if kind in _LEFT_OUT:
                continue
            if kind == "p":
                text, below = _inside(element)
                yield from self._line(element, normalise(text))
                pending += reversed(self._hanging(below))
            elif kind == "tbl" and (rows := _data_rows(element)):
                yield _Line("table", markdown.pipe_table(spread(rows, _headers(element))))
                pending += reversed(self._hanging(_inside(element)[1]))
            else:
                pending += reversed(element)

    def _hanging(self, found: Iterable[Element]) -> list[Element]:
        """Text boxes, and each note once: one may refer to itself."""
        boxes_and_notes = (
            element
            if local(element) == "txbxContent"
            else self.notes.pop((local(element), attribute(element, "id")), None)
            for element in found
        )
        return [element for element in boxes_and_notes if element is not None]

    def _line(self, paragraph: Element, text: str) -> Iterator[_Line]:
        style = self.styles.of_paragraph(paragraph)
        if not text.strip() and not style.code:
            return
        if style.contents:
            return
        if style.level:
            yield _Line("heading", text, style.level)
        elif style.code:
            yield _Line("code", text)
        elif marker := self.numbering.marker(style):
            yield _Line("item", text, style.depth, marker)
        else:
            yield _Line("paragraph", text)


def _inside(element: Element) -> tuple[str, list[Element]]:
    """The text of a paragraph, and what hangs on it: text boxes and references to notes."""
    pieces: list[str] = []
    below: list[Element] = []
    pending = list(reversed(element))
    while pending:
        inner = pending.pop()
        kind = local(inner)
        if kind in _LEFT_OUT:
            continue
        if kind in _HANGING:
            below.append(inner)
        elif kind == "t":
            pieces.append(inner.text or "")
        elif kind in _BREAKS:
            whole = kind == "br" and attribute(inner, "type") in ("page", "column")
            pieces.append(" " if whole else _BREAKS[kind])
        else:
            pending += reversed(inner)
    return "".join(pieces), below


_ITEM_DEPTH_MAX = 8


def _list(lines: Iterator[_Line]) -> str:
    """Items with their depths as nested Markdown: a list may begin at any depth."""
    above: list[tuple[int, int]] = []
    out: list[str] = []
    for line in lines:
        while above and above[-1][0] >= line.level:
            above.pop()
        indent = above[-1][1] if above else 0
        text = markdown.item(line.marker, [markdown.clean(line.text)])
        out += [" " * indent + row for row in text.split("\n")]
        if len(above) < _ITEM_DEPTH_MAX:
            above.append((line.level, indent + len(line.marker) + 1))
    return "\n".join(out)


def _rows(table: Element) -> Iterator[Element]:
    """The rows of a table, not those of tables inside of it."""
    yield from _inner(table, "tr")


def _inner(element: Element, name: str) -> Iterator[Element]:
    pending = list(reversed(element))
    while pending:
        inner = pending.pop()
        if local(inner) == name:
            yield inner
        elif local(inner) not in _LEFT_OUT and local(inner) != "tbl":
            pending += reversed(inner)


def _headers(table: Element) -> int:
    count = 0
    for row in _rows(table):
        properties = child(row, "trPr")
        if properties is None or child(properties, "tblHeader") is None:
            break
        count += 1
    return max(count, 1)


def _data_rows(table: Element) -> list[list[Cell]]:
    """The cells row by row; none for a table that only lays a page out."""
    rows = [list(_inner(row, "tc")) for row in _rows(table)]
    if len(rows) < 2 or max(map(len, rows)) < 2 or any(map(_has_table, rows)):
        return []
    made: list[list[_Open]] = []
    above: dict[int, _Open] = {}
    for row in rows:
        column, line = 0, []
        for cell in row:
            properties = child(cell, "tcPr")
            columns = _number(properties, "gridSpan")
            merge = child(properties, "vMerge") if properties is not None else None
            continues = merge is not None and attribute(merge, "val") != "restart"
            if continues and column in above:
                above[column].rows += 1
            else:
                one = _Open(_cell_text(cell), columns)
                above = {at: other for at, other in above.items() if at != column}
                if merge is not None:
                    above[column] = one
                line.append(one)
            column += columns
        made.append(line)
    return [[Cell(one.text, one.columns, one.rows) for one in line] for line in made]


@dataclass
class _Open:
    """A cell whose merged rows are still being counted."""

    text: str
    columns: int
    rows: int = 1


def _has_table(cells: list[Element]) -> bool:
    return any(local(inner) == "tbl" for cell in cells for inner in cell.iter())


def _cell_text(cell: Element) -> str:
    return " ".join(normalise(_inside(line)[0]) for line in _inner(cell, "p"))


def _number(properties: Element | None, name: str) -> int:
    found = child(properties, name) if properties is not None else None
    value = attribute(found, "val") if found is not None else ""
    return int(value) if re.fullmatch(r"[1-9][0-9]{0,3}", value) else 1
