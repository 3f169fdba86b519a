"""Whether a value has the shape that was asked for: the few words of JSON schema that we use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TYPES: Mapping[str, type] = {"string": str, "integer": int, "array": list, "object": dict}


def fault_in(value: object, schema: Mapping[str, Any], place: str = "") -> str:
    """What is wrong with a value, in a few words; empty where it has its shape.

    Stricter than the schema in one thing: no string is empty.

    Args:
        value: parsed JSON.
        schema: type, enum, items, properties and required; all else is ignored.
        place: where the value stands, for the message.
    """
    kind = str(schema.get("type", ""))
    wanted = _TYPES.get(kind)
    if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
        return f"{place or 'the reply'} is no {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{place or 'the reply'} is none of the values allowed"
    if isinstance(value, str) and not value.strip():
        return f"{place or 'the reply'} is empty"
    if isinstance(value, dict):
        return _fault_in_object(value, schema, place)
    if isinstance(value, list) and "items" in schema:
        return _first(
            fault_in(entry, schema["items"], f"{place}[{number}]")
            for number, entry in enumerate(value)
        )
    return ""


def _fault_in_object(value: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> str:
    shapes: Mapping[str, Any] = schema.get("properties", {})
    required: Sequence[str] = schema.get("required", ())
    prefix = f"{place}." if place else ""
    if missing := next((name for name in required if name not in value), None):
        return f"{prefix}{missing} is missing"
    if shapes and (odd := next((name for name in value if name not in shapes), None)) is not None:
        return f"{prefix or 'the reply'} has a field that nobody asked for: {odd[:40]!r}"
    return _first(fault_in(value[n], s, prefix + n) for n, s in shapes.items() if n in value)


def _first(faults: Any) -> str:
    return next((fault for fault in faults if fault), "")
