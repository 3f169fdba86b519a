"""What a Word document says of its paragraphs: headings, lists, code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree.ElementTree import Element

_HEADING = re.compile(r"heading ([1-9])\b", re.IGNORECASE)
_CODE = re.compile(r"\b(?:code|preformatted|macro text|listing|verbatim)\b", re.IGNORECASE)
_CODE_INLINE = re.compile(r"\bchar\b|\binline\b", re.IGNORECASE)
_CONTENTS = re.compile(r"(?:toc|contents) [1-9]\b|table of figures", re.IGNORECASE)
_DIGIT = re.compile(r"[0-9]")
_CHAIN_MAX = 20


def local(element: Element) -> str:
    """An element's name without its namespace: strict and transitional documents differ in it."""
    return _without_namespace(element.tag) if isinstance(element.tag, str) else ""


@lru_cache(maxsize=1024)
def _without_namespace(name: str) -> str:
    return name.rpartition("}")[2]


def child(element: Element | None, name: str) -> Element | None:
    """The first child of a name."""
    if element is not None:
        for inner in element:
            if local(inner) == name:
                return inner
    return None


def attribute(element: Element, name: str) -> str:
    """An attribute in whatever namespace, or empty."""
    for key, value in element.items():
        if _without_namespace(key) == name:
            return value
    return ""


def _value(element: Element | None, *path: str) -> str:
    for name in path:
        element = child(element, name)
    return attribute(element, "val") if element is not None else ""


@dataclass(frozen=True)
class Style:
    """How a paragraph is meant.

    Attributes:
        level: of a heading, from 1; 0 of other paragraphs.
        code: whether it is a line of code.
        contents: whether it is a line of a table of contents.
        list: the number of its list, or empty.
        depth: its depth in the list, from 0.
        bullets: without a list of the document's own: `-`, `1.` or empty, by the style's name.
    """

    level: int = 0
    code: bool = False
    contents: bool = False
    list: str = ""
    depth: int = 0
    bullets: str = ""


@dataclass(frozen=True)
class Styles:
    """The paragraph styles of a document.

    Attributes:
        elements: by id.
        default: the id of the style of paragraphs that name none.
    """

    elements: Mapping[str, Element]
    default: str = ""
    known: dict[str, Style] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Element) -> Styles:
        """From `styles.xml`."""
        found = [one for one in root if local(one) == "style"]
        paragraphs = [one for one in found if attribute(one, "type") in ("paragraph", "")]
        default = [one for one in paragraphs if attribute(one, "default") in ("1", "true")]
        return cls(
            {attribute(one, "styleId"): one for one in paragraphs},
            attribute(default[0], "styleId") if default else "",
        )

    def of_paragraph(self, paragraph: Element) -> Style:
        """What a paragraph says itself goes before what its style says."""
        properties = child(paragraph, "pPr")
        name = _value(properties, "pStyle") or self.default
        if name not in self.known:
            self.known[name] = self._resolve(name)
        style = self.known[name]
        if properties is None:
            return style
        return _with_properties(style, properties)

    def _resolve(self, name: str) -> Style:
        chain: list[Element] = []
        while (element := self.elements.get(name)) is not None and len(chain) < _CHAIN_MAX:
            chain.append(element)
            name = _value(element, "basedOn")
        style = Style()
        for element in reversed(chain):
            style = _with_name(style, _value(element, "name"))
            if (properties := child(element, "pPr")) is not None:
                style = _with_properties(style, properties)
        return style


NO_STYLES = Styles({})


def _with_name(style: Style, name: str) -> Style:
    match = _HEADING.match(name)
    level = int(match[1]) if match else style.level
    bullets = style.bullets
    if name.lower().startswith("list bullet"):
        bullets = "-"
    elif name.lower().startswith("list number"):
        bullets = "1."
    return Style(
        level=1 if name.lower() == "title" else level,
        code=style.code or bool(_CODE.search(name) and not _CODE_INLINE.search(name)),
        contents=style.contents or bool(_CONTENTS.match(name)),
        list=style.list,
        depth=style.depth,
        bullets=bullets,
    )


def _with_properties(style: Style, properties: Element) -> Style:
    outline = _value(properties, "outlineLvl")
    level = style.level
    if _DIGIT.fullmatch(outline):
        # 9 is body text.
        level = int(outline) + 1 if outline != "9" else 0
    numbers = child(properties, "numPr")
    depth = _value(numbers, "ilvl")
    number = _value(numbers, "numId")
    return Style(
        level=level,
        code=style.code,
        contents=style.contents,
        list=number if number else style.list,
        depth=int(depth) if _DIGIT.fullmatch(depth) else style.depth,
        bullets="" if number == "0" else style.bullets,
    )


@dataclass(frozen=True)
class _Level:
    format: str = "decimal"
    start: int = 1


@dataclass
class Numbering:
    """The lists of a document, and how far each has counted.

    Attributes:
        lists: a list's number to what counts it: lists of one kind count on.
        levels: the form of each depth, by counter.
    """

    lists: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, Mapping[int, _Level]] = field(default_factory=dict)
    counts: dict[str, dict[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Element | None) -> Numbering:
        """From `numbering.xml`, which documents without lists lack."""
        lists: dict[str, str] = {}
        levels: dict[str, dict[int, _Level]] = {}
        for element in root if root is not None else ():
            if local(element) == "abstractNum":
                levels[f"a{attribute(element, 'abstractNumId')}"] = _levels(element)
            elif local(element) == "num":
                number, counter = (
                    attribute(element, "numId"),
                    f"a{_value(element, 'abstractNumId')}",
                )
                if child(element, "lvlOverride") is not None:
                    levels[f"n{number}"] = levels.get(counter, {})
                    counter = f"n{number}"
                lists[number] = counter
        return cls(lists, levels)

    def marker(self, style: Style) -> str:
        """`-`, the next number of the paragraph's list, or empty where it is in none."""
        if not style.list or style.list == "0":
            return style.bullets
        counter = self.lists.get(style.list, f"n{style.list}")
        level = self.levels.get(counter, {}).get(style.depth, _Level("bullet"))
        if level.format == "none":
            return ""
        if level.format == "bullet":
            return "-"
        counts = self.counts.setdefault(counter, {})
        counts[style.depth] = counts.get(style.depth, level.start - 1) + 1
        for deeper in [depth for depth in counts if depth > style.depth]:
            del counts[deeper]
        return f"{counts[style.depth]}."


def _levels(element: Element) -> dict[int, _Level]:
    found: dict[int, _Level] = {}
    for level in element:
        depth, start = attribute(level, "ilvl"), _value(level, "start")
        if local(level) == "lvl" and _DIGIT.fullmatch(depth):
            first = int(start) if re.fullmatch(r"[0-9]{1,6}", start) else 1
            found[int(depth)] = _Level(_value(level, "numFmt") or "decimal", first)
    return found
