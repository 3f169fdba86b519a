"""What was spent: calls and tokens by purpose and model, from the raw replies of the journal."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.sdg.replies import usage_of
from pipeline.settings import SdgSettings

_CHARACTERS_PER_TOKEN = 4
_MILLION = 1_000_000
_CENT = 0.01


@dataclass(frozen=True)
class Spent:
    """What one model was asked for one purpose.

    Attributes:
        purpose: `generate`, `judge` or `probe`.
        model: its name at the endpoint.
        calls: replies that were paid.
        tokens_in: sent.
        tokens_out: received.
        estimated: calls whose tokens the endpoint didn't count: one token for four characters.
    """

    purpose: str
    model: str
    calls: int
    tokens_in: int
    tokens_out: int
    estimated: int


def in_money(cost: float) -> str:
    """A cost to two decimals, or to two digits where it is less than a hundredth."""
    if cost >= _CENT or not cost:
        return f"{cost:,.2f}"
    return f"{cost:.{1 - math.floor(math.log10(cost))}f}"


def spent(path: Path, used: Container[str] | None = None) -> tuple[Spent, ...]:
    """What a call journal's replies took, by purpose and model; nothing while there is none.

    Args:
        path: of the journal.
        used: only the replies with these keys, each once: what one result rests on, whoever paid
            it. None counts everything that was paid.
    """
    found: dict[tuple[str, str], Spent] = {}
    seen: set[str] = set()
    if not path.is_file():
        return ()
    with path.open("rb") as stream:
        for line in stream:
            name, row = _row(line)
            if row is None or (used is not None and (name not in used or name in seen)):
                continue
            seen.add(name)
            key = (row.purpose, row.model)
            found[key] = _sum(found[key], row) if key in found else row
    return tuple(found[key] for key in sorted(found))


def cost_of(rows: Iterable[Spent], settings: SdgSettings) -> float | None:
    """What it cost by the recipe's prices for a million tokens; None where none is set."""
    if not (settings.price_in or settings.price_out):
        return None
    return math.fsum(
        (row.tokens_in * settings.price_in + row.tokens_out * settings.price_out) / _MILLION
        for row in rows
    )


def _row(line: bytes) -> tuple[str, Spent | None]:
    """One reply with its key; None for a line that is torn or holds no answer."""
    try:
        row = json.loads(line)
        document = json.loads(row["body"])
        message = document["choices"][0]["message"]
        tokens_in, tokens_out = usage_of(document)
        counted = bool(tokens_in or tokens_out)
        if not counted:
            tokens_in = _tokens(int(row.get("sent", 0)))
            tokens_out = _tokens(sum(map(_length, message.values())))
        purpose, model = str(row["purpose"]), str(row["model"])
        return str(row["key"]), Spent(purpose, model, 1, tokens_in, tokens_out, not counted)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "", None


def _sum(one: Spent, other: Spent) -> Spent:
    return Spent(
        one.purpose,
        one.model,
        one.calls + other.calls,
        one.tokens_in + other.tokens_in,
        one.tokens_out + other.tokens_out,
        one.estimated + other.estimated,
    )


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0


def _tokens(characters: int) -> int:
    return math.ceil(characters / _CHARACTERS_PER_TOKEN)
