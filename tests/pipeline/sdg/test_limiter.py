"""The pace: rules one by one, and the benchmark's figures, which virtual time makes exact."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from pipeline.sdg.limiter import HOSTED, HOSTED_RATE, Limiter, start_rate

_PATH = Path(__file__).parents[2] / "benchmarks" / "limiter.py"
_SPEC = importlib.util.spec_from_file_location("limiter_benchmark", _PATH)
benchmark = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = benchmark
_SPEC.loader.exec_module(benchmark)


def starts(limiter, until, now=0.0, seconds=1.0):
    """Starts as often as may be, every call answered at once."""
    times = []
    while now < until:
        now += limiter.delay(now)
        if now < until:
            limiter.started(now)
            limiter.succeeded(now, seconds)
            times.append(now)
    return times


@pytest.mark.parametrize("limit", [40, 25])
@pytest.mark.parametrize("denied_count", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_unknown_limit_costs_little_time_and_few_refusals(limit, denied_count, seed):
    figures = benchmark.measure(benchmark.ours, limit, denied_count, seed)
    assert figures.answered == benchmark.REQUESTS
    assert figures.lost == 0
    assert figures.minutes <= 1.2 * figures.ideal
    assert figures.refused < 0.03 * figures.attempts


def test_retries_alone_lose_requests_where_ours_loses_none():
    figures = benchmark.measure(lambda world: benchmark.retrying(world, 2), 40, False)
    assert figures.lost > 100


def test_starts_are_evenly_spaced_and_never_more_than_the_rate_in_a_minute():
    times = starts(Limiter(15.0, 32, 0.0), 60.0)
    assert times == [4.0 * number for number in range(15)]


def test_a_refusal_holds_everybody_and_slows_down_once():
    limiter = Limiter(40.0, 32, 0.0)
    for now in (0.0, 2.0, 4.0):
        limiter.started(now)
    assert limiter.refused(5.0, 0.0, None) == 15.0
    assert limiter.refused(6.0, 2.0, None) == 14.0
    assert limiter.delay(7.0) == 13.0
    assert limiter.rate == 32.0
    limiter.started(20.0)
    assert limiter.refused(21.0, 20.0, None) == 30.0
    assert limiter.rate == pytest.approx(25.6)
    for now, wait in ((60.0, 60.0), (130.0, 60.0)):
        limiter.started(now)
        assert limiter.refused(now, now, None) == wait


def test_retry_after_is_obeyed_within_reason():
    limiter = Limiter(40.0, 32, 0.0)
    for retry_after, hold in ((7.0, 7.0), (9999.0, 120.0)):
        limiter.started(hold)
        assert limiter.refused(hold, hold, retry_after) == hold


def test_twenty_successes_earn_one_a_minute_up_to_half_more_than_the_start():
    limiter = Limiter(40.0, 32, 0.0)
    for number in range(20):
        limiter.started(number)
        limiter.succeeded(number, 1.0)
    assert limiter.rate == 41.0
    for number in range(2000):
        limiter.started(number)
        limiter.succeeded(number, 1.0)
    assert limiter.rate == 60.0


def test_calls_in_flight_follow_littles_law_and_never_pass_the_most():
    limiter = Limiter(40.0, 32, 0.0)
    for seconds, most in ((15.0, 15), (0.1, 1), (500.0, 32)):
        for number in range(64):
            limiter.started(number)
            limiter.succeeded(number, seconds)
        assert limiter.in_flight_most == pytest.approx(most, abs=8 if most == 15 else 0)


def test_without_a_limit_nothing_waits_until_the_first_refusal_teaches_one():
    limiter = Limiter(0.0, 4, 0.0)
    for _ in range(4):
        assert limiter.delay(0.0) == 0.0
        limiter.started(0.0)
    assert limiter.delay(0.0) == math.inf
    limiter.refused(1.0, 0.0, 2.0)
    assert limiter.rate == HOSTED_RATE * 0.8
    assert limiter.delay(1.0) == 2.0


def test_a_server_on_this_machine_gets_fewer_at_once_and_no_rate():
    limiter = Limiter(0.0, 32, 0.0, local=True)
    most = limiter.in_flight_most
    limiter.started(0.0)
    limiter.refused(1.0, 0.0, 2.0)
    assert limiter.rate == 0.0
    assert limiter.delay(1.0) == 2.0
    assert limiter.in_flight_most == math.floor(0.8 * most)


@pytest.mark.parametrize(("serves", "settled"), [(100, 64), (8, 32)])
def test_the_cap_grows_while_it_raises_the_throughput(serves, settled):
    """A server that works on so many calls at once, a second each."""
    limiter, now = Limiter(0.0, 64, 0.0), 0.0
    widest = 0
    for _ in range(40):
        out = 0
        while limiter.delay(now) == 0.0:
            limiter.started(now)
            out += 1
        widest = max(widest, out)
        for number in range(out):
            now += 1.0 / min(out, serves)
            limiter.succeeded(now, 1.0)
            if number < out - 1:
                limiter.started(now)
                limiter.succeeded(now, 1.0)
    assert widest <= settled


def test_silence_counts_from_the_last_success_and_not_while_paused():
    limiter = Limiter(0.0, 4, 0.0)
    limiter.rested(500.0, 500.0)
    assert limiter.silence(600.0) == 100.0
    limiter.started(600.0)
    limiter.succeeded(610.0, 10.0)
    assert limiter.silence(611.0) == 1.0


def test_the_rate_to_begin_with():
    assert start_rate(HOSTED, False, 0.0) == HOSTED_RATE
    assert start_rate(HOSTED, False, 90.0) == 90.0
    assert start_rate("127.0.0.1:8000", True, 0.0) == 0.0
    assert start_rate("api.example.com", False, 0.0) == 0.0
