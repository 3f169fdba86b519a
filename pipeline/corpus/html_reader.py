"""HTML to Markdown: what a page says, without what it is furnished with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.corpus import markdown
from pipeline.corpus.decoding import decode
from pipeline.corpus.reading import Reading, Skipped
from pipeline.corpus.spans import Cell, spread
from pipeline.corpus.text import normalise, one_line

_DROPPED = frozenset({
    "script", "style", "template", "noscript", "nav", "head", "svg", "iframe", "object",
    "embed", "canvas", "audio", "video", "map", "button", "select", "textarea", "input",
    "datalist", "dialog", "-comment", "!doctype",
})  # fmt: skip
_DROPPED_ROLES = frozenset({"navigation", "search"})
_DROPPED_CLASSES = frozenset({"headerlink", "linenos", "lineno", "sr-only", "visually-hidden"})
_BLOCKS = frozenset({
    "html", "body", "address", "article", "aside", "blockquote", "center", "dd", "details",
    "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "frameset",
    "header", "hgroup", "hr", "legend", "li", "main", "menu", "noframes", "ol", "p", "section",
    "summary", "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "caption",
})  # fmt: skip
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_RAW = frozenset({"pre", "xmp", "listing", "plaintext"})
_LISTS = frozenset({"ul", "ol", "menu", "dir"})
_RAISED = {"sup": ("^", re.compile(r"[-+−]?\w+")), "sub": ("_", re.compile(r"[^\W\d]\w*"))}
_PERMALINKS = frozenset("¶#§🔗")
_BLANKS = re.compile(r"\s+")
_PARTS = re.compile(r"\n *(?:\n *)+")
_META = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE | re.DOTALL
)
_LANGUAGE = re.compile(
    r"(?:^|[\s;])(?:language|lang|highlight-source|highlight|brush:|sourceCode)[-\s]?([\w+#]+)"
)
_NO_LANGUAGES = frozenset({"default", "none", "text", "plaintext", "plain", "notranslate"})
_LATIN = frozenset({"iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii"})
_META_BYTES = 4096
_DEPTH_MAX = 24
"""Lists and tables inside of so many others are read as paragraphs."""
_MAIN_SHARE = 0.5
"""A page's main part stands for the page when it holds this share of its text."""


def read_html(content: bytes, encoding: str) -> Reading | Skipped:
    """Read a page.

    Scripts, styles, templates, navigation and form controls are left out, and what surrounds
    the page's one `<main>` (or `role=main`) where that holds half of the text. Links and images
    leave their words.

    Args:
        content: the file's bytes.
        encoding: of pages that are neither marked nor UTF-8 and declare nothing.
    """
    decoded = decode(content, encoding, declared_encoding(content))
    if isinstance(decoded, Skipped):
        return Skipped(decoded.reason, "html")
    tree = LexborHTMLParser(decoded[0])
    text = _body_of(tree)
    if not text:
        return Skipped("the page holds no text outside of scripts and navigation", "html")
    return Reading("html", normalise(text), _title_of(tree), decoded[1])


def declared_encoding(content: bytes) -> str:
    """What a page's `<meta charset>` says, or empty; Latin-1 means Windows-1252, as in browsers."""
    match = _META.search(content, 0, _META_BYTES)
    name = match[1].decode("ascii", "replace").lower() if match else ""
    return "cp1252" if name in _LATIN else name


def _title_of(tree: LexborHTMLParser) -> str:
    node = tree.head.css_first("title") if tree.head else None
    return one_line(node.text()) if node else ""


def _body_of(tree: LexborHTMLParser) -> str:
    root = tree.body or tree.root
    if root is None:
        return ""
    mains = tree.css("main, [role=main]")
    if len(mains) != 1:
        return _markdown_of(root)
    main = _markdown_of(mains[0])
    # With scripts the text is longer than what would be read, so a yes needs no second walk.
    if len(main) >= _MAIN_SHARE * len(root.text()):
        return main
    whole = _markdown_of(root)
    return main if len(main) >= _MAIN_SHARE * len(whole) else whole


@dataclass
class _Block:
    """A finished block; a paragraph's text is not escaped yet: table cells need no escape."""

    kind: str
    text: str

    def rendered(self, *, inner: bool = False) -> str:
        """As Markdown; inside of an item, where nothing is escaped, or not."""
        if self.kind != "paragraph":
            return self.text
        return markdown.clean(self.text) if inner else markdown.escape(self.text)


@dataclass
class _Frame:
    """An element whose inside is composed by itself: page, heading, code, list, item, table, cell.

    Attributes:
        kind: which of these.
        blocks: what is finished in it.
        inline: the pieces of the running paragraph.
        number: a list's next number; 0 of one without.
        language: of code.
        rows: a table's rows of cell frames.
        headers: how many of the rows are headers.
        spans: columns and rows of a cell.
    """

    kind: str
    blocks: list[_Block] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    number: int = 0
    language: str = ""
    rows: list[list[_Frame]] = field(default_factory=list)
    headers: int = 0
    spans: tuple[int, int] = (1, 1)

    def flush(self) -> None:
        """End the running paragraph, or the code."""
        if not self.inline:
            return
        text, self.inline = normalise("".join(self.inline)), []
        if self.kind == "code":
            code = markdown.fence(text, self.language)
            self.blocks += [_Block("code", code)] if code else []
        else:
            parts = (part.strip() for part in _PARTS.split(text))
            self.blocks += [_Block("paragraph", part) for part in parts if part]

    def has(self, *kinds: str) -> bool:
        return any(block.kind in kinds for block in self.blocks)


def _markdown_of(root: LexborNode) -> str:
    page = _Frame("page")
    frames = [page]
    # No recursion: a page may nest deeper than Python's stack.
    pending: list[LexborNode | _Frame | None] = [root]
    while pending:
        node = pending.pop()
        if node is None:
            frames[-1].flush()
        elif isinstance(node, _Frame):
            frames.pop()
            node.flush()
            _close(node, frames[-1])
        elif node.is_text_node:
            _add_text(frames[-1], node.text_content or "")
        elif not _is_dropped(node):
            pending += _enter(node, frames)
            pending += reversed(list(_children(node)))
    page.flush()
    return markdown.join(block.rendered() for block in page.blocks)


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        yield child
        child = child.next


def _add_text(frame: _Frame, text: str) -> None:
    if frame.kind == "code":
        frame.inline.append(text.replace("\xa0", " "))
    else:
        frame.inline.append(_BLANKS.sub(" ", text))


def _is_dropped(node: LexborNode) -> bool:
    tag = node.tag
    if tag in _DROPPED or not node.is_element_node:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    if attributes.get("role") in _DROPPED_ROLES:
        return True
    classes = attributes.get("class")
    if classes and not _DROPPED_CLASSES.isdisjoint(classes.split()):
        return True
    link = tag == "a" and (attributes.get("href") or "").startswith("#")
    return link and (node.text() or "").strip() in _PERMALINKS


def _enter(node: LexborNode, frames: list[_Frame]) -> list[_Frame | None]:
    """What begins with an element; returned is what is to be done when it ends."""
    tag, top = node.tag or "", frames[-1]
    if top.kind == "code":
        if tag == "br":
            top.inline.append("\n")
        return []
    if tag == "br":
        top.inline.append("\n")
    elif tag == "img":
        _add_text(top, node.attributes.get("alt") or "")
    elif tag in _RAISED:
        _raise(node, top)
    if frame := _frame_of(node, tag, frames):
        top.flush()
        frames.append(frame)
        return [frame]
    if tag in _BLOCKS or tag == "table":
        top.flush()
        return [None]
    return []


def _raise(node: LexborNode, frame: _Frame) -> None:
    """`10<sup>3</sup>` is not 103, while `H<sub>2</sub>O` is H2O."""
    before = frame.inline[-1][-1:] if frame.inline and frame.inline[-1] else ""
    mark, form = _RAISED[node.tag or ""]
    if before.isalnum() and form.fullmatch(node.text() or ""):
        frame.inline.append(mark)


def _frame_of(node: LexborNode, tag: str, frames: list[_Frame]) -> _Frame | None:
    top = frames[-1]
    if tag in _RAW:
        return _Frame("code", language=_language_of(node))
    if tag in _HEADINGS and top.kind != "heading":
        return _Frame("heading", number=int(tag[1]))
    if top.kind == "table":
        if tag == "tr":
            top.rows.append([])
            top.headers += node.parent is not None and node.parent.tag == "thead"
        if tag in ("td", "th"):
            spans = (_count(node, "colspan", 1), _count(node, "rowspan", 1))
            return _Frame("cell", spans=spans)
    if len(frames) > _DEPTH_MAX:
        return None
    if tag in _LISTS:
        return _Frame("list", number=_count(node, "start", 1) if tag == "ol" else 0)
    if tag == "li" and top.kind == "list":
        if top.number:
            top.number = _count(node, "value", top.number)
        return _Frame("item")
    return _Frame("table") if tag == "table" else None


def _count(node: LexborNode, name: str, otherwise: int) -> int:
    value = node.attributes.get(name) or ""
    return int(value) if re.fullmatch(r"[0-9]{1,6}", value) and int(value) else otherwise


def _language_of(node: LexborNode) -> str:
    """From the classes of the element, of the code inside of it or of two elements around it."""
    near = [node, node.css_first("code"), node.parent, node.parent and node.parent.parent]
    for one in near:
        match = _LANGUAGE.search((one.attributes.get("class") or "") if one is not None else "")
        if match and match[1] not in _NO_LANGUAGES:
            return "python" if match[1] == "python3" else match[1].lower()
    return ""


def _close(frame: _Frame, outer: _Frame) -> None:
    """Compose what a frame holds and hand it to the one around it."""
    if frame.kind == "cell":
        if not outer.rows:
            outer.rows.append([])
        outer.rows[-1].append(frame)
    elif frame.kind == "heading":
        text = markdown.heading(" ".join(block.text for block in frame.blocks), frame.number)
        outer.blocks += [_Block("heading", text)] if text else []
    elif frame.kind == "item":
        _close_item(frame, outer)
    elif frame.kind == "list":
        outer.blocks += _list_blocks(frame)
    elif frame.kind == "table":
        outer.blocks += _table_blocks(frame)
    else:
        outer.blocks += frame.blocks


def _close_item(frame: _Frame, outer: _Frame) -> None:
    marker = f"{outer.number}." if outer.number else "-"
    outer.number += 1 if outer.number else 0
    if frame.has("heading"):
        # A list of sections, as cards are: its headings matter more than its marks.
        outer.blocks += frame.blocks
    elif frame.blocks:
        text = markdown.item(marker, [block.rendered(inner=True) for block in frame.blocks])
        outer.blocks.append(_Block("item", text))


def _list_blocks(frame: _Frame) -> list[_Block]:
    if frame.has("heading"):
        return frame.blocks
    items: list[str] = []
    for block in frame.blocks:
        if block.kind == "list" and items:
            # `<ul>` straight inside of `<ul>`: it belongs to the item before it.
            items[-1] += "\n" + "\n".join(f"  {line}" for line in block.text.split("\n"))
        elif block.kind == "item":
            items.append(block.text)
        else:
            items.append(markdown.item("-", [block.rendered(inner=True)]))
    return [_Block("list", "\n".join(items))] if items else []


def _table_blocks(frame: _Frame) -> list[_Block]:
    rows = [row for row in frame.rows if any(cell.blocks for cell in row)]
    if not _is_data(rows):
        return [*frame.blocks, *(block for row in rows for cell in row for block in cell.blocks)]
    cells = [
        [Cell(" ".join(block.text for block in cell.blocks), *cell.spans) for cell in row]
        for row in rows
    ]
    table = markdown.pipe_table(spread(cells, max(frame.headers, 1)))
    return [*frame.blocks, _Block("table", table)]


def _is_data(rows: list[list[_Frame]]) -> bool:
    """False for tables that only lay a page out: one row or column, or whole sections in cells."""
    if len(rows) < 2 or max(map(len, rows)) < 2:
        return False
    return not any(cell.has("heading", "code", "table") for row in rows for cell in row)
