"""The text that both sides get: what every machine has, cut and asked about by the pipeline.

The documentation of Python's standard library, the rehearsal's passages of it, and the offline
writer's questions about them. Everything follows from the seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from pipeline.corpus.blocks import markdown_blocks
from pipeline.corpus.passages import cut_passages, passage_id
from pipeline.corpus.pydoc_source import MODULES, render_modules
from pipeline.corpus.records import Document, Passage
from pipeline.corpus.text import document_id, normalise
from pipeline.corpus.tokens import Counter, profile_counter
from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.sdg.offline import OfflineWriter
from pipeline.sdg.plan import plan
from pipeline.sdg.writer import Draft
from pipeline.settings import CorpusSettings
from pipeline.texts import normalised

LONG_CHARACTERS = 850
"""180 to 256 tokens of this text: a training passage that nearly fills the rehearsal's model."""

_CHARACTERS_A_TOKEN = 3.9
"""Of this text, in the rehearsal's tokens."""

_MIXED_MEDIAN, _MIXED_SPREAD = 67.5, 0.712
"""Tokens of passages of mixed length, log-normal: 87 in the mean, 95 % below 218, as people's own
passages are. Those that `corpus` cuts are nearly alike."""

Lengths = Literal["cut", "mixed", "long"]
"""Passages as they were cut, of mixed length, or nearly filling the model."""

NEGATIVES = 4
"""Passages that stand beside the one that answers: a training row's negatives."""


@dataclass(frozen=True)
class Question:
    """A question, and the numbers of the passages that answer it."""

    text: str
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """A training row; no two rows share a text."""

    question: str
    positive: str
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class Texts:
    """What is measured with.

    Attributes:
        passages: unique texts, document by document.
        documents: of each passage, the number of its document.
        windows: of each passage, `LONG_CHARACTERS` of its document from its start on.
        mixed: of each passage, the beginning of its window, of a length drawn by chance.
        questions: unique questions.
    """

    passages: tuple[str, ...]
    documents: tuple[int, ...]
    windows: tuple[str, ...]
    mixed: tuple[str, ...]
    questions: tuple[Question, ...]

    def pool(self, passages: int, questions: int) -> tuple[Sequence[str], Sequence[Question]]:
        """The first passages, and questions that they answer."""
        fitting = (q for q in self.questions if max(q.answers) < passages)
        return self.passages[:passages], list(islice(fitting, questions))

    def examples(self, rows: int, lengths: Lengths) -> list[Example]:
        """Training rows: of passages in a row in one document, one answers, the others don't.

        Args:
            rows: how many.
            lengths: of the passages.
        """
        asked = {q.answers[0]: q.text for q in reversed(self.questions) if len(q.answers) == 1}
        texts = {"cut": self.passages, "mixed": self.mixed, "long": self.windows}[lengths]
        found: list[Example] = []
        for numbers in self._stretches():
            positive = next((number for number in numbers if number in asked), None)
            if positive is not None and len(found) < rows:
                negatives = tuple(texts[number] for number in numbers if number != positive)
                found.append(Example(asked[positive], texts[positive], negatives))
        if len({t for e in found for t in (e.positive, *e.negatives)}) < rows * (1 + NEGATIVES):
            raise ValueError(f"the standard library has no {rows} training rows without repeats")
        return found

    def _stretches(self) -> Iterator[range]:
        width = 1 + NEGATIVES
        start = 0
        while start + width <= len(self.passages):
            if self.documents[start] == self.documents[start + width - 1]:
                yield range(start, start + width)
                start += width
            else:
                start += 1


def make_texts(passages: int, seed: int) -> Texts:
    """Render modules of the standard library, in an order by seed, until there is enough.

    Args:
        passages: how many are needed at least.
        seed: of the order of modules, and of what is asked.

    Raises:
        ValueError: the standard library is not so long.
    """
    recipe = base_recipe(find_profile(REHEARSAL_PROFILE))
    counter = profile_counter(recipe.corpus.tokenizer)
    documents: list[Document] = []
    kept: dict[str, Passage] = {}
    for rendering in render_modules(random.Random(seed).sample(MODULES, len(MODULES))):
        if rendering.reason:
            continue
        documents.append(_document(rendering.module, normalise(rendering.text)))
        for passage in _passages(documents[-1], recipe.corpus, counter):
            kept.setdefault(normalised(passage.text), passage)
        if len(kept) >= passages:
            break
    if len(kept) < passages:
        raise ValueError(f"the standard library has only {len(kept)} passages")
    cut = list(kept.values())
    place = {document.id: number for number, document in enumerate(documents)}
    number_of = {passage.id: number for number, passage in enumerate(cut)}
    questions: dict[str, Question] = {}
    for draft in OfflineWriter(cut, seed).write(plan(documents, cut, recipe.sdg, seed)):
        if isinstance(draft, Draft):
            answers = tuple(number_of[key] for key in draft.passages)
            questions.setdefault(normalised(draft.question), Question(draft.question, answers))
    text_of = {document.id: document.text for document in documents}
    windows = [text_of[p.document][p.start : p.start + LONG_CHARACTERS] for p in cut]
    return Texts(
        passages=tuple(passage.text for passage in cut),
        documents=tuple(place[passage.document] for passage in cut),
        windows=tuple(windows),
        mixed=tuple(_shortened(windows, random.Random(seed))),
        questions=tuple(questions.values()),
    )


def _shortened(windows: Sequence[str], draw: random.Random) -> Iterator[str]:
    for window in windows:
        tokens = draw.lognormvariate(math.log(_MIXED_MEDIAN), _MIXED_SPREAD)
        yield window[: max(20, round(tokens * _CHARACTERS_A_TOKEN))]


def _document(module: str, text: str) -> Document:
    identity = document_id(text)
    return Document(identity, f"{module}.md", module, text, identity, 0, "train")


def _passages(document: Document, settings: CorpusSettings, counter: Counter) -> Iterator[Passage]:
    for one in cut_passages(document.text, markdown_blocks(document.text), counter, settings):
        yield Passage(
            id=passage_id(document.id, one.start, one.end),
            document=document.id,
            start=one.start,
            end=one.end,
            text=document.text[one.start : one.end],
            headings=one.headings,
            tokens=one.tokens,
            role=document.role,
        )
