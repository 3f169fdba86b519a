"""The wizard's eight steps: what each does, and where it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

StepName = Literal[
    "machine", "corpus", "generate", "review", "train", "metrics", "export", "deploy"
]
STEP_NAMES: tuple[StepName, ...] = get_args(StepName)

StepState = Literal["done", "stale", "running", "failed", "stopped", "ready", "blocked"]

WORDS: Mapping[StepState, str] = {
    "done": "done",
    "stale": "stale",
    "running": "running",
    "failed": "failed",
    "stopped": "stopped",
    "ready": "next",
    "blocked": "waits",
}
"""What a state is called on the rail."""


@dataclass(frozen=True)
class Step:
    """One step of the wizard.

    Attributes:
        name: its word.
        title: as the rail shows it.
        stages: the stages that it runs, in order.
        about: what it does, in one line.
    """

    name: StepName
    title: str
    stages: tuple[str, ...]
    about: str


STEPS: tuple[Step, ...] = (
    Step("machine", "Machine", (), "what this machine can do, and what to do about a refusal"),
    Step("corpus", "Corpus", ("corpus",), "choose documents, and see what is used"),
    Step("generate", "Generate", ("sdg",), "write questions about the passages"),
    Step("review", "Review", (), "accept and reject questions"),
    Step("train", "Train", ("prep", "finetune"), "mine hard negatives and train the model"),
    Step("metrics", "Metrics", ("eval",), "base against fine-tuned against BM25"),
    Step("export", "Export", ("export",), "write ONNX and prove that it is the same model"),
    Step("deploy", "Deploy", ("deploy", "verify"), "start the endpoint and measure through it"),
)


@dataclass(frozen=True)
class StageState:
    """Where one stage stands, as the steps need to know it.

    Attributes:
        state: a state of `pipeline.status.Status`.
        reason: one line for a person.
    """

    state: str
    reason: str


def find_step(name: str) -> Step:
    """A step by name."""
    return next(step for step in STEPS if step.name == name)


def step_of(stage: str) -> StepName:
    """The step that shows a stage."""
    return next((step.name for step in STEPS if stage in step.stages), "generate")


def missing_step(stages: Mapping[str, StageState], needed: Sequence[str]) -> Step | None:
    """The step of the first of the needed stages that isn't done; None when all are."""
    for name in needed:
        if name not in stages or stages[name].state != "done":
            return find_step(step_of(name))
    return None


def step_states(
    stages: Mapping[str, StageState], *, machine_ready: bool, reviewed: bool
) -> dict[StepName, StepState]:
    """Where every step stands.

    Args:
        stages: where the stages stand; empty before a run was chosen.
        machine_ready: whether this machine can do what the run asks for.
        reviewed: whether the user has gone on from the review to training.
    """
    states: dict[StepName, StepState] = {}
    open_way = machine_ready
    for step in STEPS:
        if step.name == "machine":
            state: StepState = "done" if machine_ready else "ready"
        elif step.name == "review":
            state = _review_state(states["generate"], reviewed)
        else:
            state = _state_of([stages[name] for name in step.stages if name in stages], open_way)
        states[step.name] = state
        open_way = open_way and state in ("done", "running" if step.name == "generate" else "done")
        if step.name == "review":
            open_way = states["generate"] == "done"
    return states


def _review_state(generate: StepState, reviewed: bool) -> StepState:
    if generate in ("done", "running", "stale", "stopped"):
        return "done" if reviewed and generate == "done" else "ready"
    return "blocked"


def _state_of(stages: list[StageState], open_way: bool) -> StepState:
    states = [stage.state for stage in stages]
    if "running" in states:
        return "running"
    if "failed" in states:
        return "failed"
    if "vanished" in states or "stopped" in states:
        return "stopped"
    if states and all(state == "done" for state in states):
        return "done"
    if "stale" in states:
        return "stale"
    return "ready" if open_way else "blocked"


def opening_step(states: Mapping[StepName, StepState]) -> StepName:
    """Where the wizard opens: at running work, else at the first step that isn't finished."""
    for name in STEP_NAMES:
        if states[name] == "running":
            return name
    for name in STEP_NAMES:
        if states[name] != "done":
            return name
    return STEP_NAMES[-1]
