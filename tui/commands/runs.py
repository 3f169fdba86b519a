"""`runs`, `show`, `stop`, `prune`: what there is, and how to end or clear it."""

from __future__ import annotations

import os
import signal
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from pipeline.cache_files import KEPT_GIGABYTES, beyond, read_spaces, remove_spare
from pipeline.chain import held_chains
from pipeline.deploy.services import list_services, stop_service
from pipeline.errors import BadInput, Failure
from pipeline.locks import holder_of, is_held
from pipeline.profiles import find_profile
from pipeline.prune import prunable, remove
from pipeline.recipe import flatten
from pipeline.report import build_report
from pipeline.requests import Request, ask
from pipeline.run import Run, cache_home, find_run, home, last_activity, list_runs
from pipeline.stage import JOB_NAMES, STAGE_NAMES
from pipeline.status import status_of_run
from tui.commands.measured import show_metrics, show_misses, show_snippet
from tui.commands.written import say_written
from tui.output import Output

STOP_SECONDS = 30.0
"""How long `stop` waits for a checkpoint before it says that it is still waiting."""


def runs_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith runs`: every run with its state."""
    root = home()
    runs = list_runs(root)
    if not runs:
        output.say(f"No runs in {root} yet. Start one with `embedsmith run FOLDER`,")
        output.say("or see the product work with `embedsmith rehearse`.")
    for run in sorted(runs, key=last_activity, reverse=True):
        working = [folder.parent.name for folder in working_folders(run)]
        services: list[str] = []
        try:
            services = [service.name for service in list_services(run) if service.alive()]
            recipe = run.recipe()
            kind = "rehearsal" if find_profile(recipe.profile).rehearsal else recipe.profile
            made = [name for name in STAGE_NAMES if run.current(name)]
            state = f"made up to {made[-1]}" if made else "nothing made yet"
            state = f"running {working[0]}" if working else state
        except Failure as failure:
            kind, state, recipe = "?", failure.happened, None
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last_activity(run)))
        serving = f"  serving: {', '.join(services)}" if services else ""
        output.say(f"{run.name:<32} {when}  {kind}  {state}{serving}")
        output.record(
            "run",
            {
                "name": run.name,
                "path": str(run.path),
                "profile": recipe.profile if recipe else None,
                "state": state,
                "services": services,
            },
        )
    return 0


def show_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith show RUN`: where every stage stands, services, and the report."""
    run = find_run(home(), arguments.run)
    if arguments.recipe:
        for name, value in flatten(run.recipe(arguments.variant)).items():
            output.say(f"{name} = {value}")
            output.record("setting", {"name": name, "value": value})
        return 0
    if _shown_alone(run, arguments, output):
        return 0
    for status in status_of_run(run, arguments.variant, cache_home()):
        output.say(f"{status.stage.name:<9} {status.state:<9} {status.reason}")
        output.record(
            "stage",
            {"stage": status.stage.name, "state": status.state, "reason": status.reason},
        )
    for service in list_services(run):
        alive = "answers" if service.alive() else "doesn't answer"
        output.say(f"service   {service.name}: {service.url} {alive}")
        output.record("service", {"name": service.name, "url": service.url, "state": alive})
    if written := run.current("sdg", arguments.variant):
        output.say()
        say_written(run, written, run.recipe(arguments.variant).sdg, output)
    report = build_report(run, arguments.variant)
    output.say()
    output.say(report.text)
    output.record("report", report.fields)
    return 0


def _shown_alone(run: Run, arguments: Namespace, output: Output) -> bool:
    """Print the one thing that was asked for; False when it was everything."""
    variant = arguments.variant
    if arguments.metrics:
        show_metrics(run, variant, arguments.metrics, output)
    elif arguments.misses:
        show_misses(run, variant, arguments.eval_set, arguments.k, arguments.limit, output)
    elif arguments.snippet:
        show_snippet(run, variant, arguments.snippet, output)
    else:
        return False
    return True


def stop_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith stop RUN [SERVICE]`: end a service, or the worker, which checkpoints first."""
    run = find_run(home(), arguments.run)
    if arguments.service:
        stop_service(run, arguments.service)
        output.say(f"{arguments.service}: stopped.")
        output.record("stopped", {"service": arguments.service})
        return 0
    request: Request = arguments.request or "cancel"
    # First: a chain that begins its next stage meanwhile is among the folders.
    chains = held_chains(run)
    folders = working_folders(run)
    if not folders and not chains:
        raise BadInput(
            f"No stage of {run.name} is running.",
            safe="Nothing was changed.",
            next_step=_services_hint(run),
        )
    if not folders and request != "cancel":
        folders = _begun(run, output)
    if request == "cancel":
        for chain in chains:
            ask(chain, "cancel")
    for folder in folders:
        ask(folder, request)
        if request == "cancel":
            _wait_for_end(folder, folder.parent.name, output)
        else:
            output.say(f"{folder.parent.name}: asked to {request}.")
        output.record("asked", {"stage": folder.parent.name, "request": request})
    if not folders and request == "cancel":
        for chain in chains:
            _wait_for_end(chain, "between two stages", output)
            output.record("asked", {"stage": "", "request": request})
    return 0


def _begun(run: Run, output: Output) -> list[Path]:
    """What a worker between two stages begins next; only that can be paused or finished."""
    output.say("A worker is between two stages; waiting for the next one.")
    until = time.monotonic() + STOP_SECONDS
    while not (folders := working_folders(run)):
        if time.monotonic() > until or not held_chains(run):
            raise BadInput(
                f"No stage of {run.name} has begun.",
                safe="Nothing was changed.",
                next_step="Run the same command again once `embedsmith runs` shows a stage.",
            )
        time.sleep(0.1)
    return folders


def _services_hint(run: Run) -> str:
    names = [service.name for service in list_services(run)]
    if names:
        return f"To end a service: `embedsmith stop {run.name} {names[0]}`."
    return "`embedsmith runs` shows what runs."


def working_folders(run: Run) -> list[Path]:
    """The folders of results that a worker is writing now."""
    return [
        folder for name in JOB_NAMES for folder in run.attempts(name) if is_held(folder / "lock")
    ]


def _wait_for_end(folder: Path, what: str, output: Output) -> None:
    """Give the worker time to checkpoint; a SIGTERM reaches one that looks at no requests."""
    until = time.monotonic() + STOP_SECONDS
    asked = False
    while is_held(folder / "lock"):
        if time.monotonic() > until:
            output.say(f"{what}: still finishing its step; it ends by itself.")
            return
        if not asked and time.monotonic() > until - STOP_SECONDS / 2:
            asked = True
            holder = holder_of(folder / "lock")
            if holder and holder.host == os.uname().nodename:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(holder.pid, signal.SIGTERM)
        time.sleep(0.1)
    output.say(f"{what}: ended. The same command goes on from here.")


def prune_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith prune [RUN]`: sizes, and with `--yes` the removal, of what can be made again.

    Cached vectors are every run's: they are pruned where no run is named, or where it is said how
    much of them to keep.
    """
    runs = [find_run(home(), arguments.run)] if arguments.run else list_runs(home())
    total = 0
    if not arguments.run or arguments.vectors is not None:
        total += _prune_vectors(arguments, output)
    for run in runs:
        if working_folders(run) or held_chains(run):
            output.say(f"{run.name}: a stage is running; nothing of it is removed now.")
            continue
        for entry in prunable(run):
            total += entry.size
            path = entry.folder.relative_to(run.path)
            output.say(f"{run.name}: {path}  {entry.size / 1e6:.1f} MB  {entry.reason}")
            output.record("prunable", {"run": run.name, "path": str(path), "bytes": entry.size})
            if arguments.yes:
                remove(entry)
    verb = "Removed" if arguments.yes else "Could be removed with --yes:"
    output.say(f"{verb} {total / 1e6:.1f} MB. Decisions, replies and what is served stay.")
    return 0


def _prune_vectors(arguments: Namespace, output: Output) -> int:
    """Say, and with `--yes` remove, the cached vectors beyond what is kept; returns their bytes."""
    kept = KEPT_GIGABYTES if arguments.vectors is None else arguments.vectors
    spaces = read_spaces(cache_home())
    size = sum(segment.size for space in spaces for segment in space.segments)
    if size:
        output.say(f"Cached vectors take {size / 1e6:.1f} MB; up to {kept} GB are kept.")
    total = 0
    for spare in beyond(spaces, kept * 10**9):
        path = spare.folder.relative_to(cache_home())
        since = time.strftime("%Y-%m-%d", time.localtime(spare.used / 1e9))
        output.say(f"cache: {path}  {spare.size / 1e6:.1f} MB  not used since {since}")
        output.record("prunable", {"cache": str(path), "bytes": spare.size})
        total += remove_spare(spare) if arguments.yes else spare.size
    if any(space.busy for space in spaces):
        output.say("Cached vectors are in use; nothing of those is removed now.")
    return total
