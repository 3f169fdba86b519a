"""Work that may be slow, without holding up a window or its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

Stopped = Callable[[], bool]
"""Whether nobody waits for the answer any more."""


async def off_loop(function: Callable[[Stopped], T]) -> T:
    """Run a function in a daemon thread: unlike an executor's, it never holds up leaving.

    Args:
        function: gets `stopped`, which turns true when nobody waits for its answer any more.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def take(value: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, fault = None, None
        try:
            value = function(stop.is_set)
        except Exception as error:
            fault = error  # raised again where the answer is awaited
        with suppress(RuntimeError):  # the window has left
            loop.call_soon_threadsafe(take, value, fault)

    threading.Thread(target=work, daemon=True).start()
    try:
        return await answer
    finally:
        stop.set()
