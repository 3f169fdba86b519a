"""Markdown made from other formats: text stays data, structure is ours.

Texts are what gets embedded, so only what a parser would take for a block of another kind is
escaped; marks inside of a line (`*`, `_`, brackets) mean nothing to blocks and stay as they are.
A paragraph that begins with `-` or `1.` was meant as a list's item and may read as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BLOCK_START = re.compile(
    r"^[^\S\n]*(?="
    r"#{1,6}(?:\s|$)"  # a heading
    r"|```|~~~"  # a fence, which would take all that follows
    r"|=+[^\S\n]*$"  # the underline of a heading
    r"|[|:]?[^\S\n]*:?-[-|: \t]*$"  # the same, a rule, or the second line of a table
    r"|<[A-Za-z/!?]"  # HTML
    r"|>"  # a quotation
    r")",
    re.MULTILINE,
)
_INNER_BLANKS = re.compile(r"[^\S\n]+")
_BACKTICKS = re.compile(r"`+")
_ITEM = re.compile(r"(?:-|\d+\.) ")
_LANGUAGE = re.compile(r"[\w+#.-]{1,30}")
LEVEL_MAX = 6
"""Markdown has six levels of headings."""


def clean(text: str) -> str:
    """Normalised text with its line ends, but no empty lines, and runs of blanks made one."""
    lines = (_INNER_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(filter(None, lines))


def escape(text: str) -> str:
    """A paragraph's text, clean, such that none of its lines begins a block.

    In an item of a list nothing needs this: what begins there ends with the item.
    """
    return _BLOCK_START.sub(r"\\", clean(text))


def heading(text: str, level: int) -> str:
    """A heading of one line; empty where the text is."""
    line = " ".join(text.split())
    if line.endswith("#"):
        line = f"{line[:-1]}\\#"
    return f"{'#' * min(max(level, 1), LEVEL_MAX)} {line}" if line else ""


def fence(code: str, language: str = "") -> str:
    """A code block, its lines as they are; empty where the code is."""
    code = "\n".join(line.rstrip() for line in code.split("\n")).strip("\n")
    if not code:
        return ""
    longest = max((len(run) for run in _BACKTICKS.findall(code)), default=0)
    marks = "`" * max(3, longest + 1)
    named = language if _LANGUAGE.fullmatch(language) else ""
    return f"{marks}{named}\n{code}\n{marks}"


def pipe_table(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the header. Cells become one line each.

    Rows may have different lengths: the header is filled up to the longest.
    """
    width = max(map(len, rows), default=0)
    if not width:
        return ""
    header = [*rows[0], *[""] * (width - len(rows[0]))]
    return "\n".join([_row(header), _row(["---"] * width), *map(_row, rows[1:])])


def _row(cells: Iterable[str]) -> str:
    clean = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(clean)} |"


def item(marker: str, blocks: Sequence[str]) -> str:
    """A list's item: its first block beside the marker, the others indented below.

    Args:
        marker: `-`, `1.` and the like.
        blocks: paragraphs, code, inner lists; not empty.
    """
    parts = [blocks[0]]
    for block in blocks[1:]:
        parts += ["\n" if _ITEM.match(block) else "\n\n", block]
    indent = " " * (len(marker) + 1)
    lines = [indent + line if line else "" for line in "".join(parts).split("\n")]
    return marker + "\n".join(lines)[len(marker) :]


def join(blocks: Iterable[str]) -> str:
    """Blocks with an empty line between them."""
    return "\n\n".join(filter(None, blocks))
