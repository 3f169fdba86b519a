"""Questions from an LLM: a few a call, grounded here, then judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.context import Control, Events
from pipeline.corpus.records import Passage
from pipeline.sdg import refusals
from pipeline.sdg.allowance import Allowance, CallsSpent
from pipeline.sdg.batches import CALLS_PER_BATCH, QUESTIONS_PER_CALL, batches
from pipeline.sdg.calls import Call, CallJournal
from pipeline.sdg.client import Client
from pipeline.sdg.feedback import avoid_for
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
from pipeline.sdg.replies import Reply, read_reply, text_of, wanted_of
from pipeline.sdg.scoring import LEVEL_MAX, LEVELS, honest_hops, score_of, weights_of
from pipeline.sdg.tries import Try, first_try, tries_after
from pipeline.sdg.turns import Conversation, Unanswered, converse
from pipeline.sdg.writer import Draft, Lost, Watcher
from pipeline.settings import SdgSettings

FIRST_REPLIES = 10
"""If more than half of so many fresh replies are of no use, the model is the wrong one."""
_PACE_SECONDS = 2.0
"""At most one metric of the pace in this time."""
_JUDGE_TEMPERATURE = 0.0
_JUDGE_TOP_P = 1.0


@dataclass(frozen=True)
class _Pacing:
    """The control that is polled between calls: it tells how fast the endpoint is asked, too."""

    control: Control
    tell: Any

    @property
    def finish_asked(self) -> bool:
        """Whether to end now and keep the best."""
        return self.control.finish_asked

    def poll(self) -> None:
        """Tell, then do as asked."""
        self.tell()
        self.control.poll()


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
        self._control = _Pacing(control, self._tell_pace)
        self._events = events
        self._watcher = watcher
        self._stop = stop
        self._done = self._total = 0
        self._told = 0.0
        self._fresh: list[Reply] = []
        # Every try after the first may be split down to single questions.
        each = CALLS_PER_BATCH * (1 + QUESTIONS_PER_CALL * (settings.attempts - 1))
        self._allowance = Allowance(settings.calls_max, each)

    @property
    def name(self) -> str:
        """The writing model."""
        return self._settings.model

    @property
    def judge(self) -> str:
        """The judging model."""
        return self._settings.judge_model or self._settings.model

    def write(self, assignments: Iterable[Assignment]) -> Iterator[Draft | Lost]:
        """One draft or loss for each assignment, in order.

        Fewer when `finish` is asked, or when `sdg.calls_max` calls were made.
        """
        asked = list(batches(assignments))
        self._total = self._done + CALLS_PER_BATCH * len(asked)
        for written in converse(
            [self._conversation(batch) for batch in asked],
            known=lambda call: self._journal.body(call.key),
            caller=self._client,
            width=self._settings.concurrency,
            control=self._control,
            stop=self._stop,
            allowance=self._allowance,
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
        lost: dict[str, Lost] = {}
        todo = [first_try(batch)]
        while todo:
            one = todo.pop(0)
            call = self._generate_call(one)
            try:
                reply = self._read(call, (yield call), ("slot", "question", "answer"))
            except (Unanswered, CallsSpent) as why:
                parked = isinstance(why, Unanswered)
                reason = str(why) or "sdg.calls_max was reached"
                lost |= {a.id: Lost(a, reason, "", parked) for a in one.asked if a.id not in found}
                continue
            for item in reply.items:
                slot = _number(item["slot"])
                if slot is not None and 0 <= slot < len(one.asked):
                    draft = _draft(one.asked, one.asked[slot], item)
                    found.setdefault(one.asked[slot].id, draft)
            missing = [a for a in one.asked if a.id not in found]
            # A whole reply without a slot declined it; only damage is worth asking again.
            further = tries_after(one, missing, reply, call, self._settings.attempts)
            reason = reply.problem or "the model wrote no question for these passages"
            parked = bool(reply.problem) and not further
            lost |= {a.id: Lost(a, reason, reply.key, parked) for a in missing}
            todo += further if reply.problem else []
        return [found.get(a.id) or lost[a.id] for a in batch]

    def _grade(
        self, drafts: Sequence[Draft], sent: Sequence[Passage]
    ) -> Conversation[dict[str, Draft]]:
        graded: dict[str, Draft] = {}
        todo = [first_try(drafts)]
        while todo:
            one = todo.pop(0)
            call = self._judge_call(one, sent)
            try:
                reply = self._read(call, (yield call), ("id", *LEVELS))
            except (Unanswered, CallsSpent):
                continue
            by_name = {pair_name(number): draft for number, draft in enumerate(one.asked)}
            for item in reply.items:
                draft = by_name.get(str(item["id"]))
                if draft and (levels := _levels(item)):
                    graded.setdefault(draft.assignment.id, self._scored(draft, levels, item))
            # Ids that are missing are asked for alone, for whatever reason they are.
            missing = [draft for draft in one.asked if draft.assignment.id not in graded]
            todo += tries_after(one, missing, reply, call, self._settings.attempts)
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

    def _generate_call(self, one: Try[Assignment]) -> Call:
        guidance = guidance_of(self._settings)
        avoid = avoid_for(self._settings, one.asked[0].round)
        return Call(
            purpose="generate",
            model=self.name,
            messages=(*generate_messages(one.asked, guidance, avoid), *one.correction),
            temperature=self._settings.temperature,
            top_p=self._settings.top_p,
            max_tokens=one.max_tokens,
            schema=generate_schema(len(one.asked), len(evidence_of(one.asked))),
            sample=one.number,
        )

    def _judge_call(self, one: Try[Draft], sent: Sequence[Passage]) -> Call:
        return Call(
            purpose="judge",
            model=self.judge,
            messages=(*judge_messages(one.asked, sent), *one.correction),
            temperature=_JUDGE_TEMPERATURE,
            top_p=_JUDGE_TOP_P,
            max_tokens=one.max_tokens,
            schema=judge_schema(len(one.asked)),
            sample=one.number,
        )

    def _read(self, call: Call, body: str, needs: tuple[str, ...]) -> Reply:
        reply = read_reply(call.key, body, wanted_of(call.schema, needs))
        self._done += 1
        self._total = max(self._total, self._done)
        self._watcher.answered(reply.key, reply.tokens_in, reply.tokens_out)
        self._events.progress(self._done, self._total, "calls answered")
        if len(self._fresh) < FIRST_REPLIES and self._client.is_fresh(call):
            self._fresh.append(reply)
            self._stop_early()
        return reply

    def _stop_early(self) -> None:
        """Replies of earlier attempts don't count: who has mended something may go on.

        Raises:
            EndpointFailure: more than half of the first fresh replies are of no use.
        """
        useless = [reply for reply in self._fresh if reply.problem and not reply.items]
        if len(self._fresh) == FIRST_REPLIES and 2 * len(useless) > FIRST_REPLIES:
            said = refusals.excerpt(text_of(useless[0].text) or "nothing", "")
            problem, settings = useless[0].problem, self._settings
            raise refusals.unusable_replies(settings, len(useless), FIRST_REPLIES, problem, said)

    def _tell_pace(self) -> None:
        now = time.monotonic()
        pace = self._client.pace()
        if pace is None or now - self._told < _PACE_SECONDS:
            return
        self._told = now
        self._events.metric(
            calls_a_minute=pace.rate,
            calls_a_minute_most=round(pace.limit, 1),
            in_flight=pace.in_flight,
            in_flight_most=pace.in_flight_most,
            hold_seconds=round(pace.hold, 1),
            calls_succeeded=pace.succeeded,
            calls_refused=pace.refused,
        )


def _number(said: object) -> int | None:
    """A slot as a number; some models write it in quotes."""
    if type(said) is int:
        return said
    return int(said) if isinstance(said, str) and said.isascii() and said.isdigit() else None


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
