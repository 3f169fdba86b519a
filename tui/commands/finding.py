"""Which run a command means: found by its name or its documents, made when there is none."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from pipeline.corpus.hf_address import is_address
from pipeline.corpus.records import PYDOC
from pipeline.profiles import REHEARSAL_PROFILE, Profile, find_profile, known_profiles
from pipeline.recipe import Recipe, flatten, parse_setting
from pipeline.run import Run, check_name, create_run, find_run, home, require_kind, slug
from pipeline.settings import BASE_TEACHER, FILES, PYTHON_PROBE
from tui.commands.machine import require_machine
from tui.sources import (
    absolute,
    default_name,
    existing,
    free_path,
    label_of,
    make_run,
    require_apart,
    run_over,
)

_NAMES = frozenset({"", PYTHON_PROBE, BASE_TEACHER, *known_profiles()})
"""What isn't meant as a path, whatever lies here."""


def overrides_of(arguments: Namespace) -> dict[str, Any]:
    """The settings that a call changes, paths made absolute: a worker has another folder."""
    overrides = dict(parse_setting(text) for text in arguments.settings)
    source = overrides.get("corpus.source")
    if isinstance(source, str):
        overrides["corpus.source"] = absolute(source)
    overrides |= {name: _from_here(overrides[name]) for name in FILES if name in overrides}
    profile = overrides.get("profile")
    if isinstance(profile, str):
        overrides["profile"] = find_profile(profile).id
    if documents := getattr(arguments, "documents", 0):
        overrides["corpus.documents"] = documents
    if wanted := getattr(arguments, "wanted", 0):
        overrides["sdg.target"] = wanted
    return overrides | getattr(arguments, "further", {})


def _from_here(value: Any) -> Any:
    """A file's or folder's path, or several, absolute; what names none that is here, as it was."""
    if isinstance(value, list):
        return [_from_here(one) for one in value]
    if not isinstance(value, str) or value in _NAMES or not Path(value).exists():
        return value
    return str(Path(value).resolve())


def run_for(arguments: Namespace) -> Run | None:
    """The run of `embedsmith run`; None for a dry run that would make one."""
    if arguments.from_run:
        return _grown(arguments)
    overrides = overrides_of(arguments)
    named = arguments.profile or overrides.get("profile", "")
    profile = find_profile(named) if named else None
    if not is_address(arguments.source) and not Path(arguments.source).expanduser().exists():
        return _by_name(arguments.source, profile)
    place = absolute(arguments.source)
    name = arguments.name or slug(label_of(place))
    wanted = None if profile is None else profile.id

    def means(run: Run, recipe: Recipe) -> bool:
        if find_profile(recipe.profile).rehearsal != bool(profile and profile.rehearsal):
            return False
        return wanted is None or recipe.profile == wanted

    found = run_over(place, name, bool(arguments.name), means)
    if found or arguments.dry_run:
        return found
    profile = profile or find_profile(Recipe().profile)
    return make_run(name, bool(arguments.name), profile, place, overrides, "--set")


def rehearsal_for(arguments: Namespace) -> Run | None:
    """The run of `embedsmith rehearse`; None for a dry run that would make one."""
    source = arguments.source or PYDOC
    overrides = overrides_of(arguments)
    profile = find_profile(REHEARSAL_PROFILE)
    require_kind(profile, find_profile(overrides.get("profile", REHEARSAL_PROFILE)), "--set")
    place = absolute(source)
    documents = overrides.get("corpus.documents", 0)
    name = arguments.name or default_name(place, profile, documents)

    def means(run: Run, recipe: Recipe) -> bool:
        if not find_profile(recipe.profile).rehearsal:
            return False
        return bool(arguments.name) or recipe.corpus.documents == documents

    found = run_over(place, name, bool(arguments.name), means)
    if found or arguments.dry_run:
        return found
    return make_run(name, bool(arguments.name), profile, place, overrides, "--set")


def _by_name(name: str, profile: Profile | None) -> Run:
    """A run by its name, where no document folder of that name is in the way."""
    if not (home() / name / "recipe.toml").is_file():
        existing(name)  # says that there is neither
    run = find_run(home(), name)
    if profile is not None:
        require_kind(profile, find_profile(run.recipe().profile), "--profile")
    return run


def _grown(arguments: Namespace) -> Run:
    """A run over a grown corpus: the old one's recipe, replies, decisions and folds."""
    old = find_run(home(), arguments.from_run)
    place = absolute(arguments.source)
    name = arguments.name or slug(f"{label_of(place)}-from-{old.name}")
    found = run_over(place, name, True, lambda run, recipe: True)
    if found:
        return found
    check_name(name, "run")
    recipe = old.recipe()
    profile = find_profile(recipe.profile)
    require_machine(profile)
    require_apart(place)
    path = free_path(name, bool(arguments.name))
    run = Run(path)
    copied = [
        (old.calls_path, run.calls_path),
        (old.decisions_path, run.decisions_path),
        (old.folds_path, run.folds_path),
        (old.queries_path, run.queries_path),
        *((old.variant_path(name), run.variant_path(name)) for name in old.variants()),
    ]
    for source, target in copied:
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    # The recipe comes last: without it the folder is no run yet, and a repeat starts over.
    overrides = flatten(recipe) | {"corpus.source": place}
    return create_run(path, profile, overrides, "--from-run")
