"""What a run folder says, read for a window: its stages, and the journals of its workers.

Nothing here knows Textual. Reading where the stages stand hashes documents and decisions, so
`read_snapshot` is called in a thread and only when `marks` say that something changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import Failure, as_failure
from pipeline.journal import ENDINGS, Event, JournalReader
from pipeline.locks import is_held
from pipeline.profiles import Profile, find_profile
from pipeline.recipe import Recipe
from pipeline.run import Result, Run, cache_home
from tui.progress import View, fold
from tui.steps import StageState

if TYPE_CHECKING:
    from tui.training import TrainingView


@dataclass(frozen=True)
class Snapshot:
    """Where a run stood at one moment.

    Attributes:
        run: the run.
        variant: the variant's name, or empty.
        recipe: its settings.
        profile: the base model.
        stages: where every stage stands, by name; empty when that couldn't be read.
        folders: where each stage's journal, lock and result lie, by name.
        results: finished results that the recipe means now, by stage.
        failure: why the stages couldn't be read, or None.
    """

    run: Run
    variant: str
    recipe: Recipe
    profile: Profile
    stages: Mapping[str, StageState]
    folders: Mapping[str, Path]
    results: Mapping[str, Result]
    failure: Failure | None = None

    @property
    def rehearsal(self) -> bool:
        """Whether the run is a rehearsal."""
        return self.profile.rehearsal

    def state(self, stage: str) -> str:
        """The state of one stage; `waiting` while it isn't known."""
        known = self.stages.get(stage)
        return known.state if known else "waiting"


def read_snapshot(run: Run, variant: str = "") -> Snapshot:
    """Read where a run stands.

    Raises:
        Failure: the recipe cannot be understood.
    """
    # Here: the first frame stands before these have loaded.
    from pipeline.stage import STAGE_NAMES
    from pipeline.status import folder_of, status_of_run

    recipe = run.recipe(variant)
    profile = find_profile(recipe.profile)
    # Until training was tried nothing follows from what is kept, and hashing that is slow.
    last = STAGE_NAMES[-1] if any(run.attempts("prep")) else "sdg"
    try:
        statuses = status_of_run(run, variant, cache_home(), lenient=True, last=last)
    except (Failure, OSError, ValueError) as error:
        return Snapshot(run, variant, recipe, profile, {}, {}, {}, as_failure(error))
    return Snapshot(
        run=run,
        variant=variant,
        recipe=recipe,
        profile=profile,
        stages={
            **_not_begun(STAGE_NAMES[len(statuses) :], statuses[-1].state == "done"),
            **{s.stage.name: StageState(s.state, s.reason) for s in statuses},
        },
        folders={
            s.stage.name: folder_of(run, variant, s)
            for s in statuses
            if s.identity or s.stage.name == "deploy"
        },
        results={s.stage.name: s.result for s in statuses if s.state == "done" and s.result},
    )


def _not_begun(names: Sequence[str], ready: bool) -> dict[str, StageState]:
    """Stages that nobody has started yet; the first may, where what it needs is done."""
    return {
        name: StageState("new" if ready and number == 0 else "waiting", "not made yet")
        for number, name in enumerate(names)
    }


@dataclass(frozen=True)
class Marks:
    """A cheap sign of a run's state: another one means that a snapshot may read otherwise.

    Attributes:
        run: of recipe, variant, eval sets, journal and workers.
        decisions: of the decision log.
    """

    run: tuple[object, ...]
    decisions: object


def marks(run: Run, variant: str = "") -> Marks:
    """Look at the files that a run's state depends on; nothing is read."""
    paths = [run.recipe_path, run.events_path, run.eval_sets_path]
    if variant:
        paths.append(run.variant_path(variant))
    files = tuple(_mark(path) for path in paths)
    return Marks((*files, *working(run)), _mark(run.decisions_path))


def working(run: Run) -> list[Path]:
    """The folders of results that a worker is writing now, in the order of the stages."""
    return [folder for folder in _attempts(run) if is_held(folder / "lock")]


def _attempts(run: Run) -> Sequence[Path]:
    return sorted(path.parent for path in run.path.glob("*/*/journal.jsonl"))


def _mark(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return status.st_mtime_ns, status.st_size


POLL_BYTES = 1 << 18
"""Of a journal, read at one look: some 2,000 steps of a training, 20 ms between two keys."""


@dataclass
class Job:
    """One stage's journal as a window follows it: what it said, and how it goes now.

    A training writes an event for every step, so steps and progress are folded and not kept.

    Attributes:
        stage: the stage.
        folder: where its journal lies.
        events: everything but steps and progress, earlier attempts included.
        counted: the last progress of each kind of work, in the order in which they began.
        view: progress and metrics of the last attempt.
        training: of `finetune`, all its steps; else None.
        ending: how the last attempt ended; None while it goes on, or was killed.
        paused: whether it waits.
    """

    stage: str
    folder: Path
    events: list[Event] = field(default_factory=list)
    counted: dict[str, Event] = field(default_factory=dict)
    view: View = field(default_factory=View)
    training: TrainingView | None = None
    ending: Event | None = None
    paused: bool = False

    def __post_init__(self) -> None:
        self._reader = JournalReader(self.folder / "journal.jsonl")
        if self.stage == "finetune":
            # Here: the first frame stands before this has loaded.
            from tui.training import TrainingView

            self.training = TrainingView()

    @property
    def behind(self) -> bool:
        """Whether the journal holds more than was read; a long one is read over many looks."""
        return self._reader.behind

    def poll(self) -> list[Event]:
        """Read on; returns what is new."""
        new = self._reader.read(POLL_BYTES)
        for event in new:
            self._take(event)
        return new

    def _take(self, event: Event) -> None:
        if event.type == "started":
            self.view, self.ending, self.paused = View(), None, False
        elif event.type in ENDINGS:
            self.ending = event
        elif event.type in ("paused", "continued"):
            self.paused = event.type == "paused"
        self.view = fold(self.view, event)
        if self.training is not None:
            self.training.take(event)
        if event.type == "progress":
            self.counted[str(event.data["what"])] = event
        elif event.type != "metric":
            self.events.append(event)

    @property
    def log(self) -> Path:
        """The worker's log."""
        from pipeline.launch import LOG_NAME

        return self.folder.parent / LOG_NAME
