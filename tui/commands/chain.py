"""`run`, `rehearse` and each stage by its name: walk the chain, doing only what is stale."""

from __future__ import annotations

import os
import shutil
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput, BadRecipe, Failure
from pipeline.eval.sets import copy_eval_set
from pipeline.gate import open_nvml, read_machine, require_gpu
from pipeline.launch import LocalLauncher
from pipeline.profiles import REHEARSAL_PROFILE, Profile, find_profile
from pipeline.recipe import Recipe, flatten, parse_setting
from pipeline.report import build_report, write_report
from pipeline.run import (
    Run,
    cache_home,
    change_recipe,
    create_run,
    find_run,
    home,
    list_runs,
    slug,
)
from pipeline.stage import STAGE_NAMES, Status, adopt, status_of_run
from tui.follow import run_stage
from tui.output import Output
from tui.progress import duration

PYDOC = "pydoc"
"""The source that every machine has: the standard library's documentation."""

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def run_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith run FOLDER|RUN`: the whole chain, or a span of it."""
    if arguments.from_run:
        run = _grown_run(arguments)
    else:
        run = _find_or_create(arguments, arguments.source, arguments.profile, "run")
    first, last = arguments.first or STAGE_NAMES[0], arguments.last or STAGE_NAMES[-1]
    return walk(run, first, last, arguments, output)


def rehearse_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith rehearse [FOLDER]`: the whole chain on this machine's CPU."""
    source = arguments.source or PYDOC
    if arguments.documents:
        arguments.settings = [*arguments.settings, f"corpus.documents={arguments.documents}"]
    run = _find_or_create(arguments, source, REHEARSAL_PROFILE, "rehearsal")
    output.say(f"Rehearsal {run.name}: the whole chain on the CPU, with a small model.")
    output.say("It shows the product at work; its model is not for use.")
    output.say()
    last = arguments.last or STAGE_NAMES[-1]
    return walk(run, STAGE_NAMES[0], last, arguments, output)


def stage_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith STAGE RUN`: one stage; the earlier ones have to be done."""
    run = find_run(home(), arguments.run)
    for path in getattr(arguments, "eval_sets", None) or []:
        name = slug(Path(path).name)
        output.say(f"eval set {name}: {copy_eval_set(run, Path(path), name)}")
    return walk(run, arguments.command, arguments.command, arguments, output)


def walk(run: Run, first: str, last: str, arguments: Namespace, output: Output) -> int:
    """Bring the stages from `first` to `last` up to date; returns the exit code.

    Raises:
        Failure: a stage failed; earlier ones are kept.
    """
    overrides = dict(parse_setting(text) for text in arguments.settings)
    change_recipe(run, overrides, "--set", arguments.variant)
    span = STAGE_NAMES[STAGE_NAMES.index(first) : STAGE_NAMES.index(last) + 1]
    if not span:
        raise _empty_span(first, last)
    if arguments.dry_run:
        return _dry_run(run, span, arguments, output)
    profile = find_profile(run.recipe(arguments.variant).profile)
    _require_machine(profile)
    options = _options(arguments)
    launcher = LocalLauncher(os.environ)
    began, worked = time.monotonic(), 0
    for name in span:
        status = _status(run, name, arguments.variant, options)
        if status.state == "done":
            adopt(run, arguments.variant, status)
            output.say(f"{name}: nothing to do ({status.reason}).")
            output.record("stage", {"stage": name, "state": "done", "reason": status.reason})
            continue
        worked += 1
        end = run_stage(run, arguments.variant, status, options, launcher, output)
        if end is None:
            continue
        if end.type != "finished":
            output.say(f"{name}: {end.type}. The same command goes on from here.")
            return EXIT_INTERRUPTED
        _say_finished(name, end.data, output)
    return _close(run, span, arguments.variant, worked, time.monotonic() - began, output)


def _close(
    run: Run, span: Sequence[str], variant: str, worked: int, seconds: float, output: Output
) -> int:
    """The report of what the run holds now, and the exit code that verification asks for."""
    if not worked:
        output.say("Nothing was stale: every stage asked for is up to date.")
    report = build_report(run, variant)
    write_report(run, report)
    output.say()
    output.say(report.text)
    if worked:
        output.say(f"Took {duration(seconds)}.")
    output.record("report", report.fields)
    if "verify" in span and report.verdict == "FAIL":
        return EXIT_FAILED
    if tuple(span) == ("verify",) and report.verdict == "INCONCLUSIVE":
        return EXIT_INCONCLUSIVE
    return 0


EXIT_INCONCLUSIVE = 10
"""`embedsmith verify` alone: too few queries to tell."""


def _say_finished(name: str, data: Mapping[str, Any], output: Output) -> None:
    partial = " It was ended early." if data["partial"] else ""
    output.say(f"{name}: done in {duration(data['seconds'])}.{partial}")


def _options(arguments: Namespace) -> dict[str, str]:
    if arguments.command != "verify":
        return {}
    # An explicit verification is a new measurement, however often it was made before.
    options = {"again": f"@{time.time():.0f}"}
    return options | ({"url": arguments.url} if arguments.url else {})


def _status(run: Run, name: str, variant: str, options: Mapping[str, str]) -> Status:
    statuses = status_of_run(run, variant, cache_home(), options)
    status = statuses[STAGE_NAMES.index(name)]
    if status.reason.endswith("comes first"):
        raise BadInput(
            f"{name} can't start: {status.reason}.",
            safe="What was made so far is kept.",
            next_step=f"Run `embedsmith run {run.name}`, or the missing stage by its name.",
        )
    return status


def _dry_run(run: Run, span: Sequence[str], arguments: Namespace, output: Output) -> int:
    statuses = status_of_run(run, arguments.variant, cache_home(), _options(arguments))
    stale_before = False
    for status in statuses:
        name = status.stage.name
        if name not in span:
            continue
        work = "nothing to do" if status.state == "done" and not stale_before else "would run"
        stale_before = stale_before or status.state != "done"
        output.say(f"{name:<9} {work:<14} {status.state}: {status.reason}")
        fields = {"stage": name, "state": status.state, "reason": status.reason, "work": work}
        output.record("plan", fields)
    return 0


def _require_machine(profile: Profile) -> None:
    """Refuse before anything is started; the worker checks again by itself."""
    if profile.gated:
        require_gpu(read_machine(open_nvml(), os.environ))


def _find_or_create(arguments: Namespace, source: str, profile_name: str, prefix: str) -> Run:
    """The run that works on a source; made when there is none."""
    root = home()
    named = root / (arguments.name or source)
    if (named / "recipe.toml").is_file() and not arguments.name:
        return Run(named)
    place = source if source == PYDOC else str(_existing(source))
    profile = find_profile(profile_name) if profile_name else None
    rehearsal = profile.rehearsal if profile else False
    slice_ = f"-{arguments.documents}" if getattr(arguments, "documents", 0) else ""
    label = "python-docs" if source == PYDOC else Path(place).stem
    name = arguments.name or slug(f"rehearsal-{label}{slice_}" if rehearsal else label)
    for run in list_runs(root):
        recipe = run.recipe()
        if recipe.corpus.source == place and _answers(run, recipe, name, arguments, rehearsal):
            return run
    profile = profile or find_profile(Recipe().profile)
    overrides = dict(parse_setting(text) for text in arguments.settings)
    _require_machine(profile)
    path = _free_name(root, name, bool(arguments.name))
    return create_run(path, profile, overrides | {"corpus.source": place}, "--set")


def _answers(run: Run, recipe: Recipe, name: str, arguments: Namespace, rehearsal: bool) -> bool:
    """Whether an existing run over the same source is the one that was meant."""
    if find_profile(recipe.profile).rehearsal != rehearsal:
        return False
    if arguments.name or rehearsal:
        return run.name == name
    return not getattr(arguments, "profile", "") or recipe.profile == arguments.profile


def _existing(source: str) -> Path:
    path = Path(source).expanduser()
    if not path.exists():
        raise BadInput(
            f"There is no folder, file or run {source!r}.",
            safe="Nothing was changed.",
            next_step="Give the folder that holds the documents, or see `embedsmith runs`.",
        )
    return path.resolve()


def _free_name(root: Path, name: str, exact: bool) -> Path:
    if exact and (root / name).exists():
        raise BadInput(
            f"There is a run {name!r} already, over another source.",
            safe="Nothing was changed.",
            next_step="Choose another --name.",
        )
    path, number = root / name, 2
    while path.exists():
        path, number = root / f"{name}-{number}", number + 1
    return path


def _grown_run(arguments: Namespace) -> Run:
    """A run over a grown corpus: the old one's recipe, replies, decisions and folds."""
    root = home()
    old = find_run(root, arguments.from_run)
    place = str(_existing(arguments.source))
    name = arguments.name or slug(f"{Path(place).stem}-from-{old.name}")
    existing = root / name
    if (existing / "recipe.toml").is_file():
        run = Run(existing)
        if run.recipe().corpus.source == place:
            return run
    recipe = old.recipe()
    profile = find_profile(recipe.profile)
    _require_machine(profile)
    overrides = flatten(recipe) | {"corpus.source": place}
    path = _free_name(root, name, bool(arguments.name))
    run = Run(path)
    for source, target in (
        (old.calls_path, run.calls_path),
        (old.decisions_path, run.decisions_path),
        (old.folds_path, run.folds_path),
    ):
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for variant in old.variants():
        run.variant_path(variant).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(old.variant_path(variant), run.variant_path(variant))
    # The recipe comes last: without it the folder is no run yet, and a repeat starts over.
    return create_run(path, profile, overrides, "--from-run")


def _empty_span(first: str, last: str) -> Failure:
    return BadRecipe(
        f"--from {first} comes after --to {last}.",
        safe="Nothing was changed.",
        next_step=f"The order is {', '.join(STAGE_NAMES)}.",
    )
