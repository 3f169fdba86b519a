"""The account of a corpus: its numbers, its report and what a person should know."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.entries import Entry
from pipeline.corpus.folds import LARGE_GROUP, split_groups
from pipeline.corpus.records import (
    FINDINGS,
    REPORT,
    ROLES,
    FileReport,
    Finding,
    ImportedSample,
    Role,
    count_findings,
)
from pipeline.corpus.source import Kind
from pipeline.corpus.text import one_line
from pipeline.errors import BadInput
from pipeline.settings import CorpusSettings

FEW_DOCUMENTS = 20
"""Below this many documents the published recipe warns, and so do we."""
_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Placed:
    """What the account needs of a document.

    Attributes:
        id: the document's.
        group: near-duplicate documents share it.
        fold: that it was dealt into.
        role: what it is used for.
    """

    id: str
    group: str
    fold: int
    role: Role


@dataclass(frozen=True)
class Corpus:
    """What the stage writes.

    Attributes:
        documents: sorted by path, without their texts.
        cut: how many passages each document has, by its id.
        long: passages longer than encoders read; only supplied ones can be.
        findings: suspected secrets and personal data.
        report: one entry a file, sorted by path.
        samples: questions that came along, of this corpus.
        warnings: sentences for a person.
        kind: the kind of source.
    """

    documents: tuple[Placed, ...]
    cut: Mapping[str, int]
    long: int
    findings: tuple[Finding, ...]
    report: tuple[FileReport, ...]
    samples: tuple[ImportedSample, ...]
    warnings: tuple[str, ...]
    kind: Kind

    @property
    def imported(self) -> bool:
        """Whether passages and questions came with the source."""
        return self.kind in ("beir", "sdg")


def summary_of(corpus: Corpus) -> dict[str, Any]:
    """The corpus in numbers and warnings, for screens and reports."""
    found = count_findings(corpus.findings)
    statuses = Tally(entry.status for entry in corpus.report)
    documents = Tally(document.role for document in corpus.documents)
    passages: Tally[str] = Tally()
    for document in corpus.documents:
        passages[document.role] += corpus.cut[document.id]
    return {
        "source": corpus.kind,
        "documents": len(corpus.documents),
        "passages": passages.total(),
        "skipped": _skipped(corpus.report),
        "outside_slice": statuses["skipped"] - _skipped(corpus.report),
        "duplicates": statuses["duplicate"],
        "groups": len({document.group for document in corpus.documents}),
        "roles": {role: documents[role] for role in ROLES},
        "passage_roles": {role: passages[role] for role in ROLES},
        "imported_samples": len(corpus.samples),
        "findings": {
            "secrets": found.secrets,
            "personal": found.personal,
            "documents with findings": found.documents,
        },
        "warnings": list(corpus.warnings),
    }


def used_reports(
    entries: Sequence[Entry],
    documents: Sequence[Placed],
    cut: Mapping[str, int],
    groups: Mapping[str, Sequence[str]],
    *,
    dealt: bool,
) -> list[FileReport]:
    """Reports of the documents that are used."""
    parts = {document.id: document.fold if dealt else document.role for document in documents}
    split = split_groups(groups, parts)
    reports: list[FileReport] = []
    for entry, document in zip(entries, documents, strict=True):
        remarks = [entry.remark] if entry.remark else []
        if found := split.get(document.group):
            what = "folds" if dealt else "splits"
            remarks.append(
                f"near-duplicates or shared evidence lie in the {what} "
                f"{' and '.join(map(str, found))}; this one stays in {parts[document.id]}"
            )
        reports.append(
            FileReport(
                path=entry.path,
                kind=entry.kind,
                status="used",
                reason="; ".join(remarks),
                characters=entry.characters,
                passages=cut[document.id],
                document=document.id,
            )
        )
    return reports


def warnings_of(corpus: Corpus, lost: int, settings: CorpusSettings) -> list[str]:
    """What a person should know before money and time are spent."""
    documents = len(corpus.documents)
    roles = Tally(document.role for document in corpus.documents)
    groups = Tally(document.group for document in corpus.documents)
    skipped = _skipped(corpus.report)
    equal = sum(entry.status == "duplicate" for entry in corpus.report)
    split = sum("this one stays in" in entry.reason for entry in corpus.report)
    largest = max(groups.values())
    sensitive = count_findings(corpus.findings)
    found: list[tuple[bool, str]] = [
        (
            documents < FEW_DOCUMENTS,
            f"Only {documents} documents: figures will be rough below {FEW_DOCUMENTS}.",
        ),
        (
            not roles["dev"] or not roles["test"],
            f"{len(groups)} groups of documents: nothing is left for "
            f"{' and '.join(role for role in ('dev', 'test') if not roles[role])}.",
        ),
        (
            2 * skipped > len(corpus.report),
            f"More than half was skipped: {skipped} of {len(corpus.report)}; see {REPORT}.",
        ),
        (
            2 * equal >= len(corpus.report),
            f"{equal} of {len(corpus.report)} documents have the very text of another, and each "
            f"text counts once; see {REPORT}.",
        ),
        (
            len(groups) > 1 and largest > LARGE_GROUP * documents,
            f"One group holds {largest} of {documents} documents (near-duplicates or shared "
            "evidence), so the roles cannot be 70/10/20.",
        ),
        (
            split > 0,
            f"{split} documents have near-duplicates or evidence in another part; {REPORT} "
            "names them.",
        ),
        (
            corpus.long > 0,
            f"{corpus.long} supplied passages are longer than {settings.passage_tokens_max} "
            "tokens; they stay whole, and encoders cut them.",
        ),
        (
            sensitive.documents > 0,
            f"{sensitive.documents} documents seem to hold {sensitive.secrets} secrets and "
            f"{sensitive.personal} pieces of personal data; {FINDINGS} says where.",
        ),
        (lost > 0, f"{lost} imported questions lost their evidence and were left out."),
    ]
    return [sentence for applies, sentence in found if applies]


def _skipped(report: Sequence[FileReport]) -> int:
    """Files that gave no document; what the pilot slice leaves out is one all the same."""
    return sum(entry.status == "skipped" and not entry.document for entry in report)


def nothing_usable(source: str, unused: Sequence[FileReport]) -> BadInput:
    first = "; ".join(
        f"{one_line(entry.path)}: {one_line(entry.reason)}" for entry in unused[:_REASONS_SHOWN]
    )
    more = f" and {len(unused) - _REASONS_SHOWN} more" if len(unused) > _REASONS_SHOWN else ""
    return BadInput(
        f"{one_line(source)} holds no usable document. {first}{more}.",
        safe="Nothing was changed.",
        next_step="Give a folder with text or Markdown files.",
    )
