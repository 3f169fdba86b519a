"""Trials: the questions that a recipe gives for a few documents, to compare before the whole.

A trial's documents follow from the corpus and the seed alone, so two trials with other guidance
show their questions about the same documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.records import (
    ROLES,
    Document,
    Passage,
    read_documents,
    read_imported,
    read_passages,
)
from pipeline.errors import BadInput
from pipeline.files import digest_value, read_json
from pipeline.run import Run
from pipeline.sdg.batches import asked_documents
from pipeline.sdg.consent import Leaving, leaving_of
from pipeline.sdg.guidance import Guidance, guidance_in
from pipeline.sdg.records import FUNNEL, Sample, read_samples
from pipeline.sdg.writer import OFFLINE
from pipeline.settings import SdgSettings

TRIAL = "trial"
"""The word of its folder, its worker and its command."""
TRIAL_DOCUMENTS = 3
"""How many documents a trial takes unless it is told. Ours: enough to see what guidance does."""
CHOSEN = "chosen"
"""Which documents, in the trial's `FUNNEL`."""


@dataclass(frozen=True)
class TrialDocument:
    """A document that a trial asked about.

    Attributes:
        id: its id.
        path: where it came from.
        title: its title.
        passages: ids of its passages, so that samples find their document.
    """

    id: str
    path: str
    title: str
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A finished trial. Its samples are read when they are asked for.

    Attributes:
        fingerprint: what it was made from.
        folder: where its files lie.
        finished: seconds since the epoch.
        guidance: what the writer was told of the audience.
        settings: all settings that it was made with, by dotted name.
    """

    fingerprint: str
    folder: Path
    finished: float
    guidance: Guidance
    settings: Mapping[str, Any]

    def samples(self) -> Iterator[Sample]:
        """Its samples, in written order."""
        return read_samples(self.folder)

    def documents(self) -> tuple[TrialDocument, ...]:
        """Its documents, in the order in which they were chosen."""
        return tuple(
            TrialDocument(**{**row, "passages": tuple(row["passages"])})
            for row in read_json(self.folder / FUNNEL)[CHOSEN]
        )

    def by_document(self) -> dict[str, list[Sample]]:
        """The samples by document id, every document included."""
        documents = self.documents()
        holders = {passage: d.id for d in documents for passage in d.passages}
        found: dict[str, list[Sample]] = {document.id: [] for document in documents}
        for sample in self.samples():
            found[holders[sample.passages[0]]].append(sample)
        return found


def choose(
    documents: Iterable[Document], passages: Iterable[Passage], seed: int, count: int
) -> list[tuple[Document, list[Passage]]]:
    """The documents of a trial with their passages.

    Training documents come first, since a test question must not shape the guidance; among those
    of one role a hash of seed and document decides, so that a grown corpus moves few of them.
    """
    candidates = asked_documents(documents, passages)
    return sorted(
        candidates,
        key=lambda entry: (ROLES.index(entry[0].role), digest_value([seed, entry[0].id])),
    )[:count]


def trial_leaving(
    corpus_folder: Path, settings: SdgSettings, seed: int, count: int
) -> Leaving | None:
    """What a trial would send; None where it asks nobody.

    Raises:
        EndpointFailure: `sdg.base_url` is no address.
        BadInput: the corpus cannot be read.
    """
    if settings.writer == OFFLINE or any(True for _ in read_imported(corpus_folder)):
        return None
    chosen = choose(read_documents(corpus_folder), read_passages(corpus_folder), seed, count)
    return leaving_of((d for d, _ in chosen), (p for _, cut in chosen for p in cut), settings)


def list_trials(run: Run) -> tuple[Trial, ...]:
    """The finished trials of a run, newest first.

    One that is damaged or of a later format is left out: it is there to compare with, and the
    others are as good without it.
    """
    trials = (_trial(run, folder.name) for folder in run.attempts(TRIAL))
    return tuple(sorted(filter(None, trials), key=lambda trial: -trial.finished))


def _trial(run: Run, fingerprint: str) -> Trial | None:
    """A trial; None while it isn't finished, or where it can't be read."""
    try:
        result = run.result(TRIAL, fingerprint)
        if result is None:
            return None
        settings = read_json(result.folder / "done.json")["identity"]["settings"]
        trial = Trial(
            fingerprint, result.folder, float(result.finished), guidance_in(settings), settings
        )
        trial.documents()
    except (BadInput, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
    return trial
