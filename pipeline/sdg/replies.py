"""What a model's reply says: unwrapped, parsed, and saved in parts where it is damaged.

Rungs, each for what the one before left: the whole reply as JSON; an object within thoughts,
fences or small talk; a repaired object, believed only where every string of an item stands in the
reply and the item has exactly its shape; single items that are whole. Nothing is evaluated, and
no item is made up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import json_repair

from pipeline.sdg.shapes import fault_in

_THINKING = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile("</think>", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(r"\s+")
_STARTS_MAX = 200
"""Braces at which an object is looked for; a reply of nothing but braces has no items."""
_REPAIRED_MAX = 100_000
"""Characters that are worth repairing."""

CUT_OFF = "the reply was cut off at its greatest length"


@dataclass(frozen=True)
class Reply:
    """One reply, read.

    Attributes:
        key: the call that it answers.
        items: the usable objects of the list that was asked for, in order.
        problem: why items may be missing; empty when the reply was whole.
        cut: whether it ended at its greatest length.
        text: the content as the model gave it.
        tokens_in: tokens of the request, by the endpoint's count.
        tokens_out: tokens of the reply.
    """

    key: str
    items: tuple[dict[str, Any], ...]
    problem: str
    cut: bool
    text: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class Wanted:
    """The list of items that a reply should hold.

    Attributes:
        field: its name in the reply's object.
        item: the JSON schema of one item.
        needs: the fields without which an item of a whole reply is of no use.
    """

    field: str
    item: Mapping[str, Any]
    needs: tuple[str, ...]


def wanted_of(schema: Mapping[str, Any], needs: tuple[str, ...]) -> Wanted:
    """What a schema `{field: [item, ...]}` asks for."""
    ((field, shape),) = schema["properties"].items()
    return Wanted(field, shape["items"], needs)


def read_reply(key: str, body: str, wanted: Wanted) -> Reply:
    """Read a chat completion whose content should be `{field: [item, ...]}`.

    Raises:
        ValueError: the body is no chat completion; the call journal answers with none such.
    """
    document = json.loads(body)
    choice = document["choices"][0]
    content = choice["message"].get("content")
    text = content if isinstance(content, str) else ""
    cut = choice.get("finish_reason") == "length"
    items, problem = _items(text, wanted, cut)
    tokens_in, tokens_out = usage_of(document)
    return Reply(
        key=key,
        items=tuple(items),
        problem=CUT_OFF if cut else problem,
        cut=cut,
        text=text,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
    )


def usage_of(document: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens sent and received, by the endpoint's count; 0 where it doesn't say."""
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


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


def _items(content: str, wanted: Wanted, cut: bool) -> tuple[list[dict[str, Any]], str]:
    whole = _parsed(content.strip())
    if not isinstance(whole, dict):
        content = _without_thoughts(content)
        if not content.strip():
            return [], "the reply was empty"
        found = list(_placed_objects(content))
        held = next((o for o in found if isinstance(o[2].get(wanted.field), list)), None)
        if held and f'"{wanted.needs[0]}"' in content[held[1] :]:
            # Its list was closed too early, and goes on behind it.
            items, _ = _usable(held[2][wanted.field], wanted)
            more = _saved(content[held[1] :], wanted, cut)
            return [*items, *more], "the reply was no whole JSON object"
        whole = held[2] if held else next((o for _, _, o in found), None)
    if isinstance(whole, dict) and isinstance(whole.get(wanted.field), list):
        return _usable(whole[wanted.field], wanted)
    saved = _saved(content, wanted, cut)
    if saved:
        return saved, "the reply was no whole JSON object"
    if isinstance(whole, dict) and not any(map(wanted.item["properties"].__contains__, whole)):
        return [], f"the reply had no list {wanted.field!r}"
    return [], "the reply was no whole JSON object"


def _usable(found: list[Any], wanted: Wanted) -> tuple[list[dict[str, Any]], str]:
    """The items of a whole list that can be used, and what is wrong with the first other one."""
    items, problem = [], ""
    for number, entry in enumerate(found):
        if fault := _lacks(entry, wanted):
            problem = problem or f"{wanted.field}[{number}]: {fault}"
        else:
            items.append(entry)
    return items, problem


def _lacks(entry: Any, wanted: Wanted) -> str:
    if not isinstance(entry, dict):
        return "is no object"
    shapes: Mapping[str, Any] = wanted.item["properties"]
    for name in wanted.needs:
        if name not in entry:
            return f"{name} is missing"
        # Which values are allowed is looked up by who knows them: "0" may well mean 0.
        if isinstance(entry[name], (dict, list)) or entry[name] is None:
            return f"{name} is no {shapes[name]['type']}"
        if shapes[name].get("type") == "string" and not text_of(str(entry[name])):
            return f"{name} is empty"
    return ""


def _saved(content: str, wanted: Wanted, cut: bool) -> list[dict[str, Any]]:
    """The items of a damaged reply: those that are whole, then those that a repair makes whole."""
    whole = list(_whole_items(content, wanted))
    seen = [_identity(item, wanted) for item in whole]
    mended = [i for i in _repaired(content, wanted, cut) if _identity(i, wanted) not in seen]
    return whole + mended


def _whole_items(content: str, wanted: Wanted) -> Iterator[dict[str, Any]]:
    head = re.search(rf'"{re.escape(wanted.field)}"\s*:\s*\[', content)
    for found in _objects(content[head.end() if head else 0 :]):
        if not _lacks(found, wanted):
            yield found


def _repaired(content: str, wanted: Wanted, cut: bool) -> list[dict[str, Any]]:
    start = content.find("{")
    if start < 0 or len(content) > _REPAIRED_MAX or content.count("{") > _STARTS_MAX:
        return []
    damaged = content[start:]
    try:
        mended: Any = json_repair.loads(damaged)
    except (ValueError, RecursionError, IndexError):
        return []
    # A reply with something before it comes back as a list of all that was found.
    candidates = mended if isinstance(mended, list) else [mended]
    for candidate in candidates:
        found = candidate.get(wanted.field) if isinstance(candidate, dict) else None
        if isinstance(found, list):
            # What was cut off was closed by the repair, and looks whole.
            ended = not cut and damaged.rstrip(" \n`").endswith("}")
            entries = found if ended else found[:-1]
            said = _plain(damaged)
            return [e for e in entries if not fault_in(e, wanted.item) and _stands(e, said)]
    return []


def _stands(value: Any, said: str) -> bool:
    """Whether every string of a value stands in the reply: a repair must add nothing."""
    if isinstance(value, dict):
        return all(_stands(entry, said) for entry in value.values())
    if isinstance(value, list):
        return all(_stands(entry, said) for entry in value)
    return not isinstance(value, str) or _plain(value) in said


def _plain(text: str) -> str:
    """Without spaces and escapes, which a repair may read in another way."""
    return _SPACES.sub("", re.sub(r'\\[nrt]|[\\"]', "", text))


def _identity(item: Mapping[str, Any], wanted: Wanted) -> str:
    return str(item.get(wanted.needs[0]))


def _without_thoughts(content: str) -> str:
    """What follows the thoughts. A tag within an object's string is none: a question may ask of it.

    Some servers leave out the tag that opens them.
    """
    content = _THINKING.sub("", content)
    if not _THOUGHT.search(content):
        return content
    spans = [(start, end) for start, end, _ in _placed_objects(content)]
    ends = [tag.end() for tag in _THOUGHT.finditer(content)]
    free = [end for end in ends if not any(start < end <= last for start, last in spans)]
    return content[max(free, default=0) :]


def _objects(content: str) -> Iterator[dict[str, Any]]:
    """The whole JSON objects of a text, outermost and in order."""
    return (found for _, _, found in _placed_objects(content))


def _placed_objects(content: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    decoder = json.JSONDecoder()
    place, starts = 0, 0
    while (place := content.find("{", place)) >= 0 and starts < _STARTS_MAX:
        starts += 1
        try:
            found, end = decoder.raw_decode(content, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        yield place, end, found
        place = end


def _parsed(content: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
