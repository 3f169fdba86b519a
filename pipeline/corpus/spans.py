"""Tables with merged cells as plain rows: what a merged cell says stands in each of its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_COLUMNS_MAX = 64
"""A cell that claims more columns spans so many."""
_REPEATED_MAX = 20_000
"""Characters and places of one table that merged cells may add; past that they merge nothing."""


@dataclass(frozen=True)
class Cell:
    """One cell as a format holds it.

    Attributes:
        text: what it says.
        columns: how many columns it spans, 1 or more.
        rows: how many rows it spans, 1 or more; more than there are is fine.
    """

    text: str
    columns: int = 1
    rows: int = 1


def spread(rows: Sequence[Sequence[Cell]], headers: int = 1) -> list[list[str]]:
    """Rows of texts, with one header row.

    Args:
        rows: the cells that begin in each row.
        headers: how many rows on top are headers; they become one, column by column.
    """
    budget = _REPEATED_MAX
    below: dict[int, tuple[int, str]] = {}
    grid: list[list[str]] = []
    for cells in rows:
        line: list[str] = []
        for cell in cells:
            budget -= _fill(line, below)
            for place in range(min(max(cell.columns, 1), _COLUMNS_MAX)):
                if place and (budget <= 0 or len(line) in below):
                    break
                budget -= len(cell.text) + 1 if place else 0
                if cell.rows > 1:
                    below[len(line)] = (cell.rows - 1, cell.text)
                line.append(cell.text)
        budget -= _fill(line, below)
        if budget <= 0:
            below.clear()
        grid.append(line)
    top = max(1, min(headers, len(grid)))
    return [_one_header(grid[:top]), *grid[top:]]


def _fill(line: list[str], below: dict[int, tuple[int, str]]) -> int:
    """Put what hangs down from the rows above into the next places; says what that adds."""
    added = 0
    while (column := len(line)) in below:
        left, text = below.pop(column)
        if left > 1:
            below[column] = (left - 1, text)
        line.append(text)
        added += len(text) + 1
    return added


def _one_header(rows: Sequence[Sequence[str]]) -> list[str]:
    width = max(map(len, rows), default=0)
    columns = ([row[at] for row in rows if at < len(row)] for at in range(width))
    return [" ".join(dict.fromkeys(filter(None, column))) for column in columns]
