"""What writing the questions would take: questions, calls, tokens, minutes. Pure, and quick.

Questions and calls are counted by the rules that the plan and the writer follow; a call that has
to be repeated comes on top. Tokens and minutes are estimates:

- a passage counts the tokens that the corpus measured, other text one for each
  `CHARACTERS_PER_TOKEN` characters;
- a writing call holds the prompt and the passages of its questions, a judging call the prompt, the
  same passages and the pairs;
- an endpoint takes the limiter's rate to begin with, and nobody gets more than `sdg.concurrency`
  calls through in `SECONDS_PER_CALL`.

It is of one pass. Where a target is smaller, it is of so many questions: the least that it takes.
Calls of later rounds come on top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.corpus.records import Document, Passage
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
from pipeline.sdg.limiter import start_rate
from pipeline.sdg.prompts import NEARBY_MAX, generate_messages_length, judge_messages_length
from pipeline.sdg.spending import Spent, cost_of, in_money
from pipeline.sdg.writer import OFFLINE
from pipeline.settings import SdgSettings

CHARACTERS_PER_TOKEN = 4
"""Of English in common tokenizers; OpenAI's help page "What are tokens" names the same."""
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
        cost: by the recipe's prices; None where none is set.
        least: whether it is what a target takes at least.
    """

    questions: int
    calls: int
    tokens_in: int
    tokens_out: int
    minutes: float
    cost: float | None = None
    least: bool = False


def estimate(
    documents: Iterable[Document],
    passages: Iterable[Passage],
    settings: SdgSettings,
    *,
    imported: bool = False,
    wanted: Mapping[str, int] | None = None,
) -> Estimate:
    """What writing questions about a corpus would take.

    Args:
        documents: all of the corpus, or those of a trial.
        passages: theirs; others are ignored.
        settings: the recipe's.
        imported: whether the questions came with the source.
        wanted: of a further round, its questions by document id; None for a first pass.

    Raises:
        EndpointFailure: `sdg.base_url` is no address.
    """
    if imported:
        return Estimate(0, 0, 0, 0, 0.0)
    asked = asked_documents(documents, passages)
    by_document = [cut for _, cut in asked]
    counts = [questions_for(len(cut), settings) for cut in by_document]
    if wanted is not None:
        counts = [wanted.get(document.id, 0) for document, _ in asked]
    questions = sum(counts)
    if settings.writer == OFFLINE:
        return _limited(Estimate(questions, 0, 0, 0, 0.0), settings)
    batches = sum(len(batch_sizes(count)) for count in counts)
    prompts = generate_messages_length(guidance_of(settings)) + judge_messages_length()
    tokens_in = batches * prompts / CHARACTERS_PER_TOKEN + questions * _TOKENS_PER_PAIR
    tokens_in += sum(
        CALLS_PER_BATCH * _sent(cut, count, settings) + _beside(cut, count, settings)
        for cut, count in zip(by_document, counts, strict=True)
    )
    whole = Estimate(
        questions=questions,
        calls=CALLS_PER_BATCH * batches,
        tokens_in=round(tokens_in),
        tokens_out=questions * (_TOKENS_PER_QUESTION + _TOKENS_PER_GRADE),
        minutes=0.0,
    )
    return _timed(_limited(whole, settings), settings)


def _limited(whole: Estimate, settings: SdgSettings) -> Estimate:
    """As much of one pass as a target takes at least, and the calls that may be made at most."""
    share = 1.0
    least = 0 < settings.target < whole.questions
    if least:
        share = settings.target / whole.questions
    if 0 < settings.calls_max < whole.calls * share:
        share = settings.calls_max / whole.calls
    return Estimate(
        questions=math.ceil(whole.questions * share),
        calls=math.ceil(whole.calls * share),
        tokens_in=round(whole.tokens_in * share),
        tokens_out=round(whole.tokens_out * share),
        minutes=0.0,
        least=least,
    )


def _timed(what: Estimate, settings: SdgSettings) -> Estimate:
    tokens = Spent("", settings.model, what.calls, what.tokens_in, what.tokens_out, what.calls)
    return replace(
        what,
        minutes=round(what.calls / _calls_per_minute(settings), 1),
        cost=cost_of([tokens], settings),
    )


def in_words(what: Estimate) -> str:
    """The estimate in one line."""
    if not what.questions:
        return "The questions came with the source: no call."
    about = "At least" if what.least else "About"
    if not what.calls:
        return f"{about} {what.questions:,} questions, written offline: no call."
    cost = "" if what.cost is None else f", a cost of {in_money(what.cost)}"
    return (
        f"{about} {what.questions:,} questions in {what.calls:,} calls: {what.tokens_in:,} tokens "
        f"sent, {what.tokens_out:,} received, {what.minutes:g} minutes{cost}."
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
    address = address_of(settings)
    own = 60 * settings.concurrency / SECONDS_PER_CALL
    rate = start_rate(address.host, address.loopback, settings.requests_per_minute)
    return min(own, rate) if rate else own
