"""How much is asked: which documents, how many questions, and how they share calls.

The plan, the endpoint's writer and the estimate count by these rules. Nothing here reads a text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

from pipeline.corpus.records import Document, Passage
from pipeline.settings import SdgSettings

QUERY_KINDS = (
    "contextual",
    "multi_hop",
    "structural",
    "multi_hop",
    "contextual",
    "structural",
    "multi_hop",
)
"""The published recipe's mix of seven: 3 multi-hop, 2 structural, 2 contextual."""

QUESTIONS_PER_CALL = 4
"""More make replies that break more often; fewer cost more calls. Judging goes by four, too."""
CALLS_PER_BATCH = 2
"""One to write, one to judge."""


class _OfDocument(Protocol):
    @property
    def document(self) -> str:
        """The document's id."""


T = TypeVar("T", bound=_OfDocument)


def asked_documents(
    documents: Iterable[Document], passages: Iterable[Passage]
) -> list[tuple[Document, list[Passage]]]:
    """The documents that are asked about, with their passages.

    Of near-duplicate documents only the longest is asked about: its twins would yield the same
    questions again. One without passages is left out.
    """
    by_document: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_document[passage.document].append(passage)
    longest: dict[str, Document] = {}
    for document in documents:
        rival = longest.get(document.group)
        if rival is None or _size(document, by_document) > _size(rival, by_document):
            longest[document.group] = document
    return [
        (document, by_document[document.id])
        for document in longest.values()
        if document.id in by_document
    ]


def questions_for(passages: int, settings: SdgSettings) -> int:
    """How many questions a document of so many passages gets: proportional, at least one."""
    full = settings.document_passages
    return max(1, (settings.questions_per_document * passages + full // 2) // full)


def kind_for(kind: str, settings: SdgSettings) -> str:
    """A kind of the mix, as far as the allowed hops leave it."""
    if settings.hops_max == 1 and kind == "multi_hop":
        return "contextual"
    return "multi_hop" if settings.hops_min > 1 else kind


def hops_for(kind: str, settings: SdgSettings) -> tuple[int, int]:
    """The fewest and the most passages that a question of this kind should need."""
    return (max(2, settings.hops_min), settings.hops_max) if kind == "multi_hop" else (1, 1)


def batches(assignments: Iterable[T]) -> Iterator[list[T]]:
    """What is written by one call each: a few questions about one document."""
    for _, group in groupby(assignments, key=lambda assignment: assignment.document):
        asked = list(group)
        for count in batch_sizes(len(asked)):
            yield asked[:count]
            del asked[:count]


def batch_sizes(questions: int) -> Sequence[int]:
    """How many questions each call about one document writes."""
    full, rest = divmod(questions, QUESTIONS_PER_CALL)
    return [QUESTIONS_PER_CALL] * full + [rest] * bool(rest)


def _size(document: Document, by_document: Mapping[str, Sequence[Passage]]) -> tuple[int, int, str]:
    return len(by_document.get(document.id, ())), len(document.text), document.id
