"""Conversations with the endpoint, many at once: each takes its turns, results stay in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Generic, TypeVar

from pipeline.context import Control
from pipeline.sdg.calls import Call

T = TypeVar("T")
Conversation = Generator[Call, str, T]
"""Yields calls, is sent raw replies, returns its result. It runs in one thread alone."""

_POLL_SECONDS = 0.2


def converse(
    conversations: Sequence[Conversation[T]],
    known: Callable[[Call], str | None],
    ask: Callable[[Call], str],
    width: int,
    control: Control,
    stop: Event,
) -> Iterator[T]:
    """Hold the conversations, at most `width` calls at a time; yield results in their order.

    When a call fails, or `control` says so, no call starts any more; those in flight end first, so
    that their replies are kept. When `finish` is asked, conversations that have begun are
    held to their end and the others are left out.

    Args:
        conversations: what to hold.
        known: the reply to a call that was answered before.
        ask: gets a reply; called in other threads.
        width: calls in flight at most.
        control: asked between calls.
        stop: set when no call may start any more.
    """
    waiting = deque(enumerate(conversations))
    pool = ThreadPoolExecutor(max_workers=width, thread_name_prefix="sdg-call")
    table = _Table[T](known, lambda call: pool.submit(ask, call))
    upcoming = 0
    try:
        while waiting or table.running:
            control.poll()
            if control.finish_asked:
                waiting.clear()
            while waiting and len(table.running) < width:
                table.advance(*waiting.popleft(), reply=None)
            ended, _ = wait(table.running, _POLL_SECONDS, FIRST_COMPLETED)
            for future in ended:
                table.advance(*table.running.pop(future), reply=future.result())
            while upcoming in table.results:
                yield table.results.pop(upcoming)
                upcoming += 1
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


class _Table(Generic[T]):
    """The conversations that have begun: those whose call is out, and the results of the others."""

    def __init__(
        self, known: Callable[[Call], str | None], submit: Callable[[Call], Future[str]]
    ) -> None:
        self._known = known
        self._submit = submit
        self.running: dict[Future[str], tuple[int, Conversation[T]]] = {}
        self.results: dict[int, T] = {}

    def advance(self, number: int, conversation: Conversation[T], reply: str | None) -> None:
        """Let one conversation go on to its next call that was never answered, or to its end."""
        while True:
            try:
                call = next(conversation) if reply is None else conversation.send(reply)
            except StopIteration as end:
                self.results[number] = end.value
                return
            reply = self._known(call)
            if reply is None:
                self.running[self._submit(call)] = (number, conversation)
                return
