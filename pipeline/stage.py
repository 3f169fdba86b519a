"""The stages in order: what each needs, what identifies its result, and what is stale.

A fingerprint is a hash of the stage's version, the settings that it depends on, and the
digests of its inputs. `NOT_IDENTITY` is the one table of settings that are left out.
"""

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
from pipeline.files import digest_file, digest_folder, digest_value, read_json
from pipeline.journal import ending, read_journal
from pipeline.locks import is_held
from pipeline.prep.preview import PREVIEW
from pipeline.profiles import Profile, find_profile, profile_of
from pipeline.recipe import BASE_TEACHER, Recipe, flatten
from pipeline.review.kept import kept_digest, load_kept
from pipeline.run import Result, Run
from pipeline.sdg.rounds import last_round
from pipeline.sdg.trial import TRIAL, TRIAL_DOCUMENTS
from pipeline.weights import folder_digest, weights_digest


@dataclass(frozen=True)
class Stage:
    """One link of the chain.

    Attributes:
        name: its word.
        version: raised when the same inputs would give another result.
        entry: the module whose `execute` does the work; imported by the worker alone.
        needs: the stages whose results it reads.
        also: further inputs that identify its result: `source`, `queries`, `kept`, `base`,
            `teachers` (what mines beside it), `lessons` (who teaches in training), `tasks`,
            `probe`, `sets`, or how many `documents` a trial takes.
        sections: the recipe's sections that it depends on.
        accelerated: whether it uses the GPU.
    """

    name: str
    version: int
    entry: str
    needs: tuple[str, ...]
    also: tuple[str, ...]
    sections: tuple[str, ...]
    accelerated: bool


STAGES: tuple[Stage, ...] = (
    Stage("corpus", 1, "pipeline.corpus.stage", (), ("source",), ("corpus", "seed"), False),
    Stage("sdg", 1, "pipeline.sdg.stage", ("corpus",), ("queries",), ("sdg", "seed"), False),
    Stage(
        "prep",
        1,
        "pipeline.prep.stage",
        ("corpus", "sdg"),
        ("kept", "base", "teachers"),
        ("prep", "encoder"),
        True,
    ),
    Stage(
        "finetune",
        1,
        "pipeline.finetune.stage",
        ("corpus", "prep"),
        ("base", "lessons", "tasks", "probe"),
        ("finetune", "encoder", "seed"),
        True,
    ),
    Stage(
        "eval",
        1,
        "pipeline.eval.stage",
        ("prep", "finetune"),
        ("base", "sets"),
        ("eval", "encoder"),
        True,
    ),
    Stage(
        "export",
        1,
        "pipeline.export.stage",
        ("prep", "finetune"),
        ("base",),
        ("export", "encoder"),
        True,
    ),
    Stage("deploy", 1, "pipeline.deploy.stage", ("export",), (), ("deploy",), True),
    Stage(
        "verify",
        1,
        "pipeline.deploy.verify",
        ("eval", "export", "deploy"),
        ("service",),
        ("verify",),
        False,
    ),
)
"""The chain, in order."""

STAGE_NAMES = tuple(stage.name for stage in STAGES)

TRIAL_STAGE = Stage(
    TRIAL,
    1,
    "pipeline.sdg.trial_stage",
    ("corpus",),
    ("queries", "documents"),
    ("sdg", "seed"),
    False,
)
"""A try on a few documents: a worker does it like a stage, but no stage follows from it."""

PREVIEW_STAGE = Stage(
    PREVIEW,
    1,
    "pipeline.prep.preview_stage",
    ("corpus", "sdg"),
    ("kept", "base", "teachers"),
    ("prep", "encoder"),
    True,
)
"""A look at the scores before `prep`."""

_ASIDE = (TRIAL_STAGE, PREVIEW_STAGE)

JOB_NAMES = (*STAGE_NAMES, *(stage.name for stage in _ASIDE))
"""Everything that a worker can be started for."""

NOT_IDENTITY: Mapping[str, str] = {
    "corpus.source": "what the files hold counts, not where they lie",
    "sdg.base_url": "the same model behind another address gives the same questions",
    "sdg.successor": "a proposal, until it is chosen as the model",
    "sdg.key_variable": "a key identifies who pays",
    "sdg.threshold": "applied by review; the kept set is prep's input",
    "sdg.concurrency": "speed",
    "sdg.requests_per_minute": "speed",
    "sdg.timeout_seconds": "speed",
    "sdg.price_in": "what it costs changes no question",
    "sdg.price_out": "what it costs changes no question",
    "encoder.batch_size": "speed and memory",
    "finetune.micro_batch_size": "memory; a smaller one goes on from the same checkpoint",
    "finetune.checkpoint_steps": "how much a crash costs",
    "finetune.warmup.checkpoint_steps": "how much a crash costs",
    "finetune.tasks.retrieval": "what the files hold counts, not where they lie",
    "finetune.tasks.sts": "what the files hold counts, not where they lie",
    "finetune.tasks.classification": "what the files hold counts, not where they lie",
    "deploy.host": "an endpoint is probed",
    "deploy.port": "an endpoint is probed",
    "deploy.health_timeout_seconds": "an endpoint is probed",
}
"""Settings that no fingerprint holds, and why."""

CAME_LATER: Mapping[str, Any] = {
    "corpus.include": (),
    "corpus.exclude": (),
    "corpus.encoding": "cp1252",
    "corpus.file_megabytes_max": 20,
    "corpus.pdf_pages_max": 2000,
    "corpus.text_field": "",
    "sdg.audience": "",
    "sdg.language": "",
    "sdg.examples": (),
    "sdg.cross_document_share": 0.3,
    "sdg.styles": ("question", "keyword", "symptom", "terse"),
    "sdg.weight_answerable": 3.0,
    "sdg.weight_supported": 3.0,
    "sdg.weight_standalone": 2.0,
    "sdg.weight_specific": 2.0,
    "sdg.weight_natural": 1.0,
    "sdg.rank_with": "base",
    "sdg.rounds": 1,
    "sdg.target": 0,
    "sdg.calls_max": 0,
    "sdg.attempts": 2,
    "sdg.avoid": (),
    "prep.rule": "percentage",
    "prep.positive_margin": 0.05,
    "prep.score_max": 0.7,
    "prep.skip": 10,
    "prep.sample_from": 0,
    "prep.exclude": "text",
    "prep.duplicate_similarity": 0.0,
    "prep.teacher": "",
    "prep.reranker": "",
    "finetune.patience": 0,
    "finetune.probe": "",
    "finetune.probe_tolerance": 0.02,
    "finetune.interpolate": False,
    "finetune.refresh_negatives": False,
    "encoder.instruction": "",
    "finetune.positives": "one",
    "finetune.contrastive_weight": 1.0,
    "finetune.matryoshka": False,
    "finetune.matryoshka_dimensions": (),
    "finetune.false_negatives.teacher": "",
    "finetune.false_negatives.margin": 0.05,
    "finetune.triplet.weight": 0.0,
    "finetune.triplet.margin": 0.1,
    "finetune.distillation.weight": 0.0,
    "finetune.distillation.teacher": "",
    "finetune.distillation.loss": "cosine",
    "finetune.distillation.teacher_temperature": 1.0,
    "finetune.lora.rank": 0,
    "finetune.lora.alpha": 32.0,
    "finetune.lora.dropout": 0.0,
    "finetune.lora.modules": (),
    "finetune.tasks.retrieval_weight": 0.25,
    "finetune.tasks.sts_weight": 0.25,
    "finetune.tasks.classification_weight": 0.25,
    "finetune.warmup.objective": "none",
    "finetune.warmup.epochs": 1,
    "finetune.warmup.learning_rate": 3e-5,
    "finetune.warmup.batch_size": 16,
}
"""Settings that came when results existed already, each with the value that changes nothing: with
it a setting is left out of the identity, so an upgrade makes no finished stage stale."""

_STAGE_INPUT_LEFT_OUT: Mapping[tuple[str, str], str] = {
    ("prep", "sdg"): "the kept set stands for it: accept and undo leave nothing stale",
    (PREVIEW, "sdg"): "as for prep",
}

State = Literal["done", "stale", "new", "waiting", "running", "vanished", "failed", "stopped"]


@dataclass(frozen=True)
class Identity:
    """What a result is made from, in the open; its hash is the fingerprint."""

    stage: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits."""
        return digest_value(
            {
                "stage": self.stage,
                "version": self.version,
                "settings": self.settings,
                "inputs": self.inputs,
            }
        )[:16]


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


def find_stage(name: str) -> Stage:
    """A stage, the trial or the preview, by name."""
    return (*STAGES, *_ASIDE)[JOB_NAMES.index(name)]


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


def settings_of(stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """The settings that identify a stage's result, by dotted name."""
    settings = {
        name: value
        for name, value in flatten(recipe).items()
        if name.partition(".")[0] in stage.sections
        and name not in NOT_IDENTITY
        and not (name in CAME_LATER and value == CAME_LATER[name])
    }
    if "sdg" in stage.sections and last_round(recipe.sdg) > 1:
        # What later rounds ask about follows from what passes.
        settings["sdg.threshold"] = recipe.sdg.threshold
    return settings


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
        inputs |= _teachers(recipe, setting.cache)
    if "lessons" in stage.also:
        inputs |= lesson_digests(recipe, setting.cache)
    if "sets" in stage.also:
        inputs["sets"] = eval_sets_digest(run)
    if "tasks" in stage.also and (tasks := _task_digests(run, recipe)):
        # Only where there are any, so that they made no earlier result stale.
        inputs["tasks"] = tasks
    if "probe" in stage.also and recipe.finetune.probe not in ("", "python"):
        # Only a user's own set: what ships with Python is named by the setting.
        folder = run.path / Path(recipe.finetune.probe).expanduser()
        inputs["probe"] = digest_value(digest_folder(folder))
    if "documents" in stage.also:
        # Which ones follows from the corpus and the seed.
        inputs["documents"] = int(options.get("documents", TRIAL_DOCUMENTS))
    if "service" in stage.also:
        service = find_service(run, service_name(setting.variant, recipe))
        instance = service.instance if service else ""
        inputs["service"] = options.get("url", instance) + options.get("again", "")
    return inputs


def _teachers(recipe: Recipe, cache: Path) -> dict[str, str]:
    """The identity of what mines beside the base model; only where there is any."""
    named: dict[str, str] = {}
    if recipe.prep.teacher:
        named["teacher"] = base_digest(find_profile(recipe.prep.teacher), cache)
    if recipe.prep.reranker:
        named["reranker"] = folder_digest(Path(recipe.prep.reranker).expanduser(), cache)
    return named


def lesson_digests(recipe: Recipe, cache: Path) -> dict[str, str]:
    """The identity of those that training learns from; only where there are any.

    The base model is an input of its own.
    """
    settings = recipe.finetune
    named = {
        "false_negatives": settings.false_negatives.teacher,
        "distillation": settings.distillation.teacher if settings.distillation.weight else "",
    }
    return {
        what: _teacher_digest(name, cache)
        for what, name in named.items()
        if name not in ("", BASE_TEACHER)
    }


def _teacher_digest(name: str, cache: Path) -> str:
    """Of a folder, which may hold a cross-encoder and so is no profile, or of a known profile."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder_digest(folder, cache)
    return base_digest(find_profile(name), cache)


def _task_digests(run: Run, recipe: Recipe) -> dict[str, list[str]]:
    """What the files of `finetune.tasks` hold, by kind; a missing one is said when training."""
    tasks = recipe.finetune.tasks
    named = {
        "retrieval": tasks.retrieval,
        "sts": tasks.sts,
        "classification": tasks.classification,
    }
    found = {
        kind: [run.path / Path(name).expanduser() for name in names]
        for kind, names in named.items()
        if names
    }
    return {
        kind: [digest_file(path) if path.is_file() else "" for path in paths]
        for kind, paths in found.items()
    }


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


def base_digest(profile: Profile, cache: Path) -> str:
    """The identity of a base model: its weights and how a text becomes a vector."""
    return digest_value(
        {
            "weights": weights_digest(profile, cache),
            "pooling": profile.pooling,
            "normalize": profile.normalize,
            "query_prefix": profile.query_prefix,
            "passage_prefix": profile.passage_prefix,
        }
    )


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
