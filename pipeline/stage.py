"""The stages in order: what each needs, and what its result depends on."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.prep.preview import PREVIEW
from pipeline.sdg.trial import TRIAL


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


def find_stage(name: str) -> Stage:
    """A stage, the trial or the preview, by name."""
    return (*STAGES, *_ASIDE)[JOB_NAMES.index(name)]
