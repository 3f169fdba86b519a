"""What writing the questions would take: questions, calls, tokens, minutes. Pure, and quick.

Questions and calls are counted by the rules that the plan and the writer follow; a call that has
to be repeated comes on top. Tokens and minutes are estimates:

- a passage counts the tokens that the corpus measured, other text one for each
  `CHARACTERS_PER_TOKEN` characters;
- a writing call holds the prompt and the passages of its questions, a judging call the prompt, the
  same passages and the pairs;
- a hosted endpoint takes `CALLS_PER_MINUTE` at most, and nobody gets more than `sdg.concurrency`
  calls through in `SECONDS_PER_CALL`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.corpus.records import Document, Passage
from pipeline.recipe import SdgSettings
from pipeline.sdg.address import address_of
from pipeline.sdg.batches import (
    CALLS_PER_BATCH,
    QUERY_KINDS,
    asked_documents,
    batch_sizes,
    hops_for,
    kind_for,
    questions_for,
)
from pipeline.sdg.guidance import guidance_of
from pipeline.sdg.prompts import NEARBY_MAX, generate_messages_length, judge_messages_length
from pipeline.sdg.writer import OFFLINE

CHARACTERS_PER_TOKEN = 4
"""Of English in common tokenizers; OpenAI's help page "What are tokens" names the same."""
CALLS_PER_MINUTE = 40
"""What NVIDIA's hosted endpoints let through for one key, by users' reports (2026)."""
SECONDS_PER_CALL = 8.0
"""How long a call of four questions takes. Ours: a usual median of hosted endpoints."""
_TOKENS_PER_QUESTION = 220
"""A pair as it is written, facts, quotes and JSON included. Ours."""
_TOKENS_PER_PAIR = 70
"""Question and answer as the judge reads them. Ours."""
_TOKENS_PER_GRADE = 70
"""One line of the judge's JSON. Ours."""


@dataclass(frozen=True)
class Estimate:
    """What `sdg` would take.

    Attributes:
        questions: to be asked for; 0 where they came with the source.
        calls: to the endpoint; 0 for the offline writer.
        tokens_in: sent, in all.
        tokens_out: received, in all.
        minutes: from the first call to the last; 0 without calls.
    """

    questions: int
    calls: int
    tokens_in: int
    tokens_out: int
    minutes: float


def estimate(
    documents: Iterable[Document],
    passages: Iterable[Passage],
    settings: SdgSettings,
    *,
    imported: bool = False,
) -> Estimate:
    """What writing questions about a corpus would take.

    Args:
        documents: all of the corpus, or those of a trial.
        passages: theirs; others are ignored.
        settings: the recipe's.
        imported: whether the questions came with the source.

    Raises:
        EndpointFailure: `sdg.base_url` is no address.
    """
    if imported:
        return Estimate(0, 0, 0, 0, 0.0)
    by_document = [cut for _, cut in asked_documents(documents, passages)]
    counts = [questions_for(len(cut), settings) for cut in by_document]
    questions = sum(counts)
    if settings.writer == OFFLINE:
        return Estimate(questions, 0, 0, 0, 0.0)
    batches = sum(len(batch_sizes(count)) for count in counts)
    prompts = generate_messages_length(guidance_of(settings)) + judge_messages_length()
    tokens_in = batches * prompts / CHARACTERS_PER_TOKEN + questions * _TOKENS_PER_PAIR
    tokens_in += sum(
        CALLS_PER_BATCH * _sent(cut, count, settings) + _beside(cut, count, settings)
        for cut, count in zip(by_document, counts, strict=True)
    )
    calls = CALLS_PER_BATCH * batches
    return Estimate(
        questions=questions,
        calls=calls,
        tokens_in=round(tokens_in),
        tokens_out=questions * (_TOKENS_PER_QUESTION + _TOKENS_PER_GRADE),
        minutes=round(calls / _calls_per_minute(settings), 1),
    )


def in_words(what: Estimate) -> str:
    """The estimate in one line."""
    if not what.questions:
        return "The questions came with the source: no call."
    if not what.calls:
        return f"About {what.questions:,} questions, written offline: no call."
    return (
        f"About {what.questions:,} questions in {what.calls:,} calls: "
        f"{what.tokens_in:,} tokens sent, {what.tokens_out:,} received, {what.minutes:g} minutes."
    )


def _sent(passages: Sequence[Passage], questions: int, settings: SdgSettings) -> float:
    """Tokens of one document's passages that its writing calls hold, each once a call."""
    mean = sum(passage.tokens for passage in passages) / len(passages)
    each = _passages_per_question(settings)
    held = (min(len(passages), size * each) for size in batch_sizes(questions))
    return mean * sum(held)


def _beside(passages: Sequence[Passage], questions: int, settings: SdgSettings) -> float:
    """Tokens of the neighbours that writing calls show beside the evidence."""
    mean = sum(passage.tokens for passage in passages) / len(passages)
    each = _passages_per_question(settings)
    room = (max(0.0, len(passages) - size * each) for size in batch_sizes(questions))
    return mean * sum(min(NEARBY_MAX, left) for left in room)


def _passages_per_question(settings: SdgSettings) -> float:
    hops = [hops_for(kind_for(kind, settings), settings) for kind in QUERY_KINDS]
    return sum((fewest + most) / 2 for fewest, most in hops) / len(hops)


def _calls_per_minute(settings: SdgSettings) -> float:
    own = 60 * settings.concurrency / SECONDS_PER_CALL
    return own if address_of(settings).loopback else min(own, CALLS_PER_MINUTE)
