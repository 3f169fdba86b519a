"""The lines of PDF pages to paragraphs, headings, lists and code. Pure.

A PDF holds places of letters and no structure, so little is claimed: headings where the outline
or a clearly larger type says so, code where the font has a fixed pitch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from pipeline.corpus import markdown
from pipeline.corpus.text import normalise

RUNNING_SHARE = 0.6
"""The same line at the edge of this share of the pages is a header or a footer."""
_RUNNING_PAGES_MIN = 3
_EDGE_LINES = 2
_MARGIN = 0.12
"""Headers and footers stand in this share of a page's height at its top and bottom. Ours."""
_LARGER = 1.15
"""A heading's type is so many times as large as the text's. Ours."""
_HEADING_CHARACTERS_MAX = 160
_HEADING_SHARE_MAX = 0.3
"""Where more of the text is larger than the text, size says nothing (slides, posters). Ours."""
_OUTLINE_SHARE = 0.5
"""An outline counts when this share of it is found on its pages. Ours."""
_GAP = 1.35
"""A distance of lines so many times the usual one parts paragraphs. Ours."""
_JUMPS_MAX = 0.05
"""More lines that stand above the line before them, in one column, make the order doubtful."""
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_NUMBER_AT_END = re.compile(r"(?:\A(\d{1,5})\b|\b(\d{1,5})(?: (?:of|/) ?\d{1,5})?\W?\Z)")
_ROMAN = re.compile(r"[ivxlcdm]{1,8}", re.IGNORECASE)
_BULLET = re.compile(r"[•‣▪▫◦●○■□∙·–—*-]\s+(?=\S)")
_NUMBERED = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z])[.)]\s+\S")
_SECTION_NUMBER = re.compile(
    r"^(?:(?:chapter|section|appendix|part)\s+)?[\dA-Z]?[\d.]*[.:]?\s+", re.I
)
_LEADER = re.compile(r"\s*(?:\.\s?){4,}(?=\S{0,8}$)")
_SENTENCE_END = re.compile(r"[.!?:;。！？]['\"”’)\]]*$")
# Possessive, and begun at a word's start: a line of a million letters takes no quadratic time.
_HYPHENATED = re.compile(r"\b[^\W\d_]++-[^\W\d_]++")
_BROKEN = re.compile(r"(?<![^\W\d_])([^\W\d_]++)[-\u2010]$")
_FIRST_WORD = re.compile(r"[^\W\d_]++")


@dataclass(frozen=True)
class Line:
    """One line as it stands on a page, its place in points from the page's lower left.

    Attributes:
        text: normalised.
        left, bottom, right, top: its place; bottom and top are those of its font.
        fixed: whether its letters are all of one width.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    fixed: bool = False

    @property
    def size(self) -> float:
        """The height of its type, to half a point."""
        return round(2 * abs(self.top - self.bottom)) / 2


@dataclass(frozen=True)
class Page:
    """The lines of a page in the order of the file, and the page's height in points."""

    lines: tuple[Line, ...]
    height: float


@dataclass(frozen=True)
class Bookmark:
    """One entry of the outline: its level from 1, and its page from 0."""

    level: int
    title: str
    page: int


@dataclass
class _Block:
    kind: str
    lines: list[Line]
    level: int = 0
    text: str = field(default="")


def line_of(text: str, place: Sequence[float], fixed: bool) -> Line | None:
    """A line as the worker reports it; None where nothing is left of it.

    Args:
        text: as pdfium gives it.
        place: left, bottom, right, top.
        fixed: whether its font has a fixed pitch.
    """
    clean = " ".join(normalise(text).translate(_LIGATURES).split())
    left, bottom, right, top = place
    return Line(clean, left, bottom, right, top, fixed) if clean else None


def pages_to_markdown(pages: Sequence[Page], outline: Sequence[Bookmark]) -> str:
    """The text of a document, without headers, footers and page numbers."""
    bodies = without_running(pages)
    levels = _heading_levels(bodies, outline)
    step = _usual_step(bodies)
    hyphenated = {
        match.lower()
        for page in bodies
        for line in page
        for match in _HYPHENATED.findall(line.text)
    }
    blocks: list[_Block] = []
    for number, page in enumerate(bodies):
        made = _blocks(page, number, levels, step)
        for block in made:
            block.text = _text_of(block, hyphenated, step)
        if blocks and made and _goes_on(blocks[-1], made[0]):
            blocks[-1].text = join_lines([blocks[-1].text, made.pop(0).text], hyphenated)
        blocks += made
    return markdown.join(map(_rendered, _with_lists(blocks)))


def is_order_doubtful(pages: Iterable[Page]) -> bool:
    """Whether many lines stand above the line before them although both are in one column."""
    jumps = lines = 0
    for page in pages:
        lines += len(page.lines)
        for before, line in pairwise(page.lines):
            overlap = min(before.right, line.right) - max(before.left, line.left)
            jumps += overlap > 0 and line.bottom > before.top
    return jumps > _JUMPS_MAX * lines


def without_running(pages: Sequence[Page]) -> list[list[Line]]:
    """The lines of each page but those that most pages have at their edges, and page numbers."""
    if len(pages) < _RUNNING_PAGES_MIN:
        return [list(page.lines) for page in pages]
    edges = [_edges(page) for page in pages]
    least = max(_RUNNING_PAGES_MIN, RUNNING_SHARE * len(pages))
    texts = Counter(text for edge in edges for text in {line.text for line in edge})
    running = {text for text, count in texts.items() if count >= least}
    numbers = _page_numbers(edges, least)
    kept = []
    for number, page in enumerate(pages):
        gone = {
            id(line)
            for line in edges[number]
            if line.text in running or line.text in numbers.get(number, ())
        }
        kept.append([line for line in page.lines if id(line) not in gone])
    # Where most of a text would go, its pages are alike, and nothing of it is furniture.
    whole = [list(page.lines) for page in pages]
    return kept if 2 * _characters(kept) >= _characters(whole) else whole


def _characters(pages: Iterable[Iterable[Line]]) -> int:
    return sum(len(line.text) for page in pages for line in page)


def _edges(page: Page) -> list[Line]:
    """The topmost and the lowest lines, as far as they stand in the margins."""
    ordered = sorted(page.lines, key=lambda line: -line.top)
    margin = _MARGIN * page.height
    above = [line for line in ordered[:_EDGE_LINES] if line.bottom > page.height - margin]
    return above + [line for line in ordered[-_EDGE_LINES:] if line.top < margin]


def _page_numbers(edges: Sequence[Sequence[Line]], least: float) -> Mapping[int, set[str]]:
    """Edge lines by page whose number counts the pages: alone, or beside a repeated heading."""
    found: list[tuple[int, str, int, str]] = []
    for page, lines in enumerate(edges):
        for line in lines:
            if match := _NUMBER_AT_END.search(line.text):
                rest = (line.text[: match.start()] + line.text[match.end() :]).strip(" -–—|.")
                found.append((page, line.text, int(match[1] or match[2]) - page, rest))
    offsets = Counter(offset for _, offset in {(page, offset) for page, _, offset, _ in found})
    offset, count = max(offsets.items(), key=lambda one: (one[1], -one[0]), default=(0, 0))
    if count < least:
        return {}
    rests = Counter(rest for _, _, one, rest in found if one == offset)
    numbers: dict[int, set[str]] = {}
    for page, text, one, rest in found:
        if one == offset and (rest.lower() in ("", "page") or rests[rest] > 1):
            numbers.setdefault(page, set()).add(text)
    for page, lines in enumerate(edges):
        # Front matter counts in Roman numerals.
        romans = {line.text for line in lines if _ROMAN.fullmatch(line.text)}
        numbers.setdefault(page, set()).update(romans)
    return numbers


@dataclass(frozen=True)
class _Levels:
    """What makes a line a heading: its page and title, or its size."""

    titles: Mapping[tuple[int, str], int]
    sizes: Mapping[float, int]

    def of(self, line: Line, page: int) -> int:
        if self.titles:
            return self.titles.get((page, _bare(line.text)), 0)
        short = len(line.text) <= _HEADING_CHARACTERS_MAX and any(map(str.isalpha, line.text))
        return self.sizes.get(line.size, 0) if short else 0


def _bare(title: str) -> str:
    """A heading without its number: outlines often leave it out."""
    return "".join(filter(str.isalnum, _SECTION_NUMBER.sub("", title) or title)).lower()


def _heading_levels(pages: Sequence[Sequence[Line]], outline: Sequence[Bookmark]) -> _Levels:
    present = {(number, _bare(line.text)) for number, page in enumerate(pages) for line in page}
    titles = {
        (entry.page, _bare(normalise(entry.title))): entry.level
        for entry in outline
        if _bare(entry.title)
    }
    known = {key: level for key, level in titles.items() if key in present}
    if known and len(known) >= _OUTLINE_SHARE * len(titles):
        return _Levels(known, {})
    weights: Counter[float] = Counter()
    for page in pages:
        for line in page:
            weights[line.size] += len(line.text)
    if not weights:
        return _Levels({}, {})
    text_size = max(weights, key=lambda size: (weights[size], -size))
    larger = sorted((size for size in weights if size >= _LARGER * text_size), reverse=True)
    if sum(weights[size] for size in larger) > _HEADING_SHARE_MAX * weights.total():
        larger = []
    return _Levels({}, {size: min(rank, 6) for rank, size in enumerate(larger, start=1)})


def _usual_step(pages: Iterable[Sequence[Line]]) -> float:
    """The distance of two lines of a paragraph, in points: the median of those downwards."""
    steps = [
        before.bottom - line.bottom
        for page in pages
        for before, line in pairwise(page)
        if 0 < before.bottom - line.bottom < 4 * max(before.size, 1)
    ]
    return median(steps) if steps else 0.0


def _blocks(page: Sequence[Line], number: int, levels: _Levels, step: float) -> list[_Block]:
    rights: dict[int, float] = {}
    for line in page:
        column = int(line.left // 40)
        rights[column] = max(rights.get(column, 0.0), line.right)
    blocks: list[_Block] = []
    for line in page:
        level = levels.of(line, number)
        kind = _kind(line, level)
        if kind == "leader":
            line = replace(line, text=_LEADER.sub(" … ", line.text))
        last = blocks[-1] if blocks else None
        if last and _belongs(last, line, kind, level, step, rights):
            last.lines.append(line)
        else:
            blocks.append(_Block(kind, [line], level))
    for block in blocks:
        if block.kind == "code" and len(block.lines) < 2:
            block.kind = "paragraph"
    return blocks


def _kind(line: Line, level: int) -> str:
    if _LEADER.search(line.text):
        # A table of contents or a price list: its dots are noise, its lines stay lines.
        return "leader"
    if level:
        return "heading"
    if line.fixed:
        return "code"
    return "item" if _BULLET.match(line.text) else "paragraph"


def _belongs(
    block: _Block, line: Line, kind: str, level: int, step: float, rights: Mapping[int, float]
) -> bool:
    """Whether a line goes on with the block before it."""
    before = block.lines[-1]
    down = before.bottom - line.bottom
    if {kind, block.kind} & {"code", "leader"}:
        return kind == block.kind and down > 0
    if kind == "item":
        return False
    if kind == "heading" or block.kind == "heading":
        near = 0 < down < 1.8 * max(line.size, 1)
        return kind == block.kind and level == block.level and near and line.size == before.size
    if abs(down) < 0.3 * max(line.size, 1):
        # The same line, in pieces.
        return True
    if abs(line.size - before.size) > 1 or _NUMBERED.match(line.text):
        return False
    if down < 0:
        return _is_open(before.text) and line.text[:1].islower()
    if step and down > _GAP * step:
        return False
    short = before.right < rights.get(int(before.left // 40), 0.0) - 6 * line.size
    if short and _SENTENCE_END.search(before.text):
        return False
    indented = line.left - before.left
    return not (block.kind == "paragraph" and 0.8 * line.size < indented < 6 * line.size)


def _is_open(text: str) -> bool:
    return not _SENTENCE_END.search(text)


def _text_of(block: _Block, hyphenated: set[str], step: float) -> str:
    if block.kind == "code":
        return _code(block.lines, step)
    if block.kind == "leader":
        return "\n".join(line.text for line in block.lines)
    return join_lines([line.text for line in block.lines], hyphenated)


def join_lines(lines: Sequence[str], hyphenated: set[str]) -> str:
    """The lines of a paragraph; a word that was broken between two of them is one again.

    Args:
        lines: not empty.
        hyphenated: words that the document writes with a hyphen, lower case: theirs stays.
    """
    pieces = [lines[0]]
    for before, after in pairwise(lines):
        broken, word = _BROKEN.search(before), _FIRST_WORD.match(after)
        if not broken or not word or not word[0][0].islower():
            pieces.append(" ")
        elif f"{broken[1]}-{word[0]}".lower() not in hyphenated:
            pieces[-1] = pieces[-1][:-1]
        pieces.append(after)
    return "".join(pieces)


def _code(lines: Sequence[Line], step: float) -> str:
    """Code with the indentation and the empty lines that its places on the page tell."""
    margin = min(line.left for line in lines)
    widths = [(line.right - line.left) / len(line.text) for line in lines if len(line.text) > 3]
    width = median(widths) if widths else 0.0
    out: list[str] = []
    for index, line in enumerate(lines):
        if index and step and lines[index - 1].bottom - line.bottom > 1.6 * step:
            out.append("")
        indent = round((line.left - margin) / width) if width > 0 else 0
        out.append(" " * min(indent, 80) + line.text)
    return "\n".join(out)


def _goes_on(before: _Block, after: _Block) -> bool:
    """Whether a paragraph that a page's end cut goes on with the next page's first one."""
    texts = before.kind in ("paragraph", "item") and after.kind == "paragraph"
    return texts and _is_open(before.text) and after.text[:1].islower()


def _with_lists(blocks: Iterable[_Block]) -> Iterator[_Block]:
    """Items after one another as one block."""
    current: _Block | None = None
    for block in blocks:
        if block.kind != "item":
            if current:
                yield current
            current = None
            yield block
            continue
        text = markdown.item("-", [markdown.clean(_BULLET.sub("", block.text, count=1))])
        if current:
            current.text += f"\n{text}"
        else:
            current = replace(block, text=text)
    if current:
        yield current


def _rendered(block: _Block) -> str:
    if block.kind == "heading":
        return markdown.heading(block.text, block.level)
    if block.kind == "code":
        return markdown.fence(block.text)
    return block.text if block.kind == "item" else markdown.escape(block.text)
