"""`--top-up`, `--feedback`, `--retry-parked`: another go at what a result lacks, in words."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pipeline.errors import BadRecipe
from pipeline.run import Run, changed_recipe
from tui.commands.finding import overrides_of
from tui.further import Standing, retry_settings, standing_of, top_up
from tui.output import Output


def further_settings(run: Run, arguments: Namespace, output: Output) -> dict[str, Any]:
    """What the options change in the recipe, said in words: which documents, how many calls.

    Raises:
        BadInput: there is no result to start from, or none that can be.
        BadRecipe: the options don't fit each other or the recipe.
    """
    if arguments.feedback and not arguments.top_up:
        raise BadRecipe(
            "--feedback goes with --top-up: rejected questions are told to the round that it adds.",
            safe="Nothing was changed and nothing was asked.",
            next_step=f"Run `embedsmith sdg {run.name} --top-up --feedback`.",
        )
    if not (arguments.top_up or arguments.retry_parked):
        return {}
    settings = changed_recipe(run, overrides_of(arguments), "--set", arguments.variant).sdg
    standing = standing_of(run, arguments.variant, settings)
    if standing.result.partial:
        output.say("sdg: it was ended early; what it left out is asked for first.")
    changed: dict[str, Any] = {}
    if arguments.top_up:
        changed |= _top_up(standing, arguments.feedback, output)
    if arguments.retry_parked:
        changed |= _retry_parked(standing, output)
    return changed


def _top_up(standing: Standing, feedback: bool, output: Output) -> dict[str, Any]:
    found = top_up(standing, feedback)
    if found is None:
        output.say("sdg: nothing to top up; every document kept at least half of its plan.")
        return {}
    output.say(f"sdg: {found.sentence}:")
    for line in found.lines:
        output.say(f"  {line}")
    output.record(
        "top_up",
        {
            "round": found.round,
            "questions": found.questions,
            "calls": found.calls,
            "documents": {each.path: found.wanted[each.id] for each in found.documents},
        },
    )
    if feedback:
        told = len(found.told)
        output.say(f"sdg: {told} rejected questions are told to the writer as what to avoid.")
        for question in found.told:
            output.say(f"  {question}")
    return dict(found.settings)


def _retry_parked(standing: Standing, output: Output) -> dict[str, Any]:
    parked = standing.funnel.parked
    output.record("parked", {"questions": parked})
    changed = retry_settings(standing)
    if not changed:
        output.say("sdg: no question is parked.")
        return {}
    output.say(
        f"sdg: {parked:,} parked questions are asked for again, a damaged reply up to "
        f"{changed['sdg.attempts']} times; all others are as they were paid."
    )
    return dict(changed)
