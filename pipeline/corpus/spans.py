"""Tables with merged cells as plain rows: what a merged cell says stands in each of its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_COLUMNS_MAX = 64
"""A cell that claims more columns spans so many."""
_REPEATED_MAX = 20_000
"""Characters of one table that merged cells may add; past that their other places stay empty."""


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
    open_below: dict[int, tuple[int, str]] = {}
    grid: list[list[str]] = []
    for cells in rows:
        line: list[str] = []
        waiting = list(reversed(cells))
        while waiting or len(line) in open_below:
            column = len(line)
            if column in open_below:
                left, text = open_below.pop(column)
                budget -= len(text)
                line.append(text if budget >= 0 else "")
                if left > 1:
                    open_below[column] = (left - 1, text)
                continue
            cell = waiting.pop()
            for place in range(min(max(cell.columns, 1), _COLUMNS_MAX)):
                if len(line) in open_below:
                    break
                budget -= len(cell.text) if place else 0
                if cell.rows > 1:
                    open_below[len(line)] = (cell.rows - 1, cell.text)
                line.append(cell.text if not place or budget >= 0 else "")
        grid.append(line)
    top = max(1, min(headers, len(grid)))
    return [_one_header(grid[:top]), *grid[top:]]


def _one_header(rows: Sequence[Sequence[str]]) -> list[str]:
    width = max(map(len, rows), default=0)
    columns = ([row[at] for row in rows if at < len(row)] for at in range(width))
    return [" ".join(dict.fromkeys(filter(None, column))) for column in columns]
