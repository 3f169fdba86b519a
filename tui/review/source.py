"""Which samples a review shows: a finished result's, or those that arrive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.run import Run
from pipeline.sdg.records import ARRIVING, SAMPLES
from tui.watch import Snapshot


@dataclass(frozen=True)
class Source:
    """Where the samples of a review are.

    Attributes:
        run: the run.
        samples: `samples.jsonl` of a result, or `arriving.jsonl` while one is being made.
        corpus: the corpus result's folder.
        threshold: the recipe's; it holds until a person moves it.
        seed: the recipe's.
        complete: whether all samples are there.
    """

    run: Run
    samples: Path
    corpus: Path
    threshold: float
    seed: int
    complete: bool


def source_of(snapshot: Snapshot, at_work: Path | None) -> Source | None:
    """Where the samples are now, or None while there are none.

    Args:
        snapshot: where the run stands.
        at_work: the folder of the sdg worker that runs, or None.
    """
    corpus = snapshot.results.get("corpus") or snapshot.run.current("corpus", snapshot.variant)
    if corpus is None:
        return None
    path = _samples(snapshot, at_work)
    if path is None:
        return None
    return Source(
        run=snapshot.run,
        samples=path,
        corpus=corpus.folder,
        threshold=snapshot.recipe.sdg.threshold,
        seed=snapshot.recipe.seed,
        complete=path.name == SAMPLES,
    )


def _samples(snapshot: Snapshot, at_work: Path | None) -> Path | None:
    """A finished result's; else what a worker writes or left; else an earlier recipe's."""
    result = snapshot.results.get("sdg")
    if result:
        return result.folder / SAMPLES
    for folder in (at_work, snapshot.folders.get("sdg")):
        if folder and (folder / ARRIVING).is_file():
            return folder / ARRIVING
    earlier = snapshot.run.current("sdg", snapshot.variant)
    return earlier.folder / SAMPLES if earlier else None
