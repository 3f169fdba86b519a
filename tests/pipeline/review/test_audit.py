"""Wilson's interval against published values and its own equation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.audit import share_interval


def test_twenty_good_of_twenty_mean_at_least_84_of_100():
    interval = share_interval(20, 20)
    assert round(interval.low, 2) == 0.84
    assert interval.high == 1.0


@pytest.mark.parametrize(
    ("good", "read", "low", "high"), [(30, 30, 0.89, 1.0), (28, 30, 0.79, 0.98), (0, 20, 0.0, 0.16)]
)
def test_intervals_have_their_known_values(good, read, low, high):
    interval = share_interval(good, read)
    assert (round(interval.low, 2), round(interval.high, 2)) == (low, high)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_ends_lie_1_96_standard_errors_from_the_share(counts):
    good, read = counts
    interval, share = share_interval(good, read), good / read
    assert 0 <= interval.low <= share + 1e-12
    assert share - 1e-12 <= interval.high <= 1
    for end in (interval.low, interval.high):
        if 1e-9 < end < 1 - 1e-9:
            error = math.sqrt(end * (1 - end) / read)
            assert abs(share - end) / error == pytest.approx(1.959964, abs=1e-4)


def test_nothing_read_says_nothing():
    interval = share_interval(0, 0)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_more_good_than_read_is_refused():
    with pytest.raises(ValueError, match="3 good of 2"):
        share_interval(3, 2)
