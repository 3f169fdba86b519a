"""Which run a command means: found by its name or its documents, made when there is none."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.corpus.source import open_source
from pipeline.errors import BadInput, Failure
from pipeline.profiles import REHEARSAL_PROFILE, Profile, find_profile
from pipeline.recipe import Recipe, flatten, parse_setting
from pipeline.run import Run, check_name, create_run, find_run, home, list_runs, require_kind, slug
from tui.commands.machine import require_machine

PYDOC = "pydoc"
"""The source that every machine has: the standard library's documentation."""


def overrides_of(arguments: Namespace) -> dict[str, Any]:
    """The settings of `--set`, paths made absolute: a worker has another working directory."""
    overrides = dict(parse_setting(text) for text in arguments.settings)
    source = overrides.get("corpus.source")
    if isinstance(source, str) and source != PYDOC:
        overrides["corpus.source"] = str(existing(source))
    profile = overrides.get("profile")
    if isinstance(profile, str):
        overrides["profile"] = find_profile(profile).id
    if documents := getattr(arguments, "documents", 0):
        overrides["corpus.documents"] = documents
    return overrides


def run_for(arguments: Namespace) -> Run | None:
    """The run of `embedsmith run`; None for a dry run that would make one."""
    if arguments.from_run:
        return _grown(arguments)
    overrides = overrides_of(arguments)
    named = arguments.profile or overrides.get("profile", "")
    profile = find_profile(named) if named else None
    if not Path(arguments.source).expanduser().exists():
        return _by_name(arguments.source, profile)
    place = str(existing(arguments.source))
    name = arguments.name or slug(Path(place).stem)
    wanted = None if profile is None else profile.id

    def means(run: Run, recipe: Recipe) -> bool:
        if find_profile(recipe.profile).rehearsal != bool(profile and profile.rehearsal):
            return False
        return wanted is None or recipe.profile == wanted

    found = _found(place, name, bool(arguments.name), means)
    if found or arguments.dry_run:
        return found
    return _make(arguments, name, profile or find_profile(Recipe().profile), place, overrides)


def rehearsal_for(arguments: Namespace) -> Run | None:
    """The run of `embedsmith rehearse`; None for a dry run that would make one."""
    source = arguments.source or PYDOC
    overrides = overrides_of(arguments)
    profile = find_profile(REHEARSAL_PROFILE)
    require_kind(profile, find_profile(overrides.get("profile", REHEARSAL_PROFILE)), "--set")
    place = PYDOC if source == PYDOC else str(existing(source))
    documents = overrides.get("corpus.documents", 0)
    label = "python-docs" if place == PYDOC else Path(place).stem
    slice_ = f"-{documents}" if documents else ""
    name = arguments.name or slug(f"rehearsal-{label}{slice_}")

    def means(run: Run, recipe: Recipe) -> bool:
        if not find_profile(recipe.profile).rehearsal:
            return False
        return bool(arguments.name) or recipe.corpus.documents == documents

    found = _found(place, name, bool(arguments.name), means)
    if found or arguments.dry_run:
        return found
    return _make(arguments, name, profile, place, overrides)


def existing(source: str) -> Path:
    """A folder or file that is there, absolute.

    Raises:
        BadInput: it isn't.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise BadInput(
            f"There is no folder, file or run {source!r}.",
            safe="Nothing was changed.",
            next_step="Give the folder that holds the documents, or see `embedsmith runs`.",
        )
    return path.resolve()


def _by_name(name: str, profile: Profile | None) -> Run:
    """A run by its name, where no document folder of that name is in the way."""
    if not (home() / name / "recipe.toml").is_file():
        existing(name)  # says that there is neither
    run = find_run(home(), name)
    if profile is not None:
        require_kind(profile, find_profile(run.recipe().profile), "--profile")
    return run


def _found(place: str, name: str, exact: bool, means: Any) -> Run | None:
    """The run over the same source that is meant; its default name comes first."""
    matches = []
    for run in list_runs(home()):
        try:
            recipe = run.recipe()
            if recipe.corpus.source == place and means(run, recipe):
                matches.append(run)
        except Failure:
            # A damaged run says so when it is asked for; it stops no other.
            continue
    for run in matches:
        if run.name == name:
            return run
    return None if exact or not matches else matches[0]


def _make(
    arguments: Namespace, name: str, profile: Profile, place: str, overrides: Mapping[str, Any]
) -> Run:
    check_name(name, "run")
    require_machine(profile)
    if place != PYDOC:
        _require_apart(Path(place))
        open_source(place)
    path = _free(name, bool(arguments.name))
    return create_run(path, profile, {"corpus.source": place, **overrides}, "--set")


def _require_apart(place: Path) -> None:
    """Runs inside the documents would be documents, and change with every step."""
    if place.is_dir() and home().is_relative_to(place):
        raise BadInput(
            f"Runs would lie in {home()}, inside the documents.",
            safe="Nothing was changed.",
            next_step="Choose another --home, or a folder that holds the documents alone.",
        )


def _free(name: str, exact: bool) -> Path:
    path, number = home() / name, 2
    if exact and (path / "recipe.toml").exists():
        raise BadInput(
            f"There is a run {name!r} already, over another source or of another kind.",
            safe="Nothing was changed.",
            next_step="Choose another --name.",
        )
    while not exact and (path / "recipe.toml").exists():
        path, number = home() / f"{name}-{number}", number + 1
    return path


def _grown(arguments: Namespace) -> Run:
    """A run over a grown corpus: the old one's recipe, replies, decisions and folds."""
    old = find_run(home(), arguments.from_run)
    place = str(existing(arguments.source))
    name = arguments.name or slug(f"{Path(place).stem}-from-{old.name}")
    found = _found(place, name, True, lambda run, recipe: True)
    if found:
        return found
    check_name(name, "run")
    recipe = old.recipe()
    profile = find_profile(recipe.profile)
    require_machine(profile)
    _require_apart(Path(place))
    path = _free(name, bool(arguments.name))
    run = Run(path)
    copied = [
        (old.calls_path, run.calls_path),
        (old.decisions_path, run.decisions_path),
        (old.folds_path, run.folds_path),
        *((old.variant_path(name), run.variant_path(name)) for name in old.variants()),
    ]
    for source, target in copied:
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    # The recipe comes last: without it the folder is no run yet, and a repeat starts over.
    overrides = flatten(recipe) | {"corpus.source": place}
    return create_run(path, profile, overrides, "--from-run")
