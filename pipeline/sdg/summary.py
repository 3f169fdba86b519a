"""What a writing stage says of its work: `FUNNEL`, and the summary for screens and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.sdg.found import found_words
from pipeline.sdg.funnel import DocumentFunnel, Funnel, funnel_of
from pipeline.sdg.plan import Assignment
from pipeline.sdg.records import FUNNEL, Sample
from pipeline.sdg.spending import Spent, cost_of
from pipeline.sdg.writer import Draft, Lost
from pipeline.settings import SdgSettings

_NAMED = 5
"""So many documents are named in a sentence."""


@dataclass(frozen=True)
class Written:
    """What a writer made of the portions it was given.

    Attributes:
        writer: its name.
        assignments: what was asked, in order.
        entries: what came of it; fewer where it was ended early.
        details: further fields of the summary.
        warnings: what went less than well, in sentences.
        spent: what the replies took.
    """

    writer: str
    assignments: Sequence[Assignment]
    entries: Sequence[Draft | Lost]
    details: Mapping[str, Any]
    warnings: Sequence[str] = ()
    spent: Sequence[Spent] = ()

    @property
    def partial(self) -> bool:
        """Whether it was ended early."""
        return len(self.entries) < len(self.assignments)

    @property
    def lost(self) -> list[Lost]:
        """What came to nothing."""
        return [entry for entry in self.entries if isinstance(entry, Lost)]


def funnel_document(
    written: Written, samples: Sequence[Sample], by_document: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How many were left at each step, and what became of the others; free of the threshold.

    Args:
        written: what was written.
        samples: what it came to.
        by_document: rows of `pipeline.sdg.funnel.funnel_rows`.
    """
    lost = written.lost
    flags = Counter(flag.name for sample in samples for flag in sample.flags)
    rounds = Counter(assignment.round for assignment in written.assignments)
    return {
        "asked": len(written.assignments),
        "written": len(samples),
        "scored": sum(sample.score is not None for sample in samples),
        "unblocked": sum(not any(f.blocking for f in sample.flags) for sample in samples),
        "repeated": len(written.entries) - len(lost) - len(samples),
        "flags": dict(sorted(flags.items())),
        "documents": len(by_document),
        "roles": dict(sorted(Counter(sample.role for sample in samples).items())),
        "rounds": {str(number): rounds[number] for number in sorted(rounds)},
        "spent": [asdict(row) for row in written.spent],
        "by_document": by_document,
        "lost": [
            {
                "assignment": loss.assignment.id,
                "reason": loss.reason,
                "call": loss.call,
                "parked": loss.parked,
            }
            for loss in lost
        ],
    }


def summary_of(
    written: Written,
    document: Mapping[str, Any],
    samples: Sequence[Sample],
    found: Mapping[str, float],
    settings: SdgSettings,
    run: str,
) -> dict[str, Any]:
    """The summary of a result.

    Args:
        written: what was written.
        document: `FUNNEL`, as `funnel_document` made it.
        samples: what it came to.
        found: shares of evidence that retrievers find, see `pipeline.sdg.arrivals`.
        settings: the recipe's.
        run: the run's name, for commands in sentences.
    """
    funnel = funnel_of(document["by_document"], samples, settings.threshold)
    return {
        "writer": written.writer,
        **{step: document[step] for step in ("asked", "written", "scored", "unblocked")},
        "flags": document["flags"],
        "kept": funnel.steps["kept"],
        "steps": dict(funnel.steps),
        "lost": dict(funnel.lost),
        "rounds": len(document["rounds"]),
        "empty": len(funnel.empty),
        "never_asked": funnel.never_asked,
        "parked": funnel.parked,
        **found,
        **written.details,
        "spent": document["spent"],
        "cost": cost_of(written.spent, settings),
        "notes": _notes(funnel, found, settings, run),
        "warnings": [*written.warnings, *_losses(written)],
    }


def _losses(written: Written) -> list[str]:
    lost, all_of_it = len(written.lost), len(written.entries)
    if 2 * lost <= all_of_it:
        return []
    return [f"{lost} of {all_of_it} questions came to nothing; see {FUNNEL} for why."]


def _notes(
    funnel: Funnel, found: Mapping[str, float], settings: SdgSettings, run: str
) -> list[str]:
    """What a person should know next, in sentences."""
    words = found_words(found.get("found"), found.get("found_bm25"))
    notes = [words] if words else []
    kept = funnel.steps["kept"]
    if settings.target:
        reached = "reached" if kept >= settings.target else "not reached"
        notes.append(f"{kept:,} questions pass; the target of {settings.target:,} is {reached}.")
    if funnel.empty:
        again = "" if settings.target else f"; `embedsmith sdg {run} --top-up` asks again"
        notes.append(
            f"{len(funnel.empty):,} of {len(funnel.documents):,} documents came out empty "
            f"({_named(funnel.empty)}){again}."
        )
    if funnel.never_asked:
        notes.append(f"{funnel.never_asked:,} of their passages were never asked about.")
    if funnel.parked:
        notes.append(
            f"{funnel.parked:,} questions are parked for want of a readable reply; "
            f"`embedsmith sdg {run} --retry-parked` asks for them again."
        )
    return notes


def _named(documents: Sequence[DocumentFunnel]) -> str:
    shown = ", ".join(document.path for document in documents[:_NAMED])
    more = len(documents) - _NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown
