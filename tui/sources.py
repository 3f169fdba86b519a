"""Documents that a run may be made over, and the run that a source means: the commands and the
wizard ask here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.hf_address import is_address, parse_address
from pipeline.corpus.records import PYDOC
from pipeline.corpus.source import Kind, open_source
from pipeline.errors import BadInput, Failure
from pipeline.profiles import Profile, base_recipe
from pipeline.recipe import Overrides, Recipe, apply
from pipeline.run import Run, check_name, create_run, home, list_runs, slug
from pipeline.settings import CorpusSettings
from tui.commands.machine import require_machine
from tui.disk import count_files
from tui.off_loop import Stopped

Means = Callable[[Run, Recipe], bool]
"""Whether a run over the same source is the one that is meant."""

MANY_FILES = 20_000
"""While a path is being typed, files are counted so far and no further."""


@dataclass(frozen=True)
class Place:
    """Documents, looked at.

    Attributes:
        source: as the recipe has it: `pydoc`, `hf://...`, or an absolute path.
        kind: what it is; None while it was only counted.
        files: how many files it holds.
        runs: the runs over it.
    """

    source: str
    kind: Kind | None
    files: int
    runs: tuple[Run, ...] = ()

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        files = f"{self.files:,} file{'s' * (self.files != 1)}"
        return {
            "folder": f"folder of {files}",
            "pydoc": "Python's own documentation",
            "beir": "BEIR folder: passages, queries, qrels",
            "sdg": f"NVIDIA SDG output, {files}",
            "ready": f"ready passages, {files}",
            "hf": "Hugging Face dataset",
            None: f"folder of more than {MANY_FILES:,} files",
        }[self.kind]


def existing(source: str) -> Path:
    """A folder or file that is there, absolute.

    Raises:
        BadInput: it isn't.
    """
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # `~name` of nobody
        path = Path(source)
    if not path.exists():
        raise BadInput(
            f"There is no folder, file or run {source!r}.",
            safe="Nothing was changed.",
            next_step="Give the folder that holds the documents, or see `embedsmith runs`.",
        )
    return path.resolve()


def absolute(source: str) -> str:
    """A source as the recipe has it.

    Raises:
        BadInput: there is nothing at that path.
    """
    return source if is_named(source) else str(existing(source))


def is_named(source: str) -> bool:
    """Whether a source is a name and no path: `pydoc`, or a dataset."""
    return source == PYDOC or is_address(source)


def look_at(source: str, means: Means, settings: CorpusSettings | None = None) -> Place:
    """Look at documents that were chosen; nothing is read of them.

    Args:
        source: as it was typed.
        means: which runs over it are meant.
        settings: the run's, such as where ready passages have their text; None: the defaults.

    Raises:
        BadInput: there is nothing usable, or runs would lie inside.
    """
    place = absolute(source)
    require_apart(place)
    found = open_source(place, settings)
    return Place(place, found.kind, len(found.files), tuple(runs_over(place, means)))


def glance_at(source: str, stopped: Stopped, settings: CorpusSettings | None = None) -> Place:
    """Look at a path that is still being typed: a large folder is counted so far and no further.

    Raises:
        BadInput: as `look_at`.
    """
    place = absolute(source)
    require_apart(place)
    if is_address(place):
        parse_address(place)  # the hub is asked when it is chosen, not at every key
        return Place(place, "hf", 0)
    path = Path(place)
    if place != PYDOC and path.is_dir():
        count = count_files(path, MANY_FILES + 1, stopped)
        if count > MANY_FILES or stopped():
            return Place(place, None, count)
    found = open_source(place, settings)
    return Place(place, found.kind, len(found.files))


def require_apart(place: str) -> None:
    """Runs inside the documents would be documents, and change with every step.

    Raises:
        BadInput: they would lie there, or the path can't be written into a recipe.
    """
    try:
        place.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            "The name of this folder is no UTF-8, so a recipe can't hold it.",
            safe="Nothing was changed.",
            next_step="Rename the folder, or link to it under another name.",
        ) from error
    if not is_named(place) and Path(place).is_dir() and home().is_relative_to(place):
        raise BadInput(
            f"Runs would lie in {home()}, inside the documents.",
            safe="Nothing was changed.",
            next_step="Choose another --home, or a folder that holds the documents alone.",
        )


def runs_over(place: str, means: Means) -> list[Run]:
    """The runs over a source that are meant, by name."""
    matches = []
    for run in list_runs(home()):
        try:
            recipe = run.recipe()
            if recipe.corpus.source == place and means(run, recipe):
                matches.append(run)
        except Failure:
            # A damaged run says so when it is asked for; it stops no other.
            continue
    return matches


def run_over(place: str, name: str, exact: bool, means: Means) -> Run | None:
    """The run over a source that is meant; the one of this name comes first."""
    matches = runs_over(place, means)
    for run in matches:
        if run.name == name:
            return run
    return None if exact or not matches else matches[0]


def label_of(place: str) -> str:
    """A source in a word or two, for the name of a run."""
    if is_address(place) and not (dataset := parse_address(place)).folder:
        return f"{dataset.name} {dataset.config}"
    return Path(place).stem


def default_name(place: str, profile: Profile, documents: int = 0) -> str:
    """What a new run is called, when nobody says."""
    label = "python-docs" if place == PYDOC else label_of(place)
    if not profile.rehearsal:
        return slug(label_of(place))
    return slug(f"rehearsal-{label}" + (f"-{documents}" if documents else ""))


def make_run(
    name: str, exact: bool, profile: Profile, place: str, overrides: Overrides, where: str
) -> Run:
    """Make a run over a source.

    Args:
        name: what it shall be called.
        exact: whether it must have this name; else a number is put behind a taken one.
        profile: the base model.
        place: the source, as the recipe has it.
        overrides: further settings.
        where: where the settings were given, for messages.

    Raises:
        GateRefusal: no GPU here may train this base model.
        BadInput: the source or the name can't be used.
        BadRecipe: a setting can't be understood.
    """
    check_name(name, "run")
    require_machine(profile)
    require_apart(place)
    overrides = {"corpus.source": place, **overrides}
    open_source(place, apply(base_recipe(profile), overrides, where).corpus)
    return create_run(free_path(name, exact), profile, overrides, where)


def free_path(name: str, exact: bool) -> Path:
    """Where a new run lies; see `make_run`.

    Raises:
        BadInput: the name is taken, and must be this one.
    """
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
