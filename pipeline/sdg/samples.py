"""Drafts made into samples: named, checked, and each question counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.corpus.records import Passage
from pipeline.sdg.checks import check
from pipeline.sdg.duplicates import flag_duplicates, flag_repeated
from pipeline.sdg.records import Sample, sample_id
from pipeline.sdg.writer import Draft, Lost


class Samples:
    """Makes samples of one writer's drafts; a draft is checked once, however often it is asked."""

    def __init__(self, passages: Sequence[Passage], writer: str) -> None:
        self._passages: Mapping[str, Passage] = {passage.id: passage for passage in passages}
        self._writer = writer
        self._made: dict[str, Sample] = {}

    def of(self, draft: Draft) -> Sample:
        """One draft as a sample, with the flags that it has by itself."""
        known = self._made.get(draft.assignment.id)
        if known is None:
            known = self._made[draft.assignment.id] = self._checked(draft)
        return known

    def all(self, drafts: Sequence[Draft | Lost], similarity: float) -> list[Sample]:
        """The samples in order, twins and evidence that stands everywhere flagged.

        The same question on the same evidence counts once.

        Args:
            drafts: what was written and lost.
            similarity: questions at least so alike are twins.
        """
        samples: dict[str, Sample] = {}
        for draft in drafts:
            if isinstance(draft, Draft):
                sample = self.of(draft)
                samples.setdefault(sample.id, sample)
        found = flag_repeated(list(samples.values()), self._passages.values())
        return flag_duplicates(found, similarity)

    def _checked(self, draft: Draft) -> Sample:
        texts = (self._passages[passage].text for passage in draft.passages)
        return Sample(
            id=sample_id(texts, draft.question),
            question=draft.question,
            answer=draft.answer,
            passages=draft.passages,
            quotes=draft.quotes,
            role=draft.assignment.role,
            score=draft.score,
            levels=dict(draft.levels),
            flags=check(draft, self._passages, self._writer),
            complexity=draft.complexity,
            hops=draft.hops,
            kind=draft.kind,
            writer=self._writer,
            judge=draft.judge,
            style=draft.style,
            language=draft.language,
            round=draft.assignment.round,
        )
