"""The guard against forgetting: a small general task, scored before training and after.

What a model gains on its own documents it may lose elsewhere (Kirkpatrick et al., "Overcoming
catastrophic forgetting in neural networks", 2017). The probe is of another domain than the
documents, so its fall shows what the training has cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.beir import EvalSet, beir_splits, is_beir_folder, read_beir
from pipeline.corpus.records import PYDOC
from pipeline.errors import BadRecipe
from pipeline.finetune.docstrings import docstring_task
from pipeline.finetune.stopping import Comparison, compare
from pipeline.finetune.validation import Scores, mean
from pipeline.recipe import Recipe
from pipeline.settings import PYTHON_PROBE

_ROUNDING = 1e-9
"""Of a mean of doubles from 0 to 1, with room to spare."""


@dataclass(frozen=True)
class Probe:
    """The task that nothing was trained for.

    Attributes:
        name: what it is, for a person; no path of this machine.
        task: queries, passages and relevance.
        foreign: whether its domain is another one than the documents'.
        base: nDCG@10 of the base, by query.
    """

    name: str
    task: EvalSet
    foreign: bool
    base: Scores


@dataclass(frozen=True)
class Forgetting:
    """The probe before and after.

    Attributes:
        probe: the name of the task.
        foreign: see `Probe`.
        before: mean nDCG@10 of the base.
        after: mean nDCG@10 of the weights that were kept.
        change: the same, query by query.
        tolerance: so much may be lost.
    """

    probe: str
    foreign: bool
    before: float
    after: float
    change: Comparison
    tolerance: float

    @property
    def exceeded(self) -> bool:
        """Whether more was lost than is tolerated."""
        return fell_too_far(self.before, self.after, self.tolerance)

    @property
    def warnings(self) -> list[str]:
        """What a person has to know."""
        said = []
        if self.exceeded:
            surely = "" if self.change.clear else "; by the interval it may be noise"
            said.append(
                f"The model forgot: nDCG@10 on the probe ({self.probe}) went from "
                f"{self.before:.4f} to {self.after:.4f}, {self.change.text}, more than "
                f"finetune.probe_tolerance = {self.tolerance:g}{surely}. Fewer epochs, a lower "
                "finetune.learning_rate or finetune.interpolate=true lose less."
            )
        if not self.foreign:
            said.append(
                f"The probe ({self.probe}) is of the documents' own domain: it can't show what "
                "is forgotten elsewhere."
            )
        return said


def fell_too_far(before: float, after: float, tolerance: float) -> bool:
    """Whether a score fell by more than is tolerated.

    Rounding doesn't count: one of 50 queries lost is 0.02, and 1 - 0.98 is a little more.
    """
    return before - after > tolerance + _ROUNDING


def forgetting(probe: Probe, after: Scores, tolerance: float) -> Forgetting:
    """Put the probe's scores before and after side by side."""
    change = compare(after, probe.base)
    return Forgetting(probe.name, probe.foreign, mean(probe.base), mean(after), change, tolerance)


def probe_task(recipe: Recipe, root: Path) -> tuple[str, EvalSet] | None:
    """The probe that a recipe asks for, with its name; None for none.

    Args:
        recipe: the settings.
        root: the run's folder, where a relative path begins.

    Raises:
        BadRecipe: `finetune.probe` is neither `python` nor a BEIR folder.
        BadInput: the folder is damaged; file and line are named.
    """
    wanted = recipe.finetune.probe or (PYTHON_PROBE if recipe.finetune.interpolate else "")
    if not wanted:
        return None
    if wanted == PYTHON_PROBE:
        task = docstring_task()
        return None if task is None else ("docstrings of Python's standard library", task)
    folder = root / Path(wanted).expanduser()
    if not is_beir_folder(folder) or not (splits := beir_splits(folder)):
        raise BadRecipe(
            f"finetune.probe = {wanted!r} is neither {PYTHON_PROBE!r} nor a folder in BEIR form "
            "(corpus.jsonl, queries.jsonl, qrels/test.tsv).",
            safe="Nothing was trained, and every earlier result is kept.",
            next_step="Give the folder's full path, or set finetune.probe=python.",
        )
    return f"the general set {folder.name}", read_beir(folder, splits[-1])


def is_foreign(recipe: Recipe) -> bool:
    """Whether the probe's domain is another one than the documents'."""
    return bool(recipe.finetune.probe not in ("", PYTHON_PROBE) or recipe.corpus.source != PYDOC)
