"""The fields of ready passages: which column holds the text, the document, the headings. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.text import normalise, one_line

TEXT = (
    *("text", "passage", "chunk", "content", "page_content", "passage_text", "chunk_text"),
    *("contents", "body"),
)
"""The usual names of what is embedded, the most telling first."""
ID = ("id", "_id", "chunk_id", "passage_id", "uuid", "key")
TITLE = ("title", "document_title", "doc_title")
DOCUMENT = (
    *("document", "document_id", "doc_id", "doc", "documentid", "docid"),
    *("path", "file_path", "filepath", "file_name", "filename", "file", "url", "uri", "source"),
)
"""The usual names of what says which rows belong together; `source`, often a whole site, last."""
HEADINGS = ("headings", "heading_path", "heading", "section", "header")
METADATA = ("metadata", "meta")
"""An object, or one written as JSON, that may hold all of these but the text."""

_NAME_MAX = 300


@dataclass(frozen=True)
class Passage:
    """One row as a passage.

    Attributes:
        text: normalised, without blanks around it.
        key: the row's own id, or empty.
        title: of its document, or empty.
        document: which document it belongs to; empty: it is one by itself.
        headings: above it, outermost first.
    """

    text: str
    key: str = ""
    title: str = ""
    document: str = ""
    headings: tuple[str, ...] = ()


def has_text(fields: Iterable[str], text_field: str) -> bool:
    """Whether one of these fields holds the text."""
    wanted = {text_field.casefold()} if text_field else set(TEXT)
    return any(field.casefold() in wanted for field in fields)


def missing_text(fields: Collection[str], text_field: str) -> str:
    """Why no text is found, in one clause."""
    wanted = repr(text_field) if text_field else "a field such as text, content or passage"
    if not fields:
        return "it holds no readable row"
    named = ", ".join(sorted(one_line(field, 40) for field in fields)[:12])
    return f"its rows lack {wanted}, they have {named}; name yours with corpus.text_field"


def known_fields(fields: Iterable[str], text_field: str) -> list[str]:
    """Those of these fields that a passage is made of, in order."""
    names = {*TEXT, *ID, *TITLE, *DOCUMENT, *HEADINGS, *METADATA, text_field.casefold()}
    return [field for field in fields if field.casefold() in names]


def passage_of(row: Mapping[str, Any], text_field: str) -> Passage | str:
    """A row as a passage, or the reason why it is none."""
    fields = {str(name).casefold(): value for name, value in row.items()}
    names = (text_field.casefold(),) if text_field else TEXT
    present = [name for name in names if fields.get(name) not in (None, "")]
    if not present:
        there = any(name in fields for name in names)
        return "it has no text" if there else missing_text(list(map(str, row)), text_field)
    raw = fields[present[0]]
    if not isinstance(raw, str):
        return f"its {present[0]!r} is no text but of type {type(raw).__name__}"
    text = normalise(raw).strip()
    if not text:
        return "it has no text"
    inner = _metadata(fields)
    return Passage(
        text=text,
        key=_first((fields,), ID),
        title=_first((fields, inner), TITLE),
        document=_first((fields, inner), DOCUMENT),
        headings=_headings(fields) or _headings(inner),
    )


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    for name in METADATA:
        value = fields.get(name)
        if isinstance(value, str) and value.lstrip()[:1] == "{":
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, Mapping):
            return {str(key).casefold(): inner for key, inner in value.items()}
    return {}


def _first(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str:
    """The first of these fields that holds a short text or a whole number."""
    names = tuple(names)
    for fields in places:
        for name in names:
            value = fields.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                found = one_line(str(value), _NAME_MAX)
                if found:
                    return found
    return ""


def _headings(fields: Mapping[str, Any]) -> tuple[str, ...]:
    for name in HEADINGS:
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, str) and value.lstrip()[:1] == "[":
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        parts = value if isinstance(value, (list, tuple)) else [value]
        texts = [one_line(part, _NAME_MAX) for part in parts if isinstance(part, str)]
        if any(texts):
            return tuple(text for text in texts if text)
    return ()
