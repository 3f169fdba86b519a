"""`prep --preview`: how the scores lie, and what each mining rule would leave."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from pipeline.errors import BadInput
from pipeline.files import read_json
from pipeline.launch import LocalLauncher
from pipeline.prep.preview import PREVIEW_FILE
from pipeline.profiles import find_profile
from pipeline.run import Run, cache_home, change_recipe, changed_recipe
from pipeline.status import Status, adopt, folder_of, preview_status
from tui.commands.finding import overrides_of
from tui.commands.machine import require_machine
from tui.follow import run_stage
from tui.output import Output

EXIT_INTERRUPTED = 130

_BAR = 24
_REASONS = {
    "answers": "answer the question",
    "same_document": "come from a document that does",
    "near_copy": "nearly repeat a passage that does",
    "too_close": "score too close to one that does",
    "skipped": "are the first, which are skipped",
}


def preview_command(run: Run, arguments: Namespace, output: Output) -> int:
    """Score as `prep` would, and show the distributions and the rules side by side."""
    variant, overrides = arguments.variant, overrides_of(arguments)
    recipe = changed_recipe(run, overrides, "--set", variant)
    if arguments.dry_run:
        status = preview_status(run, variant, cache_home(), recipe)
        output.say(f"preview: {status.state}: {status.reason}")
        output.record("plan", {"stage": "preview", "state": status.state, "reason": status.reason})
        return 0
    require_machine(find_profile(recipe.profile))
    change_recipe(run, overrides, "--set", variant)
    status = _ready(run, variant)
    if status.state != "done":
        last = run_stage(run, variant, status, {}, LocalLauncher(os.environ), output)
        if last and last.type != "finished":
            output.say(f"preview: {last.type}. The same command goes on from here.")
            return EXIT_INTERRUPTED
    else:
        adopt(run, variant, status)
    shown = read_json(folder_of(run, variant, status) / PREVIEW_FILE)
    output.record("preview", shown)
    for line in preview_lines(shown):
        output.say(line)
    return 0


def preview_lines(shown: Mapping[str, Any]) -> list[str]:
    """A preview for a person.

    Args:
        shown: `pipeline.mining.preview.Preview` as JSON.
    """
    lines = [
        "",
        f"{shown['questions']} training questions, {shown['passages']} passages.",
        "",
        f"{'score':>13}  {'lowest positive':<{_BAR + 6}}  best passage that is none",
    ]
    most = max(1, *shown["positives"], *shown["candidates"])
    edges = shown["edges"]
    for place, counts in enumerate(zip(shown["positives"], shown["candidates"], strict=True)):
        bars = "  ".join(f"{'#' * round(_BAR * n / most):<{_BAR}} {n:>5}" for n in counts)
        lines.append(f"{edges[place]:6.2f}-{edges[place + 1]:6.2f}  {bars}")
    lines += [
        "",
        f"For {shown['above']} questions such a passage scores no lower than a positive:",
        "it may answer, too.",
        "",
        f"  {'rule':<18}{'negatives each':>15}{'all ' + str(shown['wanted']):>8}{'fewer':>7}"
        f"{'none':>6}{'mean score':>12}",
    ]
    for row in shown["rules"]:
        score = "-" if row["mean_score"] is None else f"{row['mean_score']:.3f}"
        lines.append(
            f"{'*' if row['chosen'] else ' '} {row['rule']:<18}{row['negatives_per_query']:>15.2f}"
            f"{row['full']:>8}{row['short']:>7}{row['without']:>6}{score:>12}"
        )
    chosen = next(row for row in shown["rules"] if row["chosen"])
    lines += ["", "* the recipe's rule. To find its negatives it passes over passages that"]
    lines += [f"    {n:>6}  {_REASONS[reason]}" for reason, n in chosen["set_aside"].items()]
    return lines


def _ready(run: Run, variant: str) -> Status:
    """The preview's status.

    Raises:
        BadInput: an earlier stage comes first.
    """
    status = preview_status(run, variant, cache_home())
    if status.identity is None:
        raise BadInput(
            f"The preview can't start: {status.reason}.",
            safe="What was made so far is kept.",
            next_step=f"Run `embedsmith run {run.name} --to sdg`, or the missing stage by its "
            "name.",
        )
    return status
