"""Where the stages of a run stand: done, stale and why, running, vanished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pipeline.corpus.source import open_source
from pipeline.deploy.records import ServiceRecord
from pipeline.deploy.services import find_service
from pipeline.errors import BadInput, Failure
from pipeline.eval.sets import eval_sets_digest
from pipeline.files import digest_file, read_json
from pipeline.identity import (
    CAME_LATER,
    Identity,
    base_digest,
    lesson_digests,
    miner_digests,
    probe_digest,
    settings_of,
    task_digests,
)
from pipeline.journal import ending, read_journal
from pipeline.locks import is_held
from pipeline.prep.preview import PREVIEW
from pipeline.profiles import Profile, profile_of
from pipeline.recipe import Recipe
from pipeline.review.kept import kept_digest, load_kept
from pipeline.run import Result, Run
from pipeline.sdg.trial import TRIAL, TRIAL_DOCUMENTS
from pipeline.stage import STAGE_NAMES, STAGES, Stage, find_stage

_STAGE_INPUT_LEFT_OUT: Mapping[tuple[str, str], str] = {
    ("prep", "sdg"): "the kept set stands for it: accept and undo leave nothing stale",
    (PREVIEW, "sdg"): "as for prep",
}

State = Literal["done", "stale", "new", "waiting", "running", "vanished", "failed", "stopped"]


@dataclass(frozen=True)
class Status:
    """Where one stage of a run stands.

    Attributes:
        stage: the stage.
        state: `done`, `stale` (made, but the recipe or an input changed since), `new` (never
            made), `waiting` (for an earlier stage), `running`, `vanished` (its worker died
            without an ending), `failed`, or `stopped` (on request; can go on).
        reason: one line for a person.
        identity: what the result is or will be made from; None while an input is missing.
        result: the finished result, if `state` is `done`; else the one made last, if any.
    """

    stage: Stage
    state: State
    reason: str
    identity: Identity | None
    result: Result | None


def folder_of(run: Run, variant: str, status: Status) -> Path:
    """Where a stage's journal, lock and result lie; for `deploy`, its service's folder."""
    if status.identity is None:
        return run.service_path(service_name(variant, run.recipe(variant))).parent
    return run.result_folder(status.stage.name, status.identity.fingerprint)


def adopt(run: Run, variant: str, status: Status) -> None:
    """Make a finished result the current one; it may have been made for other settings."""
    if status.state == "done" and status.result:
        run.set_current(status.stage.name, variant, status.result.fingerprint)


def once_more(now: float) -> dict[str, str]:
    """The options of a verification that is a new measurement, however often it was made before.

    Args:
        now: seconds since the epoch.
    """
    return {"again": f"@{now:.0f}"}


def status_of_run(
    run: Run,
    variant: str,
    cache: Path,
    options: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
    *,
    lenient: bool = False,
    last: str = STAGE_NAMES[-1],
) -> tuple[Status, ...]:
    """Where every stage of a run stands, in order.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        cache: the machine's cache folder, for remembered file hashes.
        options: what one call asks for beyond the recipe: `url` verifies another endpoint,
            `again` makes verification measure once more.
        recipe: another recipe than the one on the disk, to see what it would make stale.
        lenient: what keeps a stage from starting becomes its reason (`failed`) instead of being
            raised: a window shows the others all the same.
        last: the stage up to which is looked.

    Raises:
        BadRecipe: the recipe cannot be understood.
        BadInput: the corpus's source is gone and no corpus was made yet.
        MissingPart: the base weights are not on this machine.
    """
    stages = STAGES[: STAGE_NAMES.index(last) + 1]
    return _statuses(_setting(run, variant, cache, options, recipe), stages, lenient)


def trial_status(
    run: Run,
    variant: str,
    cache: Path,
    options: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
) -> Status:
    """Where the trial that the recipe means now stands; see `status_of_run`.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        cache: the machine's cache folder.
        options: `documents` takes another number than `TRIAL_DOCUMENTS`.
        recipe: another recipe than the one on the disk.
    """
    return job_statuses(run, variant, TRIAL, cache, options or {}, recipe)[-1]


def preview_status(run: Run, variant: str, cache: Path, recipe: Recipe | None = None) -> Status:
    """Where the preview stands that the recipe means now; see `status_of_run`."""
    return job_statuses(run, variant, PREVIEW, cache, {}, recipe)[-1]


def job_statuses(
    run: Run,
    variant: str,
    name: str,
    cache: Path,
    options: Mapping[str, str],
    recipe: Recipe | None = None,
) -> tuple[Status, ...]:
    """The status of a worker's job and of all that it may need, in order; see `status_of_run`."""
    setting = _setting(run, variant, cache, options, recipe)
    if name in STAGE_NAMES:
        return _statuses(setting, STAGES[: STAGE_NAMES.index(name) + 1])
    aside = find_stage(name)
    return _statuses(setting, (*map(find_stage, aside.needs), aside))


def _statuses(
    setting: _Setting, stages: Sequence[Stage], lenient: bool = False
) -> tuple[Status, ...]:
    statuses: dict[str, Status] = {}
    for stage in stages:
        try:
            statuses[stage.name] = _status(setting, stage, statuses)
        except Failure as failure:
            if not lenient:
                raise
            # What was made before may be the very thing that can't be read.
            statuses[stage.name] = Status(stage, "failed", failure.happened, None, None)
    return tuple(statuses.values())


@dataclass(frozen=True)
class _Setting:
    run: Run
    variant: str
    recipe: Recipe
    profile: Profile
    cache: Path
    options: Mapping[str, str]


def _setting(
    run: Run,
    variant: str,
    cache: Path,
    options: Mapping[str, str] | None,
    recipe: Recipe | None,
) -> _Setting:
    recipe = recipe or run.recipe(variant)
    return _Setting(run, variant, recipe, profile_of(recipe), cache, options or {})


def _status(setting: _Setting, stage: Stage, earlier: Mapping[str, Status]) -> Status:
    run, variant, recipe = setting.run, setting.variant, setting.recipe
    last = run.current(stage.name, variant)
    elsewhere = "deploy" if setting.options.get("url") else ""
    missing = [name for name in stage.needs if earlier[name].state != "done" and name != elsewhere]
    if missing:
        state: State = "stale" if last else "waiting"
        return Status(stage, state, f"{missing[0]} comes first", None, last)
    results = {name: earlier[name].result for name in stage.needs}
    digests = {
        name: result.digest
        for name, result in results.items()
        if result and (stage.name, name) not in _STAGE_INPUT_LEFT_OUT
    }
    if stage.name == "deploy":
        return _deploy_status(run, variant, stage, recipe, digests["export"])
    try:
        inputs = digests | _other_inputs(setting, stage, results)
    except BadInput as error:
        if stage.name == "corpus" and last:
            return Status(stage, "done", f"kept as made: {error.happened}", None, last)
        raise
    identity = Identity(stage.name, stage.version, settings_of(stage, recipe), inputs)
    if stage.name == "verify" and last and not setting.options:
        identity = _measured_again(identity, last)
    return _result_status(run, stage, identity, last)


def _other_inputs(
    setting: _Setting, stage: Stage, results: Mapping[str, Result | None]
) -> dict[str, Any]:
    run, recipe, options = setting.run, setting.recipe, setting.options
    inputs: dict[str, Any] = {}
    if "source" in stage.also:
        inputs["source"] = open_source(recipe.corpus.source, recipe.corpus).digest()
    if "queries" in stage.also and run.queries_path.is_file():
        # Only where there are any, so that they made no earlier result stale.
        inputs["queries"] = digest_file(run.queries_path)
    if "kept" in stage.also and (sdg := results["sdg"]):
        inputs["kept"] = kept_digest(load_kept(run, sdg.folder, recipe.sdg.threshold))
    if "base" in stage.also:
        inputs["base"] = base_digest(setting.profile, setting.cache)
    if "teachers" in stage.also:
        inputs |= miner_digests(recipe, setting.cache)
    if "lessons" in stage.also:
        inputs |= lesson_digests(recipe, setting.cache)
    if "sets" in stage.also:
        inputs["sets"] = eval_sets_digest(run)
    if "tasks" in stage.also and (tasks := task_digests(run, recipe)):
        # Only where there are any, so that they made no earlier result stale.
        inputs["tasks"] = tasks
    if "probe" in stage.also and (probe := probe_digest(run, recipe)):
        # Only where there is one, as with tasks.
        inputs["probe"] = probe
    if "documents" in stage.also:
        # Which ones follows from the corpus and the seed.
        inputs["documents"] = int(options.get("documents", TRIAL_DOCUMENTS))
    if "service" in stage.also:
        service = find_service(run, service_name(setting.variant, recipe))
        instance = service.instance if service else ""
        inputs["service"] = options.get("url", instance) + options.get("again", "")
    return inputs


def _measured_again(identity: Identity, last: Result) -> Identity:
    """The identity of the last verification, if it was of the same instance and nothing else
    changed: it is a newer measurement than the first."""
    made = read_json(last.folder / "done.json")["identity"]
    service = str(made["inputs"].get("service", ""))
    if service.partition("@")[0] != identity.inputs["service"]:
        return identity
    again = replace(identity, inputs={**identity.inputs, "service": service})
    return again if again.fingerprint == last.fingerprint else identity


def service_name(variant: str, recipe: Recipe) -> str:
    """The name of the service that a variant deploys."""
    return variant or recipe.deploy.target


def _result_status(run: Run, stage: Stage, identity: Identity, last: Result | None) -> Status:
    folder = run.result_folder(stage.name, identity.fingerprint)
    result = run.result(stage.name, identity.fingerprint)
    if result:
        how = "imported" if result.origin == "imported" else "made"
        partial = ", ended early" if result.partial else ""
        return Status(stage, "done", f"{how}{partial}", identity, result)
    if is_held(folder / "lock"):
        return Status(stage, "running", "a worker is on it", identity, last)
    events = read_journal(folder / "journal.jsonl")
    if events:
        return _unfinished(stage, identity, last, ending(events))
    if last:
        return Status(stage, "stale", _difference(last, identity), identity, last)
    return Status(stage, "new", "not made yet", identity, None)


def _unfinished(stage: Stage, identity: Identity, last: Result | None, end: Any) -> Status:
    if end is None:
        return Status(stage, "vanished", "its worker died; it can go on", identity, last)
    if end.type == "failed":
        return Status(stage, "failed", str(end.data.get("happened", "")), identity, last)
    return Status(stage, "stopped", f"{end.type} on request; it can go on", identity, last)


def _difference(last: Result, identity: Identity) -> str:
    """What changed since the last result, in words."""
    made = read_json(last.folder / "done.json")["identity"]
    if made["version"] != identity.version:
        return "this version of embedsmith makes it differently"
    for name in {**identity.settings, **made["settings"]}:
        before, now = (
            _as_json(settings.get(name, CAME_LATER.get(name)))
            for settings in (made["settings"], identity.settings)
        )
        if before != now:
            return f"{name} changed from {_shown(before)} to {_shown(now)}"
    changed = [name for name, value in identity.inputs.items() if made["inputs"].get(name) != value]
    return f"{' and '.join(changed)} changed" if changed else "changed"


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return str(value) or "nothing"


def _other_address(record: ServiceRecord, recipe: Recipe) -> str:
    """Which setting the service was not started with, in words; empty for none."""
    address = urlsplit(record.url)
    if record.target != recipe.deploy.target:
        return f"deploy.target is {recipe.deploy.target}"
    if recipe.deploy.port not in (0, address.port):
        return f"deploy.port is {recipe.deploy.port}"
    return ""


def _deploy_status(run: Run, variant: str, stage: Stage, recipe: Recipe, export: str) -> Status:
    """A service is probed, never fingerprinted: it runs and serves this export, or not."""
    name = service_name(variant, recipe)
    folder = run.service_path(name).parent
    if is_held(folder / "lock"):
        return Status(stage, "running", "a worker is on it", None, None)
    service = find_service(run, name)
    if service is None:
        return Status(stage, "new", "no service was started", None, None)
    if not service.alive():
        return Status(stage, "stale", f"{service.url} no longer answers", None, None)
    if changed := _other_address(service.record, recipe):
        return Status(stage, "stale", f"{service.url} answers, but {changed}", None, None)
    if service.export != export:
        return Status(stage, "stale", f"{service.url} serves an older export", None, None)
    return Status(stage, "done", f"{service.url} answers", None, None)
