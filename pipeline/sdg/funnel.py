"""How many questions were lost where, in total and by document.

`FUNNEL` holds what doesn't depend on the threshold; what is kept is counted when it is read, so
that another threshold needs no other result.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.corpus.records import Document, Passage
from pipeline.files import read_json
from pipeline.sdg.plan import Assignment
from pipeline.sdg.records import FUNNEL, Sample, passes, read_samples
from pipeline.sdg.writer import Draft, Lost

STEPS = ("asked", "answered", "written", "checked", "judged", "deduplicated", "kept")
"""What is left after each step; `answered` had a reply that could be read."""
_STEP_OF_FLAG = {"unjudged": "judged", "duplicate": "deduplicated", "asked": "deduplicated"}
"""Where a blocking flag drops a question; those of all other checks do before the judge."""
BELOW = "below the threshold"
UNREACHED = "not reached"
UNANSWERED = "no readable reply"
DECLINED = "the model wrote none"
REPEATED = "written twice"


@dataclass(frozen=True)
class DocumentFunnel:
    """What became of one document's questions.

    Attributes:
        id: the document's.
        path: where it came from.
        planned: questions of the first round.
        steps: what was left after each of `STEPS`.
        never_asked: ids of its passages that no question was to rest on.
    """

    id: str
    path: str
    planned: int
    steps: Mapping[str, int]
    never_asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Funnel:
    """What became of all questions.

    Attributes:
        steps: what was left after each of `STEPS`.
        lost: how many were lost, by reason: a flag's name, or words.
        documents: those that were asked about, in the corpus's order.
        rounds: questions asked for, by round.
        parked: how many came to nothing for damaged replies, and may be asked for again.
    """

    steps: Mapping[str, int]
    lost: Mapping[str, int]
    documents: tuple[DocumentFunnel, ...]
    rounds: Mapping[int, int] = field(default_factory=dict)
    parked: int = 0

    @property
    def empty(self) -> tuple[DocumentFunnel, ...]:
        """The documents of which nothing is kept."""
        return tuple(document for document in self.documents if not document.steps["kept"])

    @property
    def kept(self) -> dict[str, int]:
        """Questions kept, by document id."""
        return {document.id: document.steps["kept"] for document in self.documents}

    @property
    def planned(self) -> dict[str, int]:
        """Questions of the first round, by document id."""
        return {document.id: document.planned for document in self.documents if document.planned}

    @property
    def never_asked(self) -> int:
        """Passages that no question was to rest on, of documents that were asked about."""
        return sum(len(document.never_asked) for document in self.documents)


def funnel_rows(
    documents: Sequence[Document],
    passages: Iterable[Passage],
    assignments: Sequence[Assignment],
    entries: Sequence[Draft | Lost],
    ids: Mapping[str, str],
) -> list[dict[str, Any]]:
    """One row a document for `FUNNEL`, free of the threshold.

    Args:
        documents: those that were asked about, and others, which are left out.
        passages: of the corpus.
        assignments: what was asked.
        entries: what came of it.
        ids: the sample of each assignment that was written.
    """
    asked = _grouped(assignments)
    ended = {entry.assignment.id: entry for entry in entries}
    used = {passage.id for a in assignments for passage in a.passages}
    idle: dict[str, list[str]] = defaultdict(list)
    for passage in passages:
        if passage.id not in used:
            idle[passage.document].append(passage.id)
    seen: set[str] = set()
    rows = []
    for document in documents:
        if own := asked.get(document.id):
            lost = [e for a in own if isinstance(e := ended.get(a.id), Lost)]
            names = [name for a in own if (name := ids.get(a.id))]
            fresh = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(fresh)
            rows.append(
                {
                    "id": document.id,
                    "path": document.path,
                    "planned": sum(assignment.round == 1 for assignment in own),
                    "asked": len(own),
                    "unreached": sum(assignment.id not in ended for assignment in own),
                    "parked": sum(loss.parked for loss in lost),
                    "declined": sum(not loss.parked for loss in lost),
                    "repeated": len(names) - len(fresh),
                    "samples": fresh,
                    "never_asked": idle.get(document.id, []),
                }
            )
    return rows


def funnel_of(
    rows: Iterable[Mapping[str, Any]], samples: Iterable[Sample], threshold: float
) -> Funnel:
    """The funnel of rows and samples.

    Args:
        rows: as `funnel_rows` makes them.
        samples: all that were written.
        threshold: the least score that is kept.
    """
    by_id = {sample.id: sample for sample in samples}
    lost: Counter[str] = Counter()
    documents = []
    total: Counter[str] = Counter()
    parked = 0
    for row in rows:
        steps = _steps(row, [by_id[name] for name in row["samples"]], threshold, lost)
        total.update(steps)
        parked += row["parked"]
        documents.append(
            DocumentFunnel(row["id"], row["path"], row["planned"], steps, tuple(row["never_asked"]))
        )
    return Funnel(
        {step: total[step] for step in STEPS},
        dict(sorted(((name, n) for name, n in lost.items() if n), key=lambda e: (-e[1], e[0]))),
        tuple(documents),
        parked=parked,
    )


def read_funnel(folder: Path, threshold: float) -> Funnel | None:
    """The funnel of an sdg result; None for one that was made before there was any by document.

    Raises:
        BadInput: the result cannot be read.
    """
    document = read_json(folder / FUNNEL)
    if "by_document" not in document:
        return None
    found = funnel_of(document["by_document"], read_samples(folder), threshold)
    rounds = {int(number): int(asked) for number, asked in document.get("rounds", {}).items()}
    return Funnel(found.steps, found.lost, found.documents, rounds, found.parked)


def _steps(
    row: Mapping[str, Any], samples: Sequence[Sample], threshold: float, lost: Counter[str]
) -> dict[str, int]:
    answered = row["asked"] - row["unreached"] - row["parked"]
    lost[UNREACHED] += row["unreached"]
    lost[UNANSWERED] += row["parked"]
    lost[DECLINED] += row["declined"]
    lost[REPEATED] += row["repeated"]
    dropped: Counter[str] = Counter()
    for sample in samples:
        step, reason = _drop(sample, threshold)
        if step:
            dropped[step] += 1
            lost[reason] += 1
    steps = {"asked": row["asked"], "answered": answered, "written": len(samples)}
    left = len(samples)
    for step in STEPS[3:]:
        left -= dropped[step]
        steps[step] = left
    return steps


def _drop(sample: Sample, threshold: float) -> tuple[str, str]:
    """Where a sample is lost first, and why; nothing where it is kept."""
    blocking = [flag.name for flag in sample.flags if flag.blocking]
    for step in STEPS[3:-1]:
        for name in blocking:
            if _STEP_OF_FLAG.get(name, "checked") == step:
                return step, name
    return ("", "") if passes(sample.score, False, threshold) else ("kept", BELOW)


def _grouped(assignments: Iterable[Assignment]) -> Mapping[str, list[Assignment]]:
    found: dict[str, list[Assignment]] = defaultdict(list)
    for assignment in assignments:
        found[assignment.document].append(assignment)
    return found
