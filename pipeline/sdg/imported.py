"""Questions that came with the source, as samples: checked and ranked, graded by nobody here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pipeline.context import Context, Outcome
from pipeline.corpus.records import ROLES, ImportedSample, Passage, Role
from pipeline.files import write_json, write_jsonl
from pipeline.queries import read_queries
from pipeline.sdg.checks import (
    boilerplate,
    copied,
    dangling,
    generic,
    given,
    pointing,
    refusal,
    unfounded,
)
from pipeline.sdg.found import BASE, BM25, found_share, found_words
from pipeline.sdg.own_queries import flag_asked
from pipeline.sdg.plan import Assignment
from pipeline.sdg.ranks import Ranks, rank_all
from pipeline.sdg.records import FUNNEL, SAMPLES, Flag, Sample, passes, sample_id
from pipeline.sdg.samples import ranked
from pipeline.sdg.writer import Draft

IMPORTED = "imported"

_OF_QUESTION = (pointing, copied, dangling, generic, boilerplate)
"""Checks that make sense for a question of anybody; it was quoted and graded elsewhere, if at
all."""
_OF_ANSWER = (refusal, unfounded, given)
"""Those that need an answer."""


def take_over(
    context: Context,
    imported: Sequence[ImportedSample],
    passages: Sequence[Passage],
    ranks: Ranks,
) -> Outcome:
    """Write the imported questions as samples.

    Their source has chosen them: what the checks find is told and blocks nothing. What one of the
    user's own queries asks is kept out of training all the same.

    Raises:
        Interruption: the user asked the stage to end.
    """
    by_id = {passage.id: passage for passage in passages}
    plain = list(imported_samples(imported, by_id))
    ranks.add(plain)
    checked = [replace(sample, flags=_flags(sample, by_id)) for sample in plain]
    if queries := read_queries(context.run):
        checked = flag_asked(checked, queries, context.recipe.sdg.duplicate_similarity)
    warnings = rank_all(ranks, context)
    samples = ranked(checked, ranks.of)
    funnel = _funnel(samples, len(imported) - len(samples))
    write_jsonl(context.folder / SAMPLES, (asdict(sample) for sample in samples))
    write_json(context.folder / FUNNEL, funnel)
    summary = funnel | _found(samples, context.recipe.sdg.threshold)
    for note in summary["notes"]:
        context.events.log(note)
    for warning in warnings:
        context.events.log(warning, level="warning")
    return Outcome(
        outputs=(SAMPLES, FUNNEL),
        summary={"writer": IMPORTED, **summary, "tokens": 0, "warnings": warnings},
        imported=True,
        partial=ranks.ended_early,
    )


def _funnel(samples: Sequence[Sample], repeated: int) -> dict[str, Any]:
    flags = Counter(flag.name for sample in samples for flag in sample.flags)
    return {
        "asked": 0,
        "written": len(samples),
        "scored": sum(sample.score is not None for sample in samples),
        "unblocked": sum(not any(f.blocking for f in sample.flags) for sample in samples),
        "repeated": repeated,
        "flags": dict(sorted(flags.items())),
    }


def _found(samples: Iterable[Sample], threshold: float) -> dict[str, Any]:
    """How many are kept, and how much of their evidence is found already."""
    kept = [
        sample.ranks
        for sample in samples
        if passes(sample.score, any(flag.blocking for flag in sample.flags), threshold)
    ]
    base, bm25 = found_share(kept, BASE), found_share(kept, BM25)
    shares = {"found": base, "found_bm25": bm25}
    words = found_words(base, bm25)
    return {
        "kept": len(kept),
        **{name: round(share, 4) for name, share in shares.items() if share is not None},
        "notes": [words] if words else [],
    }


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


def _flags(sample: Sample, passages: Mapping[str, Passage]) -> tuple[Flag, ...]:
    evidence = tuple(passages[identity] for identity in sample.passages)
    asked = Assignment(sample.id, "", evidence, sample.role, 0, "", "")
    draft = Draft(asked, sample.question, sample.answer, ())
    checks = (*_OF_QUESTION, *(_OF_ANSWER if sample.answer else ()))
    found = (check(draft, passages, IMPORTED) for check in checks)
    return tuple(replace(flag, blocking=False) for flag in found if flag)


def _most_held_out(evidence: Sequence[Passage]) -> Role:
    return ROLES[max(ROLES.index(passage.role) for passage in evidence)]


def _number(details: Mapping[str, Any], names: Iterable[str], otherwise: int) -> int:
    return next((details[name] for name in names if type(details.get(name)) is int), otherwise)
