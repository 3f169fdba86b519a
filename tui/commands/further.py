"""`--top-up`, `--feedback`, `--retry-parked`, `--target`: another go at what a result lacks.

Each raises a setting of the recipe, no more than once for one result: the same command again goes
on with the attempt that it began.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import BadInput, BadRecipe
from pipeline.files import read_json
from pipeline.recipe import SdgSettings
from pipeline.review.decisions import REASONS, fold
from pipeline.review.log import read_decisions
from pipeline.run import Result, Run, changed_recipe
from pipeline.sdg.batches import CALLS_PER_BATCH, batch_sizes
from pipeline.sdg.feedback import Rejected, avoid_entries
from pipeline.sdg.funnel import Funnel, read_funnel
from pipeline.sdg.records import read_samples
from pipeline.sdg.rounds import wanted_of
from pipeline.sdg.writer import OFFLINE
from pipeline.stage import CAME_LATER
from tui.commands.finding import overrides_of
from tui.output import Output

_SHOWN = 10
"""So many documents are named."""


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
    result = _result(run, arguments.variant)
    funnel = read_funnel(result.folder, settings.threshold)
    if funnel is None:
        raise BadInput(
            "The questions were written by an earlier version, which didn't count by document.",
            safe="Nothing was changed and nothing was asked.",
            next_step=f"Run `embedsmith sdg {run.name} --set sdg.rounds=2`: it counts anew.",
        )
    if result.partial:
        output.say("sdg: it was ended early; what it left out is asked for first.")
    changed: dict[str, Any] = {}
    if arguments.top_up:
        changed |= _top_up(run, arguments, settings, result, funnel, output)
    if arguments.retry_parked:
        changed |= _retry_parked(settings, result, funnel, output)
    return changed


def _result(run: Run, variant: str) -> Result:
    """The result to start from.

    Raises:
        BadInput: there is none, or its questions came with the source.
    """
    result = run.current("sdg", variant)
    if result is None:
        raise BadInput(
            f"{run.name} has no questions yet.",
            safe="Nothing was changed and nothing was asked.",
            next_step=f"Run `embedsmith sdg {run.name}` first.",
        )
    if result.origin == "imported":
        raise BadInput(
            f"The questions of {run.name} came with the source; nobody was asked for them.",
            safe="Nothing was changed and nothing was asked.",
            next_step="Review them as they are.",
        )
    return result


def _top_up(
    run: Run,
    arguments: Namespace,
    settings: SdgSettings,
    result: Result,
    funnel: Funnel,
    output: Output,
) -> dict[str, Any]:
    if settings.target:
        raise BadRecipe(
            f"The recipe has a target of {settings.target} questions, and asks until it is there.",
            safe="Nothing was changed and nothing was asked.",
            next_step="Raise it with --target N, or give it up with --set sdg.target=0.",
        )
    wanted = wanted_of(funnel.planned, funnel.kept)
    if not wanted:
        output.say("sdg: nothing to top up; every document kept at least half of its plan.")
        return {}
    rounds = max(settings.rounds, int(_made(result, "sdg.rounds")) + 1)
    _say_wanted(rounds, wanted, funnel, settings, output)
    changed: dict[str, Any] = {"sdg.rounds": rounds}
    if arguments.feedback:
        avoid = _avoid(run, result, settings, rounds)
        changed["sdg.avoid"] = list(avoid)
        own = [entry for entry in avoid if entry.startswith(f"{rounds}:")]
        output.say(f"sdg: {len(own)} rejected questions are told to the writer as what to avoid.")
        for entry in own:
            output.say(f"  {entry.partition(':')[2].strip()}")
    return changed


def _say_wanted(
    rounds: int,
    wanted: Mapping[str, int],
    funnel: Funnel,
    settings: SdgSettings,
    output: Output,
) -> None:
    questions = sum(wanted.values())
    calls = CALLS_PER_BATCH * sum(len(batch_sizes(count)) for count in wanted.values())
    cost = "no call" if settings.writer == OFFLINE else f"about {calls:,} calls"
    output.say(
        f"sdg: round {rounds} asks {questions:,} questions about {len(wanted):,} documents that "
        f"came out empty or short, {cost}:"
    )
    rows = [document for document in funnel.documents if document.id in wanted]
    for row in rows[:_SHOWN]:
        kept = row.steps["kept"]
        output.say(f"  {row.path}: {kept} of {row.planned} kept, {wanted[row.id]} more")
    if len(rows) > _SHOWN:
        output.say(f"  and {len(rows) - _SHOWN:,} more")
    output.record(
        "top_up",
        {
            "round": rounds,
            "questions": questions,
            "calls": 0 if settings.writer == OFFLINE else calls,
            "documents": {row.path: wanted[row.id] for row in rows},
        },
    )


def _retry_parked(
    settings: SdgSettings, result: Result, funnel: Funnel, output: Output
) -> dict[str, Any]:
    output.record("parked", {"questions": funnel.parked})
    if not funnel.parked:
        output.say("sdg: no question is parked.")
        return {}
    attempts = max(settings.attempts, int(_made(result, "sdg.attempts")) + 1)
    output.say(
        f"sdg: {funnel.parked:,} parked questions are asked for again, a damaged reply up to "
        f"{attempts} times; all others are as they were paid."
    )
    return {"sdg.attempts": attempts}


def _made(result: Result, name: str) -> Any:
    """A setting that a result was made with."""
    settings = read_json(result.folder / "done.json")["identity"]["settings"]
    return settings.get(name, CAME_LATER[name])


def _avoid(run: Run, result: Result, settings: SdgSettings, rounds: int) -> tuple[str, ...]:
    """`sdg.avoid` with what people rejected, unless that round has its entries already."""
    if any(entry.startswith(f"{rounds}:") for entry in settings.avoid):
        return settings.avoid
    return (*settings.avoid, *avoid_entries(_rejected(run, result), rounds, settings.avoid))


def _rejected(run: Run, result: Result) -> Iterator[Rejected]:
    """The questions of a result that stand rejected, the newest first."""
    events = read_decisions(run.decisions_path)
    standing = fold(events).decisions
    samples = {sample.id: sample for sample in read_samples(result.folder)}
    seen: set[str] = set()
    for event in reversed(events):
        for name in event.action.samples:
            decision = standing.get(name)
            if name in samples and name not in seen and decision and decision.verdict == "reject":
                seen.add(name)
                yield Rejected(samples[name], REASONS.get(decision.reason, ""))
