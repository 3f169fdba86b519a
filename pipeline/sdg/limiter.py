"""How fast an endpoint is asked: a state machine without a clock, network or thread of its own.

Two limits hold side by side. The rate: no more than so many starts in any minute, evenly spaced,
learned from the refusals (429) where the endpoint names none. The calls in flight: for a known
rate as many as Little's law asks for, else as many as still raise the throughput.

    limiter = Limiter(start_rate(...), 32, now)
    if limiter.delay(now) == 0.0: limiter.started(now)
    ...
    limiter.succeeded(now, seconds)        or refused(now, started, retry_after)  or failed(now)
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
"""The hosted limits count by the minute."""
HOSTED_RATE = 40.0
"""What `HOSTED` lets through for one key in a minute, by users' reports; nothing is published."""
HOSTED = "integrate.api.nvidia.com"
STUCK_SECONDS = 600.0
"""So long without any success, and waiting is no longer the answer."""

_HOLDS = (15.0, 30.0, 60.0)
"""Seconds without a start after a 429 that names no time, by how many came in a row."""
_HOLD_MAX = 120.0
"""No endpoint is believed that asks for more."""
_SLOWER = 0.8
_RAISE_AFTER = 20
"""Successes that earn one request a minute more."""
_RAISE_MAX = 1.5
"""Of the rate at the start."""
_RETRY_AFTER = 200
"""Successes at the last rate that held until the one that was refused is tried again."""
_RATE_MIN = 1.0
_SPARE = 1.5
"""In flight, of what Little's law asks for."""
_LATENCIES = 64
_LATENCIES_MIN = 5
_PROBE_FIRST = 16
_PROBE_GAIN = 1.05
_PROBE_REST = 12
"""Measured rounds until a wider cap is tried again where the last one brought nothing."""


@dataclass(frozen=True)
class Pace:
    """How fast the endpoint is asked at one moment.

    Attributes:
        rate: successes within the last minute.
        limit: starts a minute, as learned; 0 where none is known.
        in_flight: calls that are out.
        in_flight_most: how many may be.
        hold: seconds until a call may start again after a refusal; 0 where none holds.
        succeeded: calls answered.
        refused: attempts refused with 429.
    """

    rate: float
    limit: float
    in_flight: int
    in_flight_most: int
    hold: float
    succeeded: int
    refused: int


def start_rate(host: str, loopback: bool, wanted: float) -> float:
    """The rate to begin with where nothing was learned yet.

    Args:
        host: of the endpoint, with its port where the address names one.
        loopback: whether it is this machine.
        wanted: `sdg.requests_per_minute`; 0 for none.

    Returns:
        Requests a minute; 0 is no limit until the first 429. A host of which nothing is known
        begins so, too: its first refusal teaches more than a guess would.
    """
    hosted = host.partition(":")[0] == HOSTED and not loopback
    return wanted or (HOSTED_RATE if hosted else 0.0)


class Limiter:
    """When the next call may start. Every method is told the time, in seconds."""

    def __init__(
        self,
        rate: float,
        in_flight_max: int,
        now: float,
        start: float = 0.0,
        *,
        local: bool = False,
    ) -> None:
        """Nothing is out and nothing was refused.

        Args:
            rate: starts a minute; 0 for no limit until the first refusal.
            in_flight_max: calls in flight at most.
            now: the time.
            start: the rate that bounds the growth, where `rate` was learned from it.
            local: whether it is a server on this machine. It counts no minutes: its refusals mean
                too many calls at once.
        """
        self._local = local
        self.rate = rate
        self._start = start or rate
        self._most = in_flight_max
        self._starts: deque[float] = deque()
        self._successes: deque[float] = deque()
        self.in_flight = 0
        """Attempts that are out."""
        self._hold_until = -math.inf
        self._held_at = -math.inf
        self._holds = 0
        self._credit = 0
        self._ceiling = math.inf
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._last_success = now
        self._succeeded = self._refused = 0
        self._width = _Width(in_flight_max)

    def delay(self, now: float) -> float:
        """Seconds until a call may start; 0 for at once, infinity until one of those out ends."""
        if self.in_flight >= self.in_flight_most:
            return math.inf
        return max(0.0, self._next_start(now) - now)

    def started(self, now: float) -> None:
        """An attempt goes out; it counts whatever becomes of it."""
        self._starts.append(now)
        self.in_flight += 1

    def succeeded(self, now: float, seconds: float) -> None:
        """A call was answered, after so many seconds."""
        self._width.ended(now, self.in_flight)
        self.in_flight -= 1
        self._succeeded += 1
        self._successes.append(now)
        self._last_success = now
        self._latencies.append(seconds)
        if now >= self._hold_until:
            self._holds = 0
        self._credit += 1
        if self.rate and self._credit >= _RAISE_AFTER:
            self._raise()

    def refused(self, now: float, started: float, retry_after: float | None) -> float:
        """An attempt got 429: nothing starts for a while, and the rate falls once.

        Args:
            now: the time.
            started: when the attempt went out. One that went out before the hold began tells
                nothing new.
            retry_after: seconds that the endpoint asks for, if it does.

        Returns:
            Seconds that the hold lasts from now.
        """
        self.in_flight -= 1
        self._refused += 1
        self._credit = 0
        if started > self._held_at:
            wait = _HOLDS[min(self._holds, len(_HOLDS) - 1)]
            self._holds += 1
            self._held_at = now
            self._hold_until = now + (wait if retry_after is None else min(retry_after, _HOLD_MAX))
            self._slow_down(now)
        elif retry_after is not None:
            self._hold_until = max(self._hold_until, now + min(retry_after, _HOLD_MAX))
        return max(0.0, self._hold_until - now)

    def failed(self, now: float) -> None:
        """An attempt came to nothing for another reason."""
        self.in_flight -= 1
        self._width.restart(now)

    def rested(self, seconds: float, now: float) -> None:
        """Nothing was asked for so long because somebody wanted it: that is no silence."""
        self._last_success += seconds
        self._width.restart(now)

    def silence(self, now: float) -> float:
        """Seconds since the last success, or since the start."""
        return now - self._last_success

    @property
    def in_flight_most(self) -> int:
        """How many calls may be out: rate x p90 of the latency x 1.5 where a rate is known."""
        if not self.rate:
            return self._width.now
        if len(self._latencies) < _LATENCIES_MIN:
            return self._most
        slow = sorted(self._latencies)[math.ceil(0.9 * len(self._latencies)) - 1]
        return max(1, min(self._most, math.ceil(self.rate / 60.0 * slow * _SPARE)))

    def pace(self, now: float) -> Pace:
        """How fast the endpoint is asked, for screens."""
        _forget(self._successes, now)
        return Pace(
            rate=float(len(self._successes)),
            limit=self.rate,
            in_flight=self.in_flight,
            in_flight_most=self.in_flight_most,
            hold=max(0.0, self._hold_until - now),
            succeeded=self._succeeded,
            refused=self._refused,
        )

    def _next_start(self, now: float) -> float:
        # Without a limit the window is kept, too: it is what the first refusal teaches from.
        _forget(self._starts, now)
        if not self.rate or not self._starts:
            return self._hold_until
        spaced = self._starts[-1] + WINDOW_SECONDS / self.rate
        full = len(self._starts) - max(1, math.floor(self.rate))
        free = self._starts[full] + WINDOW_SECONDS if full >= 0 else -math.inf
        return max(self._hold_until, spaced, free)

    def _raise(self) -> None:
        if self.rate + 1.0 > self._ceiling:
            if self._credit < _RETRY_AFTER:
                return
            self._ceiling = math.inf
        self._credit = 0
        self.rate = min(self.rate + 1.0, max(self.rate, self._start * _RAISE_MAX))

    def _slow_down(self, now: float) -> None:
        if self._local and not self.rate:
            self._width.narrow(now)
            return
        if not self.rate:
            _forget(self._starts, now)
            # A burst that was refused at once tells little: no slower than the hosted rate.
            self.rate = self._start = max(HOSTED_RATE, float(len(self._starts)))
        self._ceiling = self.rate
        self.rate = max(_RATE_MIN, self.rate * _SLOWER)


class _Width:
    """The cap in flight where no rate is known: wider while that raises the throughput."""

    def __init__(self, most: int) -> None:
        self.now = min(_PROBE_FIRST, most)
        self._most = most
        self._before = self.now
        self._best = 0.0
        self._rest = 0
        self._ended = 0
        self._since: float | None = None

    def restart(self, now: float) -> None:
        """What was measured so far says nothing about the cap."""
        self._ended, self._since = 0, now

    def narrow(self, now: float) -> None:
        """The server refused: so many at once are too many, for a while."""
        self.now = self._before = max(1, math.floor(self.now * _SLOWER))
        self._best, self._rest = 0.0, _PROBE_REST
        self.restart(now)

    def ended(self, now: float, in_flight: int) -> None:
        """A call was answered while so many were out, itself included."""
        if self._since is None or in_flight < self.now:
            self.restart(now)
            return
        self._ended += 1
        if self._ended < 2 * self.now or now <= self._since:
            return
        self._judge(self._ended / (now - self._since))
        self.restart(now)

    def _judge(self, throughput: float) -> None:
        if self.now > self._before and throughput < self._best * _PROBE_GAIN:
            self.now, self._rest = self._before, _PROBE_REST
            return
        self._best = throughput
        self._before = self.now
        if self._rest:
            self._rest -= 1
        elif self.now < self._most:
            self.now = min(self._most, 2 * self.now)


def _forget(times: deque[float], now: float) -> None:
    while times and times[0] <= now - WINDOW_SECONDS:
        times.popleft()
