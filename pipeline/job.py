"""What one worker does: a stage of a run, with the recipe and the results that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.recipe import Recipe
from pipeline.run import Result, Run
from pipeline.stage import Stage
from pipeline.status import Status, folder_of, job_statuses


@dataclass(frozen=True)
class Job:
    """One stage of one run, with everything that its worker needs to know.

    Attributes:
        run: the run folder.
        variant: the variant's name, or empty.
        status: the stage and what its result will be made from.
        recipe: the settings, variant applied, as they were when the job was planned.
        inputs: the results of the stages that it needs.
        options: what this call asked for beyond the recipe.
    """

    run: Run
    variant: str
    status: Status
    recipe: Recipe
    inputs: Mapping[str, Result]
    options: Mapping[str, str]

    @property
    def stage(self) -> Stage:
        """The stage."""
        return self.status.stage

    @property
    def folder(self) -> Path:
        """Where the result, its journal and its lock lie."""
        return folder_of(self.run, self.variant, self.status)


def plan_job(run: Run, variant: str, stage: str, options: Mapping[str, str], cache: Path) -> Job:
    """What a worker for `stage` would do now.

    Raises:
        BadInput: an earlier stage has to run first.
    """
    recipe = run.recipe(variant)
    statuses = job_statuses(run, variant, stage, cache, options, recipe)
    status = statuses[-1]
    if status.identity is None and status.state not in ("done", "running") and stage != "deploy":
        raise _not_yet(stage, status.reason)
    if stage == "deploy" and status.reason.endswith("comes first"):
        raise _not_yet(stage, status.reason)
    results = {earlier.stage.name: earlier.result for earlier in statuses}
    inputs = {name: result for name in status.stage.needs if (result := results[name])}
    return Job(run, variant, status, recipe, inputs, options)


def _not_yet(stage: str, reason: str) -> BadInput:
    return BadInput(
        f"{stage} can't start: {reason}.",
        safe="What was made so far is kept.",
        next_step="Run the whole chain with `embedsmith run`, or the missing stage by its name.",
    )
