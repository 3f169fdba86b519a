"""How strategies live with a rate limit that nobody tells them, in virtual time.

    python tests/benchmarks/limiter.py

A server lets a number of requests through in any 60 seconds and refuses the others with a 429
that names no time. 300 requests are to be answered, each after about 9 seconds. Nothing is waited
for and nothing is random but for a seeded generator: the same figures every time.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from openai import _constants as theirs

from pipeline.sdg.limiter import Limiter

REQUESTS = 300
WORKERS = 8
IN_FLIGHT_MAX = 32
LATENCY_MEDIAN = 8.0
"""Seconds; the mean of the log-normal is about 9."""
LATENCY_SPREAD = 0.45
REFUSAL_SECONDS = 0.2
WINDOW = 60.0
_AGES = 24 * 3600.0


@dataclass
class Server:
    """A sliding window.

    Attributes:
        limit: requests within 60 seconds.
        denied_count: whether refused requests fill the window, too.
    """

    limit: int
    denied_count: bool
    taken: deque[float] = field(default_factory=deque)

    def admits(self, now: float) -> bool:
        """One request arrives."""
        while self.taken and self.taken[0] <= now - WINDOW:
            self.taken.popleft()
        admitted = len(self.taken) < self.limit
        if admitted or self.denied_count:
            self.taken.append(now)
        return admitted


@dataclass
class World:
    """Virtual time: events in order, and what came of the requests."""

    server: Server
    seed: int = 1
    now: float = 0.0
    attempts: int = 0
    refused: int = 0
    answered: int = 0
    lost: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._count), then))

    def request(self, then: Callable[[bool, float], None]) -> None:
        """Send one request; `then` is told whether it was answered, and when it went out."""
        self.attempts += 1
        started = self.now
        admitted = self.server.admits(self.now)
        self.refused += not admitted
        seconds = REFUSAL_SECONDS
        if admitted:
            seconds = self._chance.lognormvariate(math.log(LATENCY_MEDIAN), LATENCY_SPREAD)
        self.after(seconds, lambda: then(admitted, started))

    def run(self) -> None:
        """Until nothing is left, or for a day."""
        while self._events and self.now < _AGES:
            self.now, _, then = heapq.heappop(self._events)
            then()


@dataclass(frozen=True)
class Figures:
    """What came of one strategy.

    Attributes:
        minutes: until the last request was answered or given up.
        ideal: minutes that the limit itself needs.
        answered: requests with an answer.
        lost: requests given up.
        attempts: requests sent.
        refused: of those, with 429.
    """

    minutes: float
    ideal: float
    answered: int
    lost: int
    attempts: int
    refused: int


def ours(world: World, rate: float = 40.0) -> None:
    """The pipeline's limiter, begun at the hosted rate."""
    limiter = Limiter(rate, IN_FLIGHT_MAX, world.now)
    todo = REQUESTS
    woken = math.inf

    def go() -> None:
        nonlocal todo, woken
        woken = math.inf
        while todo and (wait := limiter.delay(world.now)) <= 1e-9:
            limiter.started(world.now)
            todo -= 1
            world.request(ended)
        if todo and wait < math.inf and world.now + wait < woken:
            woken = world.now + wait
            world.after(wait, go)

    def ended(admitted: bool, started: float) -> None:
        nonlocal todo
        if admitted:
            world.answered += 1
            limiter.succeeded(world.now, world.now - started)
        else:
            todo += 1
            limiter.refused(world.now, started, None)
        go()

    go()


def retrying(world: World, retries: int) -> None:
    """Eight workers, each request with the retries of the installed openai client."""

    def worker() -> Generator[float | None, bool, None]:
        while jobs:
            jobs.pop()
            for tried in range(retries + 1):
                if (yield None):
                    world.answered += 1
                    break
                if tried == retries:
                    world.lost += 1
                    break
                pause = min(theirs.INITIAL_RETRY_DELAY * 2.0**tried, theirs.MAX_RETRY_DELAY)
                # The client takes up to a quarter off.
                yield pause * (1 - 0.25 * chance.random())

    jobs = list(range(REQUESTS))
    chance = random.Random(world.seed)
    for _ in range(WORKERS):
        _step(world, worker())


def _step(
    world: World, worker: Generator[float | None, bool, None], answered: bool | None = None
) -> None:
    try:
        wanted = next(worker) if answered is None else worker.send(answered)
    except StopIteration:
        return
    if wanted is None:
        world.request(lambda admitted, _: _step(world, worker, admitted))
    else:
        world.after(wanted, lambda: _step(world, worker, None))


def concurrency_aimd(world: World, cap: int = 8) -> None:
    """Only the calls in flight adapt: x 0.75 on a 429, +1 for 25 answers, 2 s between cuts."""
    todo, out, width, good = REQUESTS, 0, float(cap), 0
    cut = until = -math.inf

    def go() -> None:
        nonlocal todo, out
        while todo and out < max(1, int(width)) and world.now >= until:
            todo, out = todo - 1, out + 1
            world.request(ended)

    def ended(admitted: bool, started: float) -> None:
        nonlocal todo, out, width, good, cut, until
        out -= 1
        if admitted:
            world.answered += 1
            good += 1
            if good == 25:
                good, width = 0, min(float(cap), width + 1)
        else:
            todo, good, until = todo + 1, 0, world.now + 2.0
            if started > cut:
                cut, width = world.now, max(1.0, width * 0.75)
            world.after(2.0, go)
        go()

    go()


STRATEGIES: dict[str, Callable[[World], None]] = {
    "paced, learned rate (ours)": ours,
    "openai's retries, max_retries=2": lambda world: retrying(world, 2),
    "openai's retries, max_retries=8": lambda world: retrying(world, 8),
    "concurrency AIMD, cap 8": concurrency_aimd,
}


def measure(
    strategy: Callable[[World], None], limit: int, denied_count: bool, seed: int = 1
) -> Figures:
    """One strategy against one server."""
    world = World(Server(limit, denied_count), seed)
    strategy(world)
    world.run()
    lost = REQUESTS - world.answered
    ideal = REQUESTS / limit
    return Figures(world.now / 60, ideal, world.answered, lost, world.attempts, world.refused)


def main() -> None:
    """The table."""
    print(f"{REQUESTS} requests, answers after about 9 s, virtual time")
    for limit in (40, 25):
        for denied_count in (False, True):
            counts = "count" if denied_count else "don't count"
            print(f"\ntrue limit {limit} a minute, refused ones {counts}")
            for name, strategy in STRATEGIES.items():
                f = measure(strategy, limit, denied_count)
                end = f"{f.minutes:6.1f} min ({f.minutes / f.ideal:5.2f} x ideal)"
                share = 100 * f.refused / f.attempts
                print(f"  {name:34} {end}  lost {f.lost:3}  refused {f.refused:5} ({share:4.1f} %)")


if __name__ == "__main__":
    main()
