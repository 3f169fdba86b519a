"""Drafts made into samples: named, checked, and each question counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.corpus.records import Passage
from pipeline.queries import OwnQuery
from pipeline.sdg.checks import check, rank_flag
from pipeline.sdg.duplicates import flag_duplicates, flag_repeated
from pipeline.sdg.own_queries import flag_asked
from pipeline.sdg.records import Sample, sample_id
from pipeline.sdg.writer import Draft, Lost


class Samples:
    """Makes samples of one writer's drafts; a draft is checked once, however often it is asked."""

    def __init__(
        self,
        passages: Sequence[Passage],
        writer: str,
        queries: Sequence[OwnQuery] = (),
        similarity: float = 1.0,
    ) -> None:
        """Nothing is made.

        Args:
            passages: all of the corpus.
            writer: the writer's name.
            queries: the user's own, which no training sample may ask.
            similarity: questions at least so alike are twins.
        """
        self._passages: Mapping[str, Passage] = {passage.id: passage for passage in passages}
        self._writer = writer
        self._queries = queries
        self._similarity = similarity
        self._made: dict[str, Sample] = {}

    def of(self, draft: Draft) -> Sample:
        """One draft as a sample, with the flags that it has by itself."""
        known = self._made.get(draft.assignment.id)
        if known is None:
            known = self._made[draft.assignment.id] = self._checked(draft)
        return known

    def all(self, drafts: Sequence[Draft | Lost]) -> list[Sample]:
        """The samples in order, flagged by what the whole corpus shows.

        That is: twins, evidence that stands everywhere, and what the user's own queries ask. The
        same question on the same evidence counts once.
        """
        samples: dict[str, Sample] = {}
        for draft in drafts:
            if isinstance(draft, Draft):
                sample = self.of(draft)
                samples.setdefault(sample.id, sample)
        found = flag_repeated(list(samples.values()), self._passages.values())
        if self._queries:
            found = flag_asked(found, self._queries, self._similarity)
        return flag_duplicates(found, self._similarity)

    def ids(self, drafts: Iterable[Draft | Lost]) -> dict[str, str]:
        """The id of the sample that each assignment came to."""
        return {d.assignment.id: self.of(d).id for d in drafts if isinstance(d, Draft)}

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


def ranked(samples: Iterable[Sample], ranks: Callable[[str], Mapping[str, int]]) -> list[Sample]:
    """The samples with the ranks of their evidence, and the flag that these give.

    Args:
        samples: without any.
        ranks: of a sample by its id.
    """
    found = []
    for sample in samples:
        places = dict(sorted(ranks(sample.id).items()))
        flag = rank_flag(places)
        flags = (*sample.flags, flag) if flag else sample.flags
        found.append(replace(sample, ranks=places, flags=flags))
    return found
