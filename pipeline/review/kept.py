"""What is kept: the one rule, and the kept set as `prep` reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.files import digest_value
from pipeline.review.decisions import Decision, ReviewState, fold
from pipeline.review.log import read_decisions
from pipeline.run import Run
from pipeline.sdg.records import RANK_FLAGS, Sample, passes, read_samples


def is_kept(sample: Sample, decision: Decision | None, threshold: float) -> bool:
    """Whether a sample is kept: the decision if there is one, else its score and flags.

    Args:
        sample: the sample; no score (an import) counts as above the threshold.
        decision: what a person said about it, or None.
        threshold: the least score, of 10.
    """
    return keeps(sample.score, any(flag.blocking for flag in sample.flags), decision, threshold)


def keeps(score: float | None, blocking: bool, decision: Decision | None, threshold: float) -> bool:
    """The rule itself: see `is_kept`.

    Args:
        score: of 10, or None.
        blocking: whether a flag blocks the sample.
        decision: what a person said about it, or None.
        threshold: the least score, of 10.
    """
    if decision is not None:
        return decision.verdict == "accept"
    return passes(score, blocking, threshold)


def kept_samples(
    samples: Iterable[Sample], state: ReviewState, first_threshold: float
) -> tuple[Sample, ...]:
    """The kept samples, in the order given, with edits applied; ids stay.

    Args:
        samples: all samples.
        state: where the decisions stand.
        first_threshold: the recipe's; it holds until a person moves it.
    """
    threshold = first_threshold if state.threshold is None else state.threshold
    return tuple(
        _edited(sample, state.decisions.get(sample.id))
        for sample in samples
        if is_kept(sample, state.decisions.get(sample.id), threshold)
    )


def load_kept(run: Run, sdg_folder: Path, first_threshold: float) -> tuple[Sample, ...]:
    """The kept samples of one sdg result, by what people have said until now.

    Raises:
        BadInput: the samples or the decisions cannot be read; file and line are named.
    """
    state = fold(read_decisions(run.decisions_path))
    return kept_samples(read_samples(sdg_folder), state, first_threshold)


_CAME_LATER = {"judge": "", "style": "", "language": "", "round": 1}
"""Fields of a sample that came when results existed already: with these values they are left out
of the digest, so that an upgrade makes no training file stale."""


def kept_digest(kept: Sequence[Sample]) -> str:
    """Hash of what is kept, whichever way it came to be kept.

    Where a retriever has the evidence changes no training example, so ranks and what is flagged
    by them are left out: the same questions ranked on another machine are the same.
    """
    return digest_value([_row(sample) for sample in kept])


def _row(sample: Sample) -> dict[str, Any]:
    """What `asdict` gives, without its copies: a window hashes 10,000 samples while one waits."""
    row = {
        **vars(sample),
        "quotes": [vars(quote) for quote in sample.quotes],
        "flags": [vars(flag) for flag in sample.flags if flag.name not in RANK_FLAGS],
    }
    del row["ranks"]
    for name, value in _CAME_LATER.items():
        if row[name] == value:
            del row[name]
    return row


def _edited(sample: Sample, decision: Decision | None) -> Sample:
    if decision is None:
        return sample
    return replace(
        sample,
        question=sample.question if decision.question is None else decision.question,
        answer=sample.answer if decision.answer is None else decision.answer,
    )
