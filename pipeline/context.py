"""What a stage is handed, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.profiles import Profile
from pipeline.recipe import Recipe
from pipeline.run import Result, Run


class Events(Protocol):
    """Where a stage writes what happens."""

    def progress(self, done: int, total: int, what: str) -> None:
        """So many of so many; `what` names the work and its unit ("passages encoded")."""

    def metric(self, **values: float | int | str) -> None:
        """Numbers of one moment, such as a training step's loss."""

    def log(self, message: str, *, level: str = "info") -> None:
        """One line for a person; level `info` or `warning`."""

    def artifact(self, path: str, what: str) -> None:
        """A file is finished; `path` is relative to the result."""

    def resumed(self, **where: float | int | str) -> None:
        """Work goes on from an earlier attempt (`step=120`)."""


class Control(Protocol):
    """What others asked of this worker."""

    @property
    def finish_asked(self) -> bool:
        """Whether to end now and keep the best."""

    def poll(self) -> None:
        """Call at every safe point: waits while paused.

        Raises:
            Cancelled: `cancel` was asked.
            Terminated: SIGTERM arrived.
        """


@dataclass(frozen=True)
class Context:
    """One stage's surroundings.

    Attributes:
        run: the run folder.
        recipe: the settings, variant applied.
        profile: the base model.
        variant: the variant's name, or empty.
        folder: the result being made. A stage that finds its own files here goes on from them.
        inputs: the results of the stages that this one needs, by stage.
        events: the result's journal.
        control: requests of the user.
        device: `cpu` or `cuda`.
        cache: the machine's cache folder (embeddings by content).
        options: what one call asked for beyond the recipe, such as an endpoint's URL.
    """

    run: Run
    recipe: Recipe
    profile: Profile
    variant: str
    folder: Path
    inputs: Mapping[str, Result]
    events: Events
    control: Control
    device: str
    cache: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def report(self, done: int, total: int, what: str) -> None:
        """Say how far some work is, at a safe point; see `Events.progress` and `Control.poll`.

        Raises:
            Interruption: somebody asked the stage to end.
        """
        self.events.progress(done, total, what)
        self.control.poll()


@dataclass(frozen=True)
class Outcome:
    """What a stage made.

    Attributes:
        outputs: paths relative to the result's folder that make up its identity, files or
            folders; nothing in them may depend on time or machine.
        summary: a few numbers and words for screens and reports; free to hold times.
        imported: whether the work came from outside instead of being done here.
        partial: whether the user ended it early.
    """

    outputs: tuple[str, ...]
    summary: Mapping[str, Any]
    imported: bool = False
    partial: bool = False
