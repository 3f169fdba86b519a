"""Blocks of reStructuredText: the source stays the text, only its borders are found.

Follows the docutils specification of reStructuredText where it says where a block ends. The body
of a directive that holds prose (notes, functions, classes) is read like any other text; the body
of one that holds code or a table stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.corpus.blocks import Block, BlockKind, trim

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*")
_GRID_BORDER = re.compile(r"\+[-=+]+\+")
_SIMPLE_BORDER = re.compile(r"=+(?: +=+)+")
_DIRECTIVE = re.compile(r"\.\. (?:\|[^|\n]{1,80}\| )?([\w.:+-]{1,40}?) ?::(?:\s|$)")
_EXPLICIT = re.compile(r"\.\.(?: |$)")
_BULLET = re.compile(r"[-*+•‣⁃](?: |$)")
_NUMBER = r"(?:\d{1,9}|#|[A-Za-z]|[ivxlcdm]{1,8}|[IVXLCDM]{1,8})"
_NUMBERED = re.compile(rf"(?:\(?{_NUMBER}\)|{_NUMBER}\.) ")
_FIELD = re.compile(r":(?! )[^:\n]{1,80}:(?: |$)")
_CODE = frozenset({
    "code", "code-block", "sourcecode", "literalinclude", "parsed-literal", "math", "highlight",
    "doctest", "testcode", "testoutput", "testsetup", "prompt", "raw", "productionlist",
    "ipython", "graphviz", "digraph", "mermaid", "uml", "command-output", "jupyter-execute",
})  # fmt: skip
_TABLES = frozenset({"table", "csv-table", "list-table", "flat-table"})
_LEVEL_MAX = 6
_TITLE_MAX = 200
_ROLE = re.compile(r":[\w.:+-]{1,60}:`([^`]*)`")
_LINK = re.compile(r"`([^`<]*?) *<[^>`]*>`__?")
_MARKS = re.compile(r"``|`__?|[`*|]")


def rst_blocks(text: str) -> list[Block]:
    """The blocks of a reStructuredText, in order.

    Every non-blank character lies in exactly one block. Headings get their levels by the first
    use of their adornment; literal blocks, code directives and doctests are `code`; definition
    lists are paragraphs, a term with what it means.

    Args:
        text: normalised.
    """
    scanner = _Scanner(text)
    return [block for span in scanner.spans() if (block := scanner.block(span))]


@dataclass(frozen=True)
class _Span:
    """Lines `first` to `last`, the latter excluded."""

    first: int
    last: int
    kind: BlockKind
    level: int = 0
    title: str = ""


@dataclass
class _Scanner:
    text: str
    lines: list[str] = field(init=False)
    indents: list[int] = field(init=False)
    starts: list[int] = field(init=False)
    styles: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")
        self.starts, offset = [], 0
        for line in self.lines:
            self.starts.append(offset)
            offset += len(line) + 1
        self.starts.append(len(self.text))
        self.lines = [line.rstrip().expandtabs(8) for line in self.lines]
        self.indents = [len(line) - len(line.lstrip()) if line else -1 for line in self.lines]

    def block(self, span: _Span) -> Block | None:
        start, end = self.starts[span.first], min(self.starts[span.last], len(self.text))
        start, end = trim(self.text, start, end)
        if start == end:
            return None
        return Block(start, end, span.kind, span.level, span.title)

    def spans(self) -> Iterator[_Span]:
        at = 0
        while at < len(self.lines):
            if not self.lines[at]:
                at += 1
                continue
            for span in self._next(at):
                yield span
                at = span.last

    def _next(self, at: int) -> list[_Span]:
        """The block that begins at a line, and a literal block that belongs to it."""
        line = self.lines[at].lstrip()
        if heading := self._heading(at):
            return [heading]
        if table := self._table(at, line):
            return [table]
        if _EXPLICIT.match(line):
            return [self._explicit(at, line)]
        if _BULLET.match(line) or _FIELD.match(line) or self._is_numbered(at):
            return [_Span(at, self._list_end(at), "list")]
        end = self._paragraph_end(at)
        if line.startswith(">>>"):
            return [_Span(at, end, "code")]
        paragraph = _Span(at, end, "paragraph")
        if self.lines[end - 1].endswith("::"):
            body = self._indented_end(end, self.indents[at])
            if body > end:
                return [paragraph, _Span(end, body, "code")]
        return [paragraph]

    def _is_numbered(self, at: int) -> bool:
        """Whether an enumerated list begins: `A. Einstein` may open a paragraph instead."""
        if not _NUMBERED.match(self.lines[at].lstrip()):
            return False
        below = self.lines[at + 1] if at + 1 < len(self.lines) else ""
        return (
            not below
            or self.indents[at + 1] > self.indents[at]
            or bool(_NUMBERED.match(below.lstrip()))
        )

    def _heading(self, at: int) -> _Span | None:
        if self.indents[at] > 0:
            return None
        line = self.lines[at]
        below = self.lines[at + 1] if at + 1 < len(self.lines) else ""
        third = self.lines[at + 2] if at + 2 < len(self.lines) else ""
        over = _ADORNMENT.fullmatch(line)
        if over and len(line) >= 3 and below and line == third and not _ADORNMENT.fullmatch(below):
            return self._titled(at, at + 3, below.strip(), (line[0], True))
        # A short underline is a mistake that docutils forgives from four characters on.
        long = len(below) >= min(len(line), 4)
        if _ADORNMENT.fullmatch(below) and long and not over and not below.startswith("::"):
            return self._titled(at, at + 2, line, (below[0], False))
        return None

    def _titled(self, first: int, last: int, title: str, style: tuple[str, bool]) -> _Span:
        if style not in self.styles:
            self.styles.append(style)
        level = min(self.styles.index(style) + 1, _LEVEL_MAX)
        return _Span(first, last, "heading", level, _plain(title))

    def _table(self, at: int, line: str) -> _Span | None:
        if _GRID_BORDER.fullmatch(line):
            end = at + 1
            while end < len(self.lines) and self.lines[end].lstrip()[:1] in ("+", "|"):
                end += 1
            return _Span(at, end, "table")
        if not _SIMPLE_BORDER.fullmatch(line):
            return None
        borders = 0
        for end in range(at + 1, len(self.lines)):
            if _SIMPLE_BORDER.fullmatch(self.lines[end].strip()):
                borders += 1
                following = self.lines[end + 1] if end + 1 < len(self.lines) else ""
                if borders == 2 or not following:
                    return _Span(at, end + 1, "table")
        return None

    def _explicit(self, at: int, line: str) -> _Span:
        """A directive, comment or target: whole where it holds code, else its first lines."""
        match = _DIRECTIVE.match(line)
        name = match[1].lower() if match else ""
        if name in _CODE or name in _TABLES:
            end = self._indented_end(at + 1, self.indents[at])
            return _Span(at, end, "code" if name in _CODE else "table")
        return _Span(at, self._paragraph_end(at), "paragraph")

    def _list_end(self, at: int) -> int:
        """Past the last item of a list: items beside the first, and all that is indented."""
        indent, end = self.indents[at], at + 1
        kinds = [
            form for form in (_BULLET, _NUMBERED, _FIELD) if form.match(self.lines[at].lstrip())
        ]
        for line in range(at + 1, len(self.lines)):
            if not self.lines[line]:
                continue
            beside = self.indents[line] == indent and (self.lines[line - 1] == "" or end == line)
            item = any(form.match(self.lines[line].lstrip()) for form in kinds)
            if self.indents[line] <= indent and not (beside and item):
                break
            end = line + 1
        return end

    def _paragraph_end(self, at: int) -> int:
        end = at + 1
        while end < len(self.lines) and self.lines[end]:
            end += 1
        return end

    def _indented_end(self, at: int, indent: int) -> int:
        """Past the last line from `at` on that is indented further, blank lines between them."""
        end = at
        for line in range(at, len(self.lines)):
            if not self.lines[line]:
                continue
            if self.indents[line] <= indent:
                break
            end = line + 1
        return end


def _plain(title: str) -> str:
    without = _LINK.sub(r"\1", _ROLE.sub(r"\1", title))
    return " ".join(_MARKS.sub("", without).split())[:_TITLE_MAX]
