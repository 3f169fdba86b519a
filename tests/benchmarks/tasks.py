"""What `quality.py` measures: systems by name, and what each of ours is told."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.recipe import Overrides, Recipe, apply

SYSTEMS = (
    "base",
    "bm25",
    "ours",
    "published",
    "sentence-transformers",
    "sentence-transformers-one",
)

PUBLISHED: Overrides = {
    "prep.hard_negatives": 5,
    "prep.positive_percentage": 0.95,
    "finetune.learning_rate": 1e-5,
    "finetune.warmup_steps": 5,
    "finetune.schedule": "cosine",
    "finetune.batch_size": 128,
    "finetune.auto_scale": True,
    "finetune.hard_negatives": 4,
    "finetune.in_batch_negatives": False,
    "finetune.temperature": 0.02,
    "finetune.weight_decay": 0.01,
    "finetune.gradient_clip": 1.0,
}
"""NVIDIA's published embedding recipe; held here, since our defaults may move away from it."""


@dataclass(frozen=True)
class Task:
    """One cell of the table, before it is measured.

    Attributes:
        system: `base`, `bm25`, `ours`, `published`, `sentence-transformers` (every pair of a
            question and a positive, as mined), `sentence-transformers-one` (one positive a
            question), or the name of a variant of ours.
        seed: of split and training.
        epochs: how often the training questions are seen.
        questions: to learn from at most; 0: all.
        overrides: a variant's settings.
        threads: to compute on.
    """

    system: str
    seed: int
    epochs: int
    questions: int
    overrides: Overrides
    threads: int

    @property
    def chooses(self) -> bool:
        """Whether the best weights are chosen by questions that aren't trained on."""
        return self.system not in SYSTEMS or self.system == "ours"


def recipe_of(task: Task) -> Recipe:
    """What ours is told.

    Raises:
        BadRecipe: a setting is unknown or out of range.
    """
    base = base_recipe(find_profile(REHEARSAL_PROFILE))
    given = PUBLISHED if task.system == "published" else task.overrides
    told = {"seed": task.seed, "finetune.epochs": task.epochs, **given}
    return apply(base, told, f"system {task.system}")
