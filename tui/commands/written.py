"""What became of the questions, and what they took: after `sdg`, and in `show`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pipeline.run import Result, Run
from pipeline.sdg.funnel import STEPS, Funnel, read_funnel
from pipeline.sdg.spending import Spent, cost_of, in_money, spent
from pipeline.settings import SdgSettings
from tui.output import Output

_REASONS_SHOWN = 6
_EMPTY_SHOWN = 10


def say_written(run: Run, result: Result, settings: SdgSettings, output: Output) -> None:
    """Show a result's funnel, the documents that came out empty, and what the run spent.

    Args:
        run: the run.
        result: of `sdg`.
        settings: the recipe's: threshold and prices.
        output: a person gets the first documents; under `--json` every one is a line.

    Raises:
        BadInput: the result cannot be read.
    """
    if funnel := read_funnel(result.folder, settings.threshold):
        for line in funnel_lines(funnel):
            output.say(line)
        output.record("funnel", {**funnel.steps, "lost": dict(funnel.lost)})
        for document in funnel.documents:
            never = len(document.never_asked)
            row = {"path": document.path, **document.steps, "never_asked": never}
            output.record("document_funnel", row)
    rows = spent(run.calls_path)
    for line in spent_lines(rows, cost_of(rows, settings)):
        output.say(line)
    if rows:
        fields = {"rows": [asdict(row) for row in rows], "cost": cost_of(rows, settings)}
        output.record("spent", fields)


def funnel_lines(funnel: Funnel) -> list[str]:
    """The funnel in a line, what was lost for what reason, and the documents left empty."""
    steps = ", ".join(f"{funnel.steps[step]:,} {step}" for step in STEPS)
    lines = [f"questions {steps}"]
    shown = list(funnel.lost.items())
    if shown:
        words = ", ".join(f"{count:,} {name}" for name, count in shown[:_REASONS_SHOWN])
        more = ", and others" if len(shown) > _REASONS_SHOWN else ""
        lines.append(f"lost      {words}{more}")
    empty = funnel.empty
    if empty:
        lines.append(f"empty     {len(empty):,} of {len(funnel.documents):,} documents:")
        lines += [f"            {document.path}" for document in empty[:_EMPTY_SHOWN]]
        if len(empty) > _EMPTY_SHOWN:
            lines.append(f"            and {len(empty) - _EMPTY_SHOWN:,} more")
    return lines


def spent_lines(rows: Sequence[Spent], cost: float | None) -> list[str]:
    """What the run paid for until now, by purpose and model, and the sum."""
    lines = [
        f"spent     {row.purpose:<9} {row.model}: {row.calls:,} calls, {row.tokens_in:,} tokens "
        f"sent, {row.tokens_out:,} received" + _guessed(row)
        for row in rows
    ]
    if cost is not None and rows:
        lines.append(f"cost      {in_money(cost)}")
    return lines


def _guessed(row: Spent) -> str:
    return f" ({row.estimated:,} of them not counted by the endpoint)" if row.estimated else ""
