"""Groups waiting texts into batches: as soon as the one compute thread is idle, never later.

An idle server adds no wait; under load batches grow by themselves. Requests take turns, so that
one question doesn't wait behind a whole corpus, and a corpus doesn't starve behind questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[Sequence[int]]], Vectors]

FAILURES_MAX = 3
"""So many failed batches in a row make the server unready."""


class QueueFull(Exception):
    """Too many tokens wait already.

    Attributes:
        retry_after_seconds: when the queue will have emptied, at the measured speed.
    """

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class BatchFailed(Exception):
    """The model could not run a batch; the message names the error's type, never a text."""


class NotFinite(Exception):
    """The model gave a number that is not finite."""


@dataclass(frozen=True)
class Waiting:
    """One text in the queue, as `take` sees it.

    Attributes:
        turn: when its turn is; the lowest goes first.
        length: in tokens.
    """

    turn: int
    length: int


def take(queue: Sequence[Waiting], budget: int) -> list[int]:
    """Choose the next batch.

    Whose turn it is goes first, and those nearest in length fill up the batch, so that little
    is padded.

    Args:
        queue: what waits, the oldest first; not empty.
        budget: most tokens a batch may have, padding included; one text may always go.

    Returns:
        Positions in `queue`.
    """
    first = min(range(len(queue)), key=lambda position: (queue[position].turn, position))
    longest = length = queue[first].length
    others = sorted(
        (position for position in range(len(queue)) if position != first),
        key=lambda position: (abs(queue[position].length - length), queue[position].turn, position),
    )
    chosen = [first]
    for position in others:
        longest = max(longest, queue[position].length)
        if longest * (len(chosen) + 1) > budget:
            break
        chosen.append(position)
    return chosen


@dataclass(eq=False)
class _Request:
    """One request's texts on their way."""

    vectors: list[Vectors | None]
    future: asyncio.Future[Vectors]
    left: int


@dataclass(frozen=True)
class _Entry:
    waiting: Waiting
    ids: Sequence[int]
    request: _Request = field(repr=False)
    index: int = 0


class Batcher:
    """The queue, and the task that empties it through one compute thread."""

    def __init__(
        self, embed: Embed, budget: int, queue_tokens_max: int, clock: Callable[[], float]
    ) -> None:
        self._embed = embed
        self._budget = budget
        self._queue_tokens_max = queue_tokens_max
        self._clock = clock
        self._queue: list[_Entry] = []
        self._tokens = 0
        self._turn = 0
        self._wake = asyncio.Event()
        self._compute = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._tokens_per_second = 0.0
        self.failures = 0

    @property
    def healthy(self) -> bool:
        """Whether the last batches didn't all fail."""
        return self.failures < FAILURES_MAX

    async def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """Vectors of one request's texts, (n, dimension) float32. Cancelling it drops its texts.

        Raises:
            QueueFull: others wait, and these would be too many.
            BatchFailed: the model could not run.
            NotFinite: the model gave a number that is not finite.
        """
        tokens = sum(map(len, token_ids))
        if self._queue and self._tokens + tokens > self._queue_tokens_max:
            raise QueueFull(self._retry_after())
        loop = asyncio.get_running_loop()
        request = _Request([None] * len(token_ids), loop.create_future(), len(token_ids))
        self._queue += [
            _Entry(Waiting(self._turn + index, len(ids)), ids, request, index)
            for index, ids in enumerate(token_ids)
        ]
        self._tokens += tokens
        self._wake.set()
        return await request.future

    async def run(self) -> None:
        """Empty the queue for ever; ends by being cancelled."""
        while True:
            await self._wake.wait()
            self._drop_departed()
            if not self._queue:
                self._wake.clear()
                continue
            positions = take([entry.waiting for entry in self._queue], self._budget)
            batch = [self._queue[position] for position in positions]
            self._turn = max(self._turn, batch[0].waiting.turn)
            chosen = set(positions)
            self._queue = [e for place, e in enumerate(self._queue) if place not in chosen]
            await self._compute_batch(batch)

    def close(self) -> None:
        """Let the compute thread end."""
        self._compute.shutdown(wait=False, cancel_futures=True)

    async def _compute_batch(self, batch: Sequence[_Entry]) -> None:
        began = self._clock()
        ids = [entry.ids for entry in batch]
        tokens = sum(map(len, ids))
        work = asyncio.wrap_future(self._compute.submit(self._embed, ids))
        # Waited for without raising: what went wrong belongs to these requests alone.
        await asyncio.wait([work])
        self._tokens -= tokens
        if error := work.exception():
            self.failures += 1
            for entry in batch:
                _fail(entry.request, BatchFailed(type(error).__name__))
            return
        self.failures = 0
        self._tokens_per_second = tokens / max(self._clock() - began, 1e-6)
        for entry, vector in zip(batch, work.result(), strict=True):
            _deliver(entry, vector)

    def _drop_departed(self) -> None:
        departed = [entry for entry in self._queue if entry.request.future.done()]
        if departed:
            self._tokens -= sum(len(entry.ids) for entry in departed)
            self._queue = [entry for entry in self._queue if not entry.request.future.done()]

    def _retry_after(self) -> int:
        speed = self._tokens_per_second
        return max(1, round(self._tokens / speed)) if speed else 1


def _deliver(entry: _Entry, vector: Vectors) -> None:
    request = entry.request
    if not np.isfinite(vector).all():
        _fail(request, NotFinite())
        return
    request.vectors[entry.index] = vector
    request.left -= 1
    if not request.left and not request.future.done():
        request.future.set_result(np.stack([v for v in request.vectors if v is not None]))


def _fail(request: _Request, error: Exception) -> None:
    if not request.future.done():
        request.future.set_exception(error)
