"""Questions that came with the source, as samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.corpus.records import ROLES, ImportedSample, Passage, Role
from pipeline.sdg.records import Sample, sample_id

IMPORTED = "imported"


def imported_samples(
    imported: Iterable[ImportedSample], passages: Mapping[str, Passage]
) -> Iterator[Sample]:
    """The imported questions, each once, scored and split as the source says.

    Without a supplied split, a question over passages of several roles goes to the most held-out
    of them: it must not be trained on.
    """
    seen: set[str] = set()
    for entry in imported:
        evidence = [passages[identity] for identity in entry.passages]
        identity = sample_id((passage.text for passage in evidence), entry.question)
        if identity in seen:
            continue
        seen.add(identity)
        yield Sample(
            id=identity,
            question=entry.question,
            answer=entry.answer,
            passages=entry.passages,
            quotes=(),
            role=entry.role or _most_held_out(evidence),
            score=entry.score,
            complexity=_number(entry.details, ("question_complexity", "complexity"), 0),
            hops=_number(entry.details, ("hop_count", "hops"), len(evidence)),
            kind=", ".join(
                str(entry.details[name])
                for name in ("query_type", "reasoning_type")
                if entry.details.get(name)
            ),
            writer=IMPORTED,
        )


def _most_held_out(evidence: Sequence[Passage]) -> Role:
    return ROLES[max(ROLES.index(passage.role) for passage in evidence)]


def _number(details: Mapping[str, Any], names: Iterable[str], otherwise: int) -> int:
    return next((details[name] for name in names if type(details.get(name)) is int), otherwise)
