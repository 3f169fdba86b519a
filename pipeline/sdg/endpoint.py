"""Questions from an LLM: a few a call, grounded here, then judged."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.context import Control, Events
from pipeline.corpus.records import Passage
from pipeline.recipe import SdgSettings
from pipeline.sdg.batches import CALLS_PER_BATCH, batches
from pipeline.sdg.calls import Call, CallJournal
from pipeline.sdg.client import Client
from pipeline.sdg.guidance import guidance_of
from pipeline.sdg.plan import Assignment
from pipeline.sdg.prompts import (
    chunk_names,
    evidence_of,
    generate_messages,
    generate_schema,
    judge_messages,
    judge_schema,
    pair_name,
)
from pipeline.sdg.quotes import locate
from pipeline.sdg.replies import Reply, read_reply, text_of
from pipeline.sdg.scoring import LEVEL_MAX, LEVELS, honest_hops, score_of, weights_of
from pipeline.sdg.turns import Conversation, converse
from pipeline.sdg.writer import Draft, Lost, Watcher

CONTENT_ATTEMPTS = 2
"""A damaged reply is asked for once more, for what it lacks."""
_TOKENS_MAX = 4096
_JUDGE_TEMPERATURE = 0.0
_JUDGE_TOP_P = 1.0


class EndpointWriter:
    """Writes and judges with the models of one endpoint."""

    def __init__(
        self,
        settings: SdgSettings,
        client: Client,
        journal: CallJournal,
        control: Control,
        events: Events,
        watcher: Watcher,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._client = client
        self._journal = journal
        self._control = control
        self._events = events
        self._watcher = watcher
        self._stop = stop
        self._done = self._total = 0

    @property
    def name(self) -> str:
        """The writing model."""
        return self._settings.model

    @property
    def judge(self) -> str:
        """The judging model."""
        return self._settings.judge_model or self._settings.model

    def write(self, assignments: Iterable[Assignment]) -> Iterator[Draft | Lost]:
        """One draft or loss for each assignment, in order; fewer when `finish` is asked."""
        asked = list(batches(assignments))
        self._total = CALLS_PER_BATCH * len(asked)
        for written in converse(
            [self._conversation(batch) for batch in asked],
            known=lambda call: self._journal.body(call.key),
            ask=self._client.ask,
            width=self._settings.concurrency,
            control=self._control,
            stop=self._stop,
        ):
            yield from written

    def _conversation(self, batch: Sequence[Assignment]) -> Conversation[list[Draft | Lost]]:
        before = self._done
        written = yield from self._generate(batch)
        self._watcher.wrote(sum(isinstance(entry, Draft) for entry in written))
        gradable = [entry for entry in written if isinstance(entry, Draft) and entry.gradable]
        graded = (yield from self._grade(gradable, evidence_of(batch))) if gradable else {}
        # Batches run side by side, so this is an estimate until the last one has ended.
        self._total = max(self._done, self._total + min(0, self._done - before - CALLS_PER_BATCH))
        done = [
            graded.get(entry.assignment.id, entry) if isinstance(entry, Draft) else entry
            for entry in written
        ]
        self._watcher.arrived(done)
        return done

    def _generate(self, batch: Sequence[Assignment]) -> Conversation[list[Draft | Lost]]:
        found: dict[str, Draft] = {}
        for sample in range(CONTENT_ATTEMPTS):
            asked = [assignment for assignment in batch if assignment.id not in found]
            call = self._generate_call(asked, sample)
            reply = self._read(call, (yield call), "pairs")
            for item in reply.items:
                slot = item.get("slot")
                if type(slot) is int and 0 <= slot < len(asked):
                    found.setdefault(asked[slot].id, _draft(asked, asked[slot], item))
            # A whole reply without a slot declined it; only damage is worth asking again.
            if not reply.problem or len(found) == len(batch):
                break
        reason = reply.problem or "the model wrote no question for these passages"
        return [found.get(a.id) or Lost(a, reason, reply.key) for a in batch]

    def _grade(
        self, drafts: Sequence[Draft], sent: Sequence[Passage]
    ) -> Conversation[dict[str, Draft]]:
        graded: dict[str, Draft] = {}
        for sample in range(CONTENT_ATTEMPTS):
            asked = [draft for draft in drafts if draft.assignment.id not in graded]
            call = self._judge_call(asked, sent, sample)
            reply = self._read(call, (yield call), "grades")
            by_name = {pair_name(number): draft for number, draft in enumerate(asked)}
            for item in reply.items:
                draft = by_name.get(str(item.get("id")))
                if draft and (levels := _levels(item)):
                    graded.setdefault(draft.assignment.id, self._scored(draft, levels, item))
            if len(graded) == len(drafts):
                break
        return graded

    def _scored(self, draft: Draft, levels: Mapping[str, float], item: Mapping[str, Any]) -> Draft:
        """A draft with its score. A shortcut question is still a good question of fewer hops."""
        said = item.get("hops_needed")
        needed = said if type(said) is int else None
        return replace(
            draft,
            levels=levels,
            score=score_of(levels, weights_of(self._settings)),
            hops=honest_hops(draft.hops, needed),
            judge=self.judge,
            hops_needed=needed,
        )

    def _generate_call(self, asked: Sequence[Assignment], sample: int) -> Call:
        return Call(
            purpose="generate",
            model=self.name,
            messages=generate_messages(asked, guidance_of(self._settings)),
            temperature=self._settings.temperature,
            top_p=self._settings.top_p,
            max_tokens=_TOKENS_MAX,
            schema=generate_schema(len(asked), len(evidence_of(asked))),
            sample=sample,
        )

    def _judge_call(self, asked: Sequence[Draft], sent: Sequence[Passage], sample: int) -> Call:
        return Call(
            purpose="judge",
            model=self.judge,
            messages=judge_messages(asked, sent),
            temperature=_JUDGE_TEMPERATURE,
            top_p=_JUDGE_TOP_P,
            max_tokens=_TOKENS_MAX,
            schema=judge_schema(len(asked)),
            sample=sample,
        )

    def _read(self, call: Call, body: str, field: str) -> Reply:
        reply = read_reply(call.key, body, field)
        self._done += 1
        self._total = max(self._total, self._done)
        self._watcher.answered(reply.tokens_in, reply.tokens_out)
        self._events.progress(self._done, self._total, "calls answered")
        return reply


def _draft(asked: Sequence[Assignment], assignment: Assignment, item: Mapping[str, Any]) -> Draft:
    """One item of a writing reply, its quotes looked up in the passages that were sent."""
    passages = evidence_of(asked)
    named = {name: identity for identity, name in chunk_names(passages).items()}
    evidence = item.get("evidence")
    quotes, unlocated = [], []
    for entry in evidence if isinstance(evidence, list) else []:
        if not isinstance(entry, dict):
            continue
        words = text_of(entry.get("quote"))
        quote = locate(words, passages, named.get(str(entry.get("chunk")), ""))
        if quote is None:
            unlocated.append(words)
        elif quote not in quotes:
            quotes.append(quote)
    return Draft(
        assignment=assignment,
        question=" ".join(text_of(item.get("question")).split()),
        answer=text_of(item.get("answer")),
        quotes=tuple(quotes),
        unlocated=tuple(unlocated),
        kind=f"{assignment.query}, {assignment.reasoning}",
        complexity=assignment.complexity,
        hops=len({quote.passage for quote in quotes}) or assignment.hops,
    )


def _levels(item: Mapping[str, Any]) -> dict[str, float] | None:
    levels = {name: item.get(name) for name in LEVELS}
    fine = all(
        isinstance(level, (int, float)) and not isinstance(level, bool) and 0 <= level <= LEVEL_MAX
        for level in levels.values()
    )
    return (
        {name: float(level) for name, level in levels.items() if level is not None}
        if fine
        else None
    )
