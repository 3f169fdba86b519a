"""Blocks: a text's headings, paragraphs, lists, tables and code, as offsets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]

_KINDS: dict[str, BlockKind] = {
    "heading_open": "heading",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
    "html_block": "code",
}
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[`*]+|~~")
_TITLE_MAX = 200
_PIPE_RULE = re.compile(r"[ \t|:]*-[ \t|:-]*")
_RST_RULE = re.compile(r"[ \t]*(?:\+(?:=+\+)+|=+(?: +=+)+)[ \t]*")


@dataclass(frozen=True)
class Block:
    """One block: `text[start:end]`, without blanks at its ends.

    Attributes:
        start: first character.
        end: one past the last character.
        kind: what it is.
        level: 1 to 6 of a heading, else 0.
        title: a heading's text without marks, else empty.
    """

    start: int
    end: int
    kind: BlockKind
    level: int = 0
    title: str = ""


def markdown_blocks(text: str) -> list[Block]:
    """The top-level blocks of a Markdown text, in order.

    Every non-blank character lies in exactly one block: lines that the parser consumes without
    a token (link definitions) become paragraphs.
    """
    starts = _line_starts(text)
    blocks: list[Block] = []
    line = 0
    for token, content in _top_level(_parser().parse(text)):
        first, last = token.map or (line, line)
        blocks += _paragraphs(text, starts[line], starts[max(line, first)])
        first, line = max(line, first), max(line, last)
        blocks += _block(text, starts[first], starts[line], token, content)
    return blocks + list(_paragraphs(text, starts[line], len(text)))


def text_blocks(text: str) -> list[Block]:
    """The paragraphs of a plain text: what blank lines part."""
    return list(_paragraphs(text, 0, len(text)))


def table_header(table: str) -> str:
    """The header rows of a table's text with the rule below them; empty where it has none.

    Markdown: two lines. reStructuredText: up to the rule of `=`, which is a simple table's second.
    """
    lines = table.split("\n")
    if len(lines) > 1 and _PIPE_RULE.fullmatch(lines[1]):
        return "\n".join(lines[:2])
    rules = [at for at, line in enumerate(lines) if _RST_RULE.fullmatch(line)]
    grid = lines[0].lstrip().startswith("+")
    last = rules[0] if grid and rules else rules[1] if len(rules) > 2 else 0
    return "\n".join(lines[: last + 1]) if last else ""


def first_heading(blocks: Iterable[Block]) -> str:
    """The title of the first heading, or empty."""
    return next((block.title for block in blocks if block.title), "")


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """The same slice without blanks at its ends; empty slices stay empty."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, max(start, end - (len(piece) - len(piece.rstrip())))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table")
    # Inline marks don't move block borders, and parsing them is most of the time.
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _line_starts(text: str) -> list[int]:
    """Offset of every line, and the text's length twice: one for the last line's end."""
    lengths = accumulate((len(line) + 1 for line in text.split("\n")), initial=0)
    return [min(offset, len(text)) for offset in lengths] + [len(text)]


def _top_level(tokens: list[Token]) -> Iterator[tuple[Token, str]]:
    """Tokens that open a block outside of others, each with a heading's content."""
    for index, token in enumerate(tokens):
        if token.level == 0 and token.nesting >= 0 and token.map:
            heading = token.type == "heading_open"
            yield token, tokens[index + 1].content if heading else ""


def _block(text: str, start: int, end: int, token: Token, content: str) -> Iterator[Block]:
    start, end = trim(text, start, end)
    if start < end:
        kind = _KINDS.get(token.type, "paragraph")
        level = int(token.tag[1]) if kind == "heading" else 0
        yield Block(start, end, kind, level, _plain(content))


def _plain(heading: str) -> str:
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", heading)).split())[:_TITLE_MAX]


_BLANK_LINE = re.compile(r"\n[^\S\n]*(?=\n)")


def _paragraphs(text: str, start: int, end: int) -> Iterator[Block]:
    cuts = [start, *(match.end() for match in _BLANK_LINE.finditer(text, start, end)), end]
    for left, right in pairwise(cuts):
        left, right = trim(text, left, right)
        if left < right:
            yield Block(left, right, "paragraph")
