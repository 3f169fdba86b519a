from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.mining.rules import NUMBERS, choose, main_reason
from pipeline.settings import PrepSettings

KNOWN = {number: reason for reason, number in NUMBERS.items()}


def by_candidate(scores, known, limit, recipe, query):
    """The rule, one candidate after another: places, what was set aside, whether it is enough."""
    skipped = recipe.skip if recipe.rule == "shifted" else 0
    wanted = skipped + max(recipe.hard_negatives, recipe.sample_from)
    left, aside = [], []
    for place, score in enumerate(scores):
        if len(left) == wanted:
            break
        reason = KNOWN.get(known[place]) or ("too_close" if score > limit else None)
        (aside.append(reason) if reason else left.append(place))
    if skipped and left:
        aside += ["skipped"] * min(skipped, len(left))
    free = left[skipped:]
    if recipe.sample_from:
        free = sorted(free, key=lambda place: hashlib.sha256(name(query, place).encode()).digest())
    places = tuple(sorted(free[: recipe.hard_negatives]))
    return places, {one: aside.count(one) for one in dict.fromkeys(aside)}, len(left) == wanted


def name(query, place):
    return f"{query}-{place}"


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(0, 30)),
    recipe=st.builds(
        PrepSettings,
        rule=st.sampled_from(["percentage", "shifted"]),
        hard_negatives=st.integers(0, 6),
        sample_from=st.sampled_from([0, 0, 4, 40]),
        skip=st.integers(0, 4),
    ),
    data=st.data(),
)
def test_choosing_for_many_queries_is_choosing_candidate_by_candidate(shape, recipe, data):
    scores = data.draw(arrays(np.float64, shape, elements=st.sampled_from([0.1, 0.2, 0.3, 0.4])))
    scores = -np.sort(-scores, axis=1)
    reasons = st.sampled_from([0, 0, 0, *(NUMBERS[r] for r in ("answers", "near_copy"))])
    known = data.draw(arrays(np.uint8, shape, elements=reasons))
    limits = data.draw(arrays(np.float64, shape[0], elements=st.sampled_from([0.1, 0.3, np.inf])))
    found = choose(scores, known, limits, recipe, name)
    for query, choice in enumerate(found):
        places, aside, enough = by_candidate(
            scores[query].tolist(), known[query].tolist(), limits[query], recipe, query
        )
        assert (choice.places, choice.enough) == (places, enough)
        # Of reasons that cost as much, the one that came first is named.
        assert list(choice.set_aside.items()) == list(aside.items())


def test_of_reasons_that_cost_as_much_the_first_is_the_main_one():
    scores = np.array([[0.9, 0.8, 0.7, 0.6]])
    known = np.array([[NUMBERS["near_copy"], 0, NUMBERS["answers"], 0]], dtype=np.uint8)
    (choice,) = choose(scores, known, np.array([0.75]), PrepSettings(), name)
    assert choice.set_aside == {"near_copy": 1, "too_close": 1, "answers": 1}
    assert main_reason(choice.set_aside) == "near_copy"
