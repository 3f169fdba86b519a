"""How many questions are kept, by role, without making samples of them: for a count, not for prep.

Nothing here knows Textual. It reads every sample, so it is called in a thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import read_jsonl
from pipeline.review.decisions import fold
from pipeline.review.kept import keeps
from pipeline.review.log import read_decisions
from pipeline.run import Run
from pipeline.sdg.records import SAMPLES


@dataclass(frozen=True)
class KeptCounts:
    """What review has come to.

    Attributes:
        roles: kept questions by role.
        samples: questions in all.
        decided: questions that a person decided about.
        threshold: the one that holds.
    """

    roles: Mapping[str, int]
    samples: int
    decided: int
    threshold: float

    @property
    def train(self) -> int:
        """Training questions: one example each."""
        return self.roles.get("train", 0)


def counts_mark(run: Run, sdg_folder: Path, first_threshold: float) -> tuple[object, ...]:
    """Another one means that `count_kept` may count otherwise."""
    decisions = run.decisions_path
    size = decisions.stat().st_size if decisions.is_file() else 0
    return (sdg_folder, size, first_threshold)


def count_kept(run: Run, sdg_folder: Path, first_threshold: float) -> KeptCounts:
    """Count what is kept, by what people have said until now.

    Args:
        run: the run.
        sdg_folder: of the finished sdg result.
        first_threshold: the recipe's; it holds until a person moves it.

    Raises:
        BadInput: the samples or the decisions cannot be read; file and line are named.
        OSError: they can't be opened.
    """
    state = fold(read_decisions(run.decisions_path))
    threshold = first_threshold if state.threshold is None else state.threshold
    roles: Counter[str] = Counter()
    samples = decided = 0
    for row in read_jsonl(sdg_folder / SAMPLES):
        decision = state.decisions.get(row["id"])
        blocking = any(flag["blocking"] for flag in row["flags"])
        samples += 1
        decided += decision is not None
        roles[row["role"]] += keeps(row["score"], blocking, decision, threshold)
    return KeptCounts(dict(roles), samples, decided, threshold)
