"""One run folder: its paths, its results and what they say of themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from pipeline.errors import BadInput, BadRecipe
from pipeline.files import read_json, write_json
from pipeline.journal import read_journal
from pipeline.locks import Lock
from pipeline.profiles import Profile, base_recipe, find_profile, profile_of
from pipeline.recipe import Overrides, Recipe, apply, flatten, read_overrides, write_overrides

FORMAT = 1
"""Version of `done.json` and `current.json`."""


def home() -> Path:
    """Where runs lie: `EMBEDSMITH_HOME`, or the user's data folder."""
    if override := os.environ.get("EMBEDSMITH_HOME"):
        return Path(override).expanduser().resolve()
    return platformdirs.user_data_path("embedsmith") / "runs"


def cache_home() -> Path:
    """Where caches lie; everything in it can be made again."""
    return platformdirs.user_cache_path("embedsmith")


def datasets_cache() -> Path:
    """What is remembered of the hub's datasets."""
    return cache_home() / "datasets"


@dataclass(frozen=True)
class Result:
    """A finished result: what `done.json` says.

    Attributes:
        folder: where its files lie.
        stage: the stage that made it.
        fingerprint: what it was made from.
        digest: hash of its output files.
        summary: the stage's own numbers.
        origin: `made` or `imported`.
        partial: whether it was ended early.
        finished: seconds since the epoch.
        seconds: how long the last attempt took.
    """

    folder: Path
    stage: str
    fingerprint: str
    digest: str
    summary: Mapping[str, Any]
    origin: str
    partial: bool
    finished: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """One adaptation of one base model to one corpus. Cheap: it reads nothing until asked."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def recipe_path(self) -> Path:
        """The recipe."""
        return self.path / "recipe.toml"

    @property
    def events_path(self) -> Path:
        """The run's journal: one line for each start and ending of a stage."""
        return self.path / "events.jsonl"

    @property
    def calls_path(self) -> Path:
        """Raw replies of the endpoint, paid once."""
        return self.path / "sdg" / "calls.jsonl"

    @property
    def consents_path(self) -> Path:
        """Who may be sent what: one line for every yes."""
        return self.path / "sdg" / "consents.jsonl"

    @property
    def queries_path(self) -> Path:
        """The user's own queries; see `pipeline.queries`."""
        return self.path / "queries.jsonl"

    @property
    def decisions_path(self) -> Path:
        """What people said."""
        return self.path / "review" / "decisions.jsonl"

    @property
    def folds_path(self) -> Path:
        """Which fold every document was dealt into, for good."""
        return self.path / "corpus" / "folds.json"

    @property
    def eval_sets_path(self) -> Path:
        """The user's own eval sets, a folder each."""
        return self.path / "eval" / "sets"

    @property
    def report_path(self) -> Path:
        """The last report, in Markdown."""
        return self.path / "report.md"

    def variant_path(self, variant: str) -> Path:
        """The overlay of a variant.

        Raises:
            BadRecipe: the name is none that a variant may have.
        """
        check_name(variant, "variant")
        return self.path / "variants" / f"{variant}.toml"

    def chain_path(self, variant: str) -> Path:
        """Where the chain of a variant has its lock; see `pipeline.chain`."""
        return self.path / "chains" / (variant or ".run")

    def service_path(self, name: str) -> Path:
        """A service that was started, by name."""
        return self.path / "deploy" / name / "service.json"

    def result_folder(self, stage: str, fingerprint: str) -> Path:
        """Where the result of one fingerprint lies."""
        return self.path / stage / fingerprint

    def recipe(self, variant: str = "") -> Recipe:
        """The recipe, with a variant's overlay.

        Raises:
            BadRecipe: a file is missing, unreadable or names an unknown setting.
        """
        overrides = read_overrides(self.recipe_path)
        profile = find_profile(str(overrides.get("profile", Recipe().profile)))
        recipe = apply(base_recipe(profile), overrides, str(self.recipe_path))
        if variant:
            path = self.variant_path(variant)
            if not path.is_file():
                raise BadRecipe(
                    f"The run {self.name} has no variant {variant!r}.",
                    safe="Nothing was changed.",
                    next_step=f"Make it with --variant {variant} --set name=value.",
                )
            overlay = read_overrides(path)
            recipe = apply(recipe, overlay, str(path))
            require_kind(profile, profile_of(recipe), str(path))
        return recipe

    def variants(self) -> tuple[str, ...]:
        """The names of the variants, sorted; the run itself is none."""
        return tuple(sorted(path.stem for path in (self.path / "variants").glob("*.toml")))

    def result(self, stage: str, fingerprint: str) -> Result | None:
        """A finished result, or None while it isn't complete.

        Raises:
            BadInput: `done.json` is of a later format or damaged.
        """
        folder = self.result_folder(stage, fingerprint)
        done = folder / "done.json"
        if not done.is_file():
            return None
        document = read_json(done)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise BadInput(
                f"{done} has a format that this version doesn't know.",
                safe="Nothing was changed.",
                next_step="Use the embedsmith version that wrote it, or a later one.",
            )
        return Result(
            folder=folder,
            stage=stage,
            fingerprint=fingerprint,
            digest=document["digest"],
            summary=document["summary"],
            origin=document["origin"],
            partial=document["partial"],
            finished=document["finished"],
            seconds=document["seconds"],
        )

    def current(self, stage: str, variant: str = "") -> Result | None:
        """The result that the recipe meant when the stage last ended."""
        fingerprint = _current(self.path / stage / "current.json").get(variant)
        return self.result(stage, fingerprint) if fingerprint else None

    def made_from(self, result: Result, stage: str) -> Result | None:
        """The result of an earlier stage that a result was made from; None where it is gone.

        Raises:
            BadInput: a `done.json` is of a later format or damaged.
        """
        inputs = read_json(result.folder / "done.json")["identity"]["inputs"]
        earlier = (self.result(stage, folder.name) for folder in self.attempts(stage))
        return next((made for made in earlier if made and made.digest == inputs.get(stage)), None)

    def set_current(self, stage: str, variant: str, fingerprint: str) -> None:
        """Say which result the recipe means now."""
        path = self.path / stage / "current.json"
        if _current(path).get(variant) == fingerprint:
            return
        # Workers of two variants may end at the same time.
        with Lock(path.with_suffix(".lock"), f"{path}").held(patience=10.0):
            current = _current(path) | {variant: fingerprint}
            write_json(path, {"format": FORMAT, "current": current})

    def attempts(self, stage: str) -> Iterator[Path]:
        """The folders of a stage's results, finished or not."""
        folder = self.path / stage
        if folder.is_dir():
            yield from sorted(p.parent for p in folder.glob("*/journal.jsonl"))


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_SERVICE_NAMES = frozenset({"local", "nim"})
"""What the run's own services are called; a variant's service has the variant's name."""


def check_name(name: str, what: str) -> None:
    """Whether a run or variant may have this name, which becomes a folder or a file.

    Raises:
        BadRecipe: it may not.
    """
    if _NAME.fullmatch(name) and not (what == "variant" and name in _SERVICE_NAMES):
        return
    raise BadRecipe(
        f"{name!r} can't be the name of a {what}.",
        safe="Nothing was changed.",
        next_step="Use letters, digits, dots, hyphens and underscores, at most 64 of them, "
        "beginning with a letter or digit"
        + ("; local and nim are taken." if what == "variant" else "."),
    )


def _current(path: Path) -> dict[str, str]:
    """The fingerprints of `current.json` by variant; empty while there is none."""
    if not path.is_file():
        return {}
    document = read_json(path)
    current = document.get("current") if isinstance(document, dict) else None
    if not isinstance(current, dict) or document.get("format") != FORMAT:
        raise BadInput(
            f"{path} is damaged, or of a format that this version doesn't know.",
            safe="Nothing was changed; the results beside it are whole.",
            next_step="Remove the file and run the same command again: it finds the results.",
        )
    return current


def create_run(path: Path, profile: Profile, overrides: Overrides, where: str) -> Run:
    """Make a run folder with its recipe.

    Raises:
        BadRecipe: a setting is unknown or out of range; nothing is made then.
    """
    recipe = apply(base_recipe(profile), overrides, where)
    require_kind(profile, profile_of(recipe), where)
    write_overrides(path / "recipe.toml", flatten(recipe))
    return Run(path)


def change_recipe(run: Run, overrides: Overrides, where: str, variant: str = "") -> None:
    """Write settings into the recipe, or into a variant's overlay.

    Raises:
        BadRecipe: a setting is unknown or out of range, or the profile would turn a rehearsal
            into something else; nothing is written then.
    """
    changed = changed_recipe(run, overrides, where, variant)
    if not variant:
        if changed != run.recipe():
            write_overrides(run.recipe_path, flatten(changed))
        return
    path = run.variant_path(variant)
    if overrides or not path.is_file():
        write_overrides(path, _overlay(path) | dict(overrides))


def changed_recipe(run: Run, overrides: Overrides, where: str, variant: str = "") -> Recipe:
    """What the recipe would be with some settings changed; nothing is written.

    Raises:
        BadRecipe: as `change_recipe`.
    """
    recipe = run.recipe()
    profile = find_profile(recipe.profile)
    if variant:
        overrides = _overlay(run.variant_path(variant)) | dict(overrides)
    changed = apply(recipe, overrides, where)
    require_kind(profile, profile_of(changed), where)
    return changed


def _overlay(path: Path) -> dict[str, Any]:
    return read_overrides(path) if path.is_file() else {}


def list_runs(root: Path) -> list[Run]:
    """The runs below a home folder, by name."""
    return [Run(p.parent) for p in sorted(root.glob("*/recipe.toml"))] if root.is_dir() else []


def find_run(root: Path, name: str) -> Run:
    """A run by name, or by the path of its folder.

    Raises:
        BadInput: there is none; the runs that exist are named.
    """
    for path in (root / name, Path(name).expanduser().absolute()):
        if (path / "recipe.toml").is_file():
            return Run(path)
    names = ", ".join(run.name for run in list_runs(root)) or "none yet"
    raise BadInput(
        f"There is no run {name!r} in {root}.",
        safe="Nothing was changed.",
        next_step=f"Runs here: {names}. Start one with `embedsmith run FOLDER`.",
    )


def slug(text: str) -> str:
    """A name that is safe as a folder: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48] or "run"


def last_activity(run: Run) -> float:
    """When a stage of the run last started or ended, in seconds since the epoch."""
    events = read_journal(run.events_path)
    return events[-1].time if events else run.recipe_path.stat().st_mtime


def require_kind(before: Profile, after: Profile, where: str) -> None:
    """Refuse to turn a rehearsal into a gated run, or the other way round.

    Raises:
        BadRecipe: the profiles are of different kinds.
    """
    if before.rehearsal != after.rehearsal:
        raise BadRecipe(
            f"{where}: a rehearsal stays a rehearsal, and a gated profile stays gated.",
            safe="Nothing was changed.",
            next_step="Start another run: `embedsmith run FOLDER --profile NAME`.",
        )
