"""What a model's reply says: unwrapped, parsed, and saved in parts where it is damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_OPENED_BEFORE = re.compile(r"\A.*?</think>", re.DOTALL | re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Reply:
    """One reply, read.

    Attributes:
        key: the call that it answers.
        items: the complete objects of the list that was asked for.
        problem: why items may be missing; empty when the reply was whole.
        tokens_in: tokens of the request, by the endpoint's count.
        tokens_out: tokens of the reply.
    """

    key: str
    items: tuple[dict[str, Any], ...]
    problem: str
    tokens_in: int
    tokens_out: int


def read_reply(key: str, body: str, field: str) -> Reply:
    """Read a chat completion whose content should be `{field: [object, ...]}`."""
    document = json.loads(body)
    choice = document["choices"][0]
    content = choice["message"].get("content")
    items, problem = _items(content if isinstance(content, str) else "", field)
    if choice.get("finish_reason") == "length":
        problem = "the reply was cut off at its greatest length"
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        key=key,
        items=tuple(items),
        problem=problem,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
    )


def listed_models(body: str) -> tuple[str, ...]:
    """The ids that a reply to `GET /models` names, sorted; none for any other shape."""
    try:
        rows = json.loads(body)["data"]
        return tuple(sorted(str(row["id"]) for row in rows))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()


def text_of(value: object) -> str:
    """A string from a model as clean text: no control characters, no lone surrogates."""
    if not isinstance(value, str):
        return ""
    value = _SURROGATE.sub("", value)
    return "".join(c for c in value if c.isprintable() or c in "\n\t").strip()


def _items(content: str, field: str) -> tuple[list[dict[str, Any]], str]:
    content = _OPENED_BEFORE.sub("", _THINKING.sub("", content))
    if not content.strip():
        return [], "the reply was empty"
    start = content.find("{")
    try:
        document, _ = json.JSONDecoder().raw_decode(content, max(start, 0))
        found = document.get(field) if isinstance(document, dict) else None
    except (ValueError, RecursionError):
        return list(_salvaged(content, field)), "the reply was no whole JSON object"
    if not isinstance(found, list):
        return [], f"the reply had no list {field!r}"
    return [item for item in found if isinstance(item, dict)], ""


def _salvaged(content: str, field: str) -> Iterator[dict[str, Any]]:
    """The whole objects of a list whose end is missing or damaged, up to the damage."""
    head = re.search(rf'"{re.escape(field)}"\s*:\s*\[', content)
    place = head.end() if head else len(content)
    decoder = json.JSONDecoder()
    while (place := content.find("{", place)) >= 0:
        try:
            item, place = decoder.raw_decode(content, place)
        except (ValueError, RecursionError):
            return
        yield item


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
