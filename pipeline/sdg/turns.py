"""Conversations with the endpoint, many at once: each takes its turns, results stay in order."""

from __future__ import annotations

import heapq
import math
import queue
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Generic, Protocol, TypeVar

from pipeline.context import Control
from pipeline.sdg.allowance import Allowance, CallsSpent, Ticket
from pipeline.sdg.calls import Call

T = TypeVar("T")
Conversation = Generator[Call, str, T]
"""Yields calls, is sent raw replies, returns its result. It runs in one thread alone. `Unanswered`
or `CallsSpent` is thrown into it where a call brings no reply."""

_POLL_SECONDS = 0.2


class Unanswered(Exception):
    """The endpoint answers other calls, and not this one."""


@dataclass(frozen=True)
class Again:
    """A call got no answer, and may get one later.

    Attributes:
        seconds: to wait before it is asked again, at least.
    """

    seconds: float


@dataclass(frozen=True)
class GivenUp:
    """A call got no answer too often while others got theirs.

    Attributes:
        reason: the last problem.
    """

    reason: str


class Caller(Protocol):
    """Who asks: one attempt at a time, when its limits allow."""

    def now(self) -> float:
        """Seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait, or less when the stage ends."""

    def delay(self) -> float:
        """Seconds until an attempt may start; infinity until one of those out ends."""

    def begin(self) -> float:
        """Count an attempt; the time of its start."""

    def attempt(self, call: Call, started: float) -> str | Again | GivenUp:
        """One attempt, begun before; called in other threads. The raw reply, or what to do."""

    def rested(self, seconds: float) -> None:
        """Nothing was asked for so long because somebody wanted it."""


def converse(
    conversations: Sequence[Conversation[T]],
    known: Callable[[Call], str | None],
    caller: Caller,
    width: int,
    control: Control,
    stop: Event,
    allowance: Allowance,
) -> Iterator[T]:
    """Hold the conversations, at most `width` calls at a time; yield results in their order.

    When a call fails, or `control` says so, no call starts any more; those in flight end first, so
    that their replies are kept. When `finish` is asked, conversations that have begun are
    held to their end and the others are left out, as when no calls are left.

    Args:
        conversations: what to hold.
        known: the reply to a call that was answered before.
        caller: asks, and says when it may.
        width: calls in flight at most.
        control: asked between calls; while it waits, no call starts.
        stop: set when it ends otherwise than well: no call may start any more.
        allowance: how many calls may be made.
    """
    pool = ThreadPoolExecutor(max_workers=width, thread_name_prefix="sdg-call")
    table = _Table[T](conversations, known, caller, pool, width, allowance)
    upcoming = 0
    try:
        while table.busy:
            before = caller.now()
            control.poll()
            if (waited := caller.now() - before) > _POLL_SECONDS:
                caller.rested(waited)
            if control.finish_asked or allowance.over:
                table.waiting.clear()
            begun = table.begin_next()
            wait = table.launch()
            table.collect(0.0 if begun else min(wait, _POLL_SECONDS))
            while upcoming in table.results:
                yield table.results.pop(upcoming)
                upcoming += 1
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Talk(Generic[T]):
    number: int
    conversation: Conversation[T]
    ticket: Ticket


@dataclass(order=True)
class _Turn(Generic[T]):
    """A call that is to be made, and whose it is."""

    due: float
    order: int
    talk: _Talk[T] = field(compare=False)
    call: Call = field(compare=False)


@dataclass(frozen=True)
class _End(Generic[T]):
    turn: _Turn[T]
    outcome: str | Again | GivenUp | BaseException


class _Table(Generic[T]):
    """Where conversations stand: not begun, with a call to make, with a call out, or ended."""

    def __init__(
        self,
        conversations: Sequence[Conversation[T]],
        known: Callable[[Call], str | None],
        caller: Caller,
        pool: ThreadPoolExecutor,
        width: int,
        allowance: Allowance,
    ) -> None:
        self._known = known
        self._caller = caller
        self._pool = pool
        self._width = width
        self._allowance = allowance
        self._ready: deque[_Turn[T]] = deque()
        self._later: list[_Turn[T]] = []
        self._ends: queue.SimpleQueue[_End[T]] = queue.SimpleQueue()
        self._out = self._turns = 0
        self.waiting = deque(enumerate(conversations))
        self.results: dict[int, T] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is left to do, or to hand out."""
        return bool(self.waiting or self._ready or self._later or self._out or self.results)

    def begin_next(self) -> bool:
        """Let one conversation begin if no call is ready; whether one began."""
        if self._ready or not self.waiting or (ticket := self._allowance.begin()) is None:
            return False
        number, conversation = self.waiting.popleft()
        talk = _Talk(number, conversation, ticket)
        self._advance(talk, lambda: next(conversation))
        return True

    def launch(self) -> float:
        """Start the calls that may start; seconds until the next one may."""
        now = self._caller.now()
        while self._later and self._later[0].due <= now:
            self._ready.append(heapq.heappop(self._later))
        while self._ready:
            if self._out >= self._width:
                return math.inf
            if (delay := self._caller.delay()) > 0:
                return delay
            turn = self._ready.popleft()
            self._out += 1
            self._pool.submit(self._attempt, turn, self._caller.begin())
        return self._later[0].due - now if self._later else math.inf

    def collect(self, patience: float) -> None:
        """Take what has ended, waiting for a first end where calls are out.

        Raises:
            EndpointFailure, SystemRefusal: a call met it.
        """
        if not self._out:
            if patience > 0 and (self._ready or self._later or self.waiting):
                self._caller.sleep(patience)
            return
        try:
            self._take(self._ends.get(patience > 0, patience or None))
            while True:
                self._take(self._ends.get_nowait())
        except queue.Empty:
            return

    def _attempt(self, turn: _Turn[T], started: float) -> None:
        try:
            self._ends.put(_End(turn, self._caller.attempt(turn.call, started)))
        except BaseException as error:
            self._ends.put(_End(turn, error))

    def _take(self, end: _End[T]) -> None:
        self._out -= 1
        talk, outcome = end.turn.talk, end.outcome
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, str):
            self._advance(talk, lambda: talk.conversation.send(outcome))
        elif isinstance(outcome, GivenUp):
            reason = outcome.reason
            self._advance(talk, lambda: talk.conversation.throw(Unanswered(reason)))
        elif outcome.seconds > 0:
            end.turn.due = self._caller.now() + outcome.seconds
            heapq.heappush(self._later, end.turn)
        else:
            self._ready.append(end.turn)

    def _advance(self, talk: _Talk[T], step: Callable[[], Call]) -> None:
        """Let a conversation go on to its next call that was never answered, or to its end."""
        conversation = talk.conversation
        while True:
            try:
                call = step()
            except StopIteration as end:
                self.results[talk.number] = end.value
                self._allowance.end(talk.ticket)
                return
            if not talk.ticket.take():
                step = _thrower(conversation)
                continue
            reply = self._known(call)
            if reply is None:
                self._turns += 1
                # Who has begun goes first, so that questions come to their end.
                self._ready.appendleft(_Turn(0.0, self._turns, talk, call))
                return
            step = _sender(conversation, reply)


def _thrower(conversation: Conversation[T]) -> Callable[[], Call]:
    return lambda: conversation.throw(CallsSpent())


def _sender(conversation: Conversation[T], reply: str) -> Callable[[], Call]:
    return lambda: conversation.send(reply)
