"""`run`, `rehearse` and each stage by its name: walk the chain, doing only what is stale."""

from __future__ import annotations

import functools
import os
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.chain import wait_for_turn
from pipeline.errors import BadInput, BadRecipe
from pipeline.eval.sets import copy_eval_set
from pipeline.journal import Event
from pipeline.launch import LocalLauncher
from pipeline.profiles import profile_of
from pipeline.recipe import Recipe
from pipeline.report import Report, build_report, write_report
from pipeline.run import Run, cache_home, change_recipe, changed_recipe, find_run, home, slug
from pipeline.schedule import suggestion
from pipeline.sdg.consent import leaving
from pipeline.stage import STAGE_NAMES
from pipeline.status import Status, adopt, once_more, status_of_run
from tui.commands.consent import agree, corpus_of, estimate_of, say_estimate
from tui.commands.corpus_report import say_corpus
from tui.commands.finding import overrides_of, rehearsal_for, run_for
from tui.commands.further import further_settings
from tui.commands.machine import require_machine, say_licence
from tui.commands.own_queries import OwnQueries
from tui.commands.preview import preview_command
from tui.commands.written import say_written
from tui.follow import run_stage
from tui.output import Output
from tui.progress import duration

EXIT_FAILED = 1
EXIT_INCONCLUSIVE = 10
"""`embedsmith verify` alone: too few queries to tell."""
EXIT_INTERRUPTED = 130


def run_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith run FOLDER|RUN`: the whole chain, or a span of it."""
    first, last = arguments.first or STAGE_NAMES[0], arguments.last or STAGE_NAMES[-1]
    span = _span(first, last)
    return _walk_or_plan(run_for(arguments), span, arguments, output)


def rehearse_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith rehearse [FOLDER]`: the whole chain on this machine's CPU."""
    span = _span(STAGE_NAMES[0], arguments.last or STAGE_NAMES[-1])
    run = rehearsal_for(arguments)
    if run:
        output.say(f"Rehearsal {run.name}: the whole chain on the CPU, with a small model.")
        output.say("It shows the product at work; its model is not for use.")
        output.say()
    return _walk_or_plan(run, span, arguments, output)


def stage_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith STAGE RUN`: one stage; the earlier ones have to be done."""
    run = find_run(home(), arguments.run)
    for path in getattr(arguments, "eval_sets", None) or []:
        name = slug(Path(path).name)
        if arguments.dry_run:
            output.say(f"eval set {name}: would be copied from {path}")
        else:
            output.say(f"eval set {name}: {copy_eval_set(run, Path(path), name)}")
    if getattr(arguments, "preview", False):
        return preview_command(run, arguments, output)
    if arguments.command == "sdg":
        arguments.further = further_settings(run, arguments, output)
    return _walk_or_plan(run, (arguments.command,), arguments, output)


def _span(first: str, last: str) -> tuple[str, ...]:
    span = STAGE_NAMES[STAGE_NAMES.index(first) : STAGE_NAMES.index(last) + 1]
    if not span:
        raise BadRecipe(
            f"--from {first} comes after --to {last}.",
            safe="Nothing was changed.",
            next_step=f"The order is {', '.join(STAGE_NAMES)}.",
        )
    return span


def _walk_or_plan(
    run: Run | None, span: Sequence[str], arguments: Namespace, output: Output
) -> int:
    if run is None:
        for name in span:
            _say_plan(output, name, "new", "the run itself would be made first", "would run")
        return 0
    if arguments.dry_run:
        return _plan(run, span, arguments, output)
    return _walk(run, span, arguments, output)


def _plan(run: Run, span: Sequence[str], arguments: Namespace, output: Output) -> int:
    """Say what would be done; write nothing."""
    OwnQueries(arguments, output).preview(run)
    overrides = overrides_of(arguments)
    recipe = changed_recipe(run, overrides, "--set", arguments.variant)
    say_licence(profile_of(recipe), output)
    statuses = status_of_run(run, arguments.variant, cache_home(), _options(arguments), recipe)
    stale_before = False
    for status in statuses:
        if status.stage.name in span:
            idle = status.state == "done" and not stale_before
            work = "nothing to do" if idle else "would run"
            _say_plan(output, status.stage.name, status.state, status.reason, work)
        stale_before = stale_before or status.state != "done"
    corpus, sdg = statuses[:2]
    # What a further round takes is said by what asks for it.
    further = getattr(arguments, "further", {})
    asked = span == ("sdg",) and sdg.state != "done"
    if asked and corpus.state == "done" and corpus.result and not further:
        say_estimate(corpus.result, recipe.sdg, output)
    if "finetune" in span:
        say_suggestion(statuses, recipe, output)
    return 0


def say_suggestion(statuses: Sequence[Status], recipe: Recipe, output: Output) -> None:
    """What the published guidance would set otherwise, once it is known how much there is."""
    prep, training = (statuses[STAGE_NAMES.index(name)] for name in ("prep", "finetune"))
    due = prep.state == "done" and training.state != "done"
    if not due or not prep.result or profile_of(recipe).rehearsal:
        return
    counts = prep.result.summary
    found = suggestion(counts["examples"], counts["dev_queries"], recipe.finetune)
    if found.settings:
        output.say(f"{found.reason}. To take it: {found.arguments}")
        fields = {"settings": dict(found.settings), "reason": found.reason}
        output.record("suggestion", fields)


def _say_plan(output: Output, name: str, state: str, reason: str, work: str) -> None:
    output.say(f"{name:<9} {work:<14} {state}: {reason}")
    output.record("plan", {"stage": name, "state": state, "reason": reason, "work": work})


def _walk(run: Run, span: Sequence[str], arguments: Namespace, output: Output) -> int:
    """Bring the span's stages up to date; returns the exit code.

    Raises:
        Failure: a stage failed; earlier ones are kept.
    """
    variant, overrides = arguments.variant, overrides_of(arguments)
    recipe = changed_recipe(run, overrides, "--set", variant)
    profile = profile_of(recipe)
    require_machine(profile, recipe if "finetune" in span else None)
    say_licence(profile, output)
    own = OwnQueries(arguments, output)
    own.agree(run, arguments)
    change_recipe(run, overrides, "--set", variant)
    own.keep(run, variant)
    options = _options(arguments)
    launcher = LocalLauncher(os.environ)
    began, worked = time.monotonic(), 0
    last: Event | None = None
    for name in span:
        if name != "corpus":
            own.measure(run, variant)
        status = _status(run, name, variant, options)
        waiting = functools.partial(_say_waiting, name, output)
        if status.state != "done" and wait_for_turn(run, variant, name, waiting):
            status = _status(run, name, variant, options)
        if status.state == "done":
            adopt(run, variant, status)
            output.say(f"{name}: nothing to do ({status.reason}).")
            output.record("stage", {"stage": name, "state": "done", "reason": status.reason})
            continue
        worked += 1
        if name == "sdg" and status.state != "running":
            _agree(run, variant, arguments, output)
        last = run_stage(run, variant, status, options, launcher, output)
        if last and last.type != "finished":
            output.say(f"{name}: {last.type}. The same command goes on from here.")
            return EXIT_INTERRUPTED
        # Another variant's worker may have made it: say that it is ours, too.
        adopt(run, variant, _status(run, name, variant, {}))
        if last:
            partial = " It was ended early." if last.data["partial"] else ""
            output.say(f"{name}: done in {duration(last.data['seconds'])}.{partial}")
        if name == "sdg" and (written := run.current("sdg", variant)):
            say_written(run, written, run.recipe(variant).sdg, output)
    own.measure(run, variant)
    if span == ("corpus",) and (corpus := corpus_of(run, variant)):
        say_corpus(corpus, recipe.sdg, output)
        say_estimate(corpus, recipe.sdg, output)
    if not worked:
        output.say("Nothing was stale: every stage asked for is up to date.")
    measured = last.data["summary"] if last and span[-1] == "verify" else None
    report = _report(run, variant, measured, output)
    if worked:
        output.say(f"Took {duration(time.monotonic() - began)}.")
    return _exit_code(report.verdict, span)


def _say_waiting(name: str, output: Output, pid: int) -> None:
    output.say(f"{name}: process {pid} is about to begin it; waiting for that.")


def _agree(run: Run, variant: str, arguments: Namespace, output: Output) -> None:
    """Have a yes on record to what `sdg` sends, if it sends anything."""
    corpus, settings = corpus_of(run, variant), run.recipe(variant).sdg
    if corpus and (what := leaving(corpus.folder, settings)):
        estimated = functools.partial(estimate_of, corpus, settings)
        agree(run, what, corpus, estimated, arguments, output)


def _report(run: Run, variant: str, measured: Mapping[str, Any] | None, output: Output) -> Report:
    """Keep the run's report, and show it with what was measured just now."""
    kept = build_report(run, variant)
    write_report(run, kept)
    report = build_report(run, variant, measured) if measured else kept
    output.say()
    output.say(report.text)
    output.record("report", report.fields)
    return report


def _exit_code(verdict: str, span: Sequence[str]) -> int:
    """What verification asks for; 0 for a span without it."""
    if "verify" not in span:
        return 0
    if verdict == "FAIL":
        return EXIT_FAILED
    return EXIT_INCONCLUSIVE if verdict == "INCONCLUSIVE" and len(span) == 1 else 0


def _options(arguments: Namespace) -> dict[str, str]:
    if arguments.command != "verify":
        return {}
    options = once_more(time.time())
    if "@" in (arguments.url or ""):
        raise BadInput(
            "--url holds a user name or password, which would be written down.",
            safe="Nothing was started.",
            next_step="Give the URL without it; a key goes by EMBEDSMITH_API_KEY.",
        )
    return options | ({"url": arguments.url} if arguments.url else {})


def _status(run: Run, name: str, variant: str, options: Mapping[str, str]) -> Status:
    statuses = status_of_run(run, variant, cache_home(), options)
    status = statuses[STAGE_NAMES.index(name)]
    if status.reason.endswith("comes first"):
        which = f" --variant {variant}" if variant else ""
        raise BadInput(
            f"{name} can't start: {status.reason}.",
            safe="What was made so far is kept.",
            next_step=f"Run `embedsmith run {run.name}{which}`, or the missing stage by its name.",
        )
    return status
