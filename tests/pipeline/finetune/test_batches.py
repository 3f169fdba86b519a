"""Batches: every example once an epoch, every known answer masked."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.finetune import examples as texts_module
from pipeline.finetune.batches import Sampler, text_marks, unrelated
from pipeline.finetune.examples import (
    TokenStore,
    read_training_set,
    tokenized,
    with_negatives,
)
from pipeline.prep.records import TrainingExample
from pipeline.schedule import schedule_for
from pipeline.settings import FinetuneSettings

PASSAGES = {f"p-{n}": f"passage number {n}" for n in range(12)}


def example(number: int, positives: list[int], negatives: list[int], question: str = ""):
    return TrainingExample(
        query=f"q-{number}",
        question=question or f"question {number}",
        positives=tuple(f"p-{n}" for n in positives),
        negatives=tuple((f"p-{n}", 0.5) for n in negatives),
        positive_score=0.9,
        shortfall="",
    )


def tokenize(texts, kind):
    """Every text its own number, so that ids can be read back."""
    return [[int(text.rsplit(" ", 1)[-1])] for text in texts]


def sampler_for(examples, passages=PASSAGES, *, hard=4, in_batch=True, batch=2, epochs=1, seed=1):
    data = read_training_set(examples, passages, tokenize, hard)
    settings = FinetuneSettings(batch_size=batch, auto_scale=False, epochs=epochs)
    schedule = schedule_for(len(data.rows), settings)
    return data, schedule, Sampler(data, schedule, seed, in_batch)


def softmaxes(data, batch) -> dict[int, tuple[int, set[int]]]:
    """By question number: the positive's number and the numbers of its negatives."""
    queries = [data.queries[text][0] for text in batch.queries]
    passages = [data.passages[text][0] for text in batch.passages]
    found = {}
    for row, positive, allowed in zip(
        batch.row_query.tolist(), batch.positive.tolist(), batch.allowed.tolist(), strict=True
    ):
        inside = {passages[column] for column, flag in enumerate(allowed) if flag}
        found[queries[row]] = (passages[positive], inside - {passages[positive]})
    return found


def test_negatives_of_a_query_are_its_own_and_those_of_the_batch():
    data, _, sampler = sampler_for([example(0, [0], [2, 3]), example(1, [1], [3, 4])])
    batch = sampler.batch(0)
    assert softmaxes(data, batch) == {0: (0, {1, 2, 3, 4}), 1: (1, {0, 2, 3, 4})}
    assert len(batch.texts(data)) == 2 + 5  # passage 3 is embedded once
    assert batch.negatives == 8


def test_without_in_batch_negatives_a_query_sees_its_own_only():
    examples = [example(0, [0], [2, 3]), example(1, [1], [3, 4])]
    data, _, sampler = sampler_for(examples, in_batch=False)
    assert softmaxes(data, sampler.batch(0)) == {0: (0, {2, 3}), 1: (1, {3, 4})}


def test_an_answer_is_no_negative_wherever_it_comes_from():
    # Passage 2 answers both questions; the second one has it among its mined negatives too.
    examples = [example(0, [2], [5]), example(1, [1, 2], [2, 6])]
    data, _, sampler = sampler_for(examples)
    for seed in range(6):
        _, _, sampler = sampler_for(examples, seed=seed)
        found = softmaxes(data, sampler.batch(0))
        assert found[0] == (2, {1, 5, 6} if found[1][0] == 1 else {5, 6})
        assert not found[1][1] & {1, 2}


def test_one_question_asked_twice_has_the_answers_of_both():
    examples = [
        example(0, [0], [2], "What  is it 7"),
        example(1, [1], [3], "what is IT 7"),
    ]
    data, _, sampler = sampler_for(examples)
    batch = sampler.batch(0)
    assert len(batch.queries) == 1
    allowed = batch.allowed.tolist()
    places = [data.passages[text][0] for text in batch.passages]
    for row, positive in zip(allowed, batch.positive.tolist(), strict=True):
        inside = {places[column] for column, flag in enumerate(row) if flag}
        assert inside == {places[positive], 2, 3}


def test_identical_passages_are_one_text_and_no_negatives_of_each_other():
    passages = {"p-0": "The same  text 0", "p-1": "the SAME text 0", "p-2": "other 2"}
    examples = [example(0, [0], [1, 2]), example(1, [1], [2])]
    data, _, sampler = sampler_for(examples, passages)
    assert len(data.passages) == 2
    assert softmaxes(data, sampler.batch(0)) == {0: (0, {2}), 1: (0, {2})}


def test_fewer_negatives_than_asked_are_simply_fewer():
    data, _, _ = sampler_for([example(0, [0], [1, 2, 3, 4, 5, 6]), example(1, [1], [2])], hard=4)
    assert [len(row.negatives) for row in data.rows] == [4, 1]


def test_every_positive_of_a_query_has_its_turn():
    examples = [example(0, [0, 1, 2], [5]), example(1, [3], [6])]
    data, schedule, sampler = sampler_for(examples, epochs=6)
    drawn = [softmaxes(data, sampler.batch(step))[0][0] for step in range(schedule.total_steps)]
    assert Counter(drawn) == {0: 2, 1: 2, 2: 2}


def test_answers_among_the_others_passages_are_counted_as_masked():
    # Both know passages 0 and 1; each has one of them as its positive, and 1 as a mined negative.
    examples = [example(0, [0, 1], [5]), example(1, [0, 1], [1, 6])]
    for positives, seed in product(("one", "each"), range(4)):
        data, schedule, _ = sampler_for(examples)
        batch = Sampler(data, schedule, seed, True, positives).batch(0)
        drawn = len(batch.passages) - 2
        wanted = {"one": 2 * (drawn - 1), "each": 0}[positives]
        assert batch.masked == wanted
        assert batch.negatives == 4


def test_triplets_and_groups_are_ragged():
    examples = [example(0, [0, 1], [5, 6]), example(1, [2], []), example(2, [3], [7])]
    data, schedule, _ = sampler_for(examples, batch=3)
    batch = Sampler(data, schedule, 1, True, "each").batch(0)
    numbers = [data.passages[text][0] for text in batch.passages]
    rows = [data.queries[batch.queries[row]][0] for row in batch.row_query.tolist()]
    found = {
        (rows[row], numbers[positive], numbers[negative])
        for row, positive, negative in batch.triplets().tolist()
    }
    assert found == {(0, 0, 5), (0, 0, 6), (0, 1, 5), (0, 1, 6), (2, 3, 7)}
    columns, members = batch.groups()
    groups = {
        row: {numbers[column] for column in across[inside].tolist()}
        for row, across, inside in zip(rows, columns, members, strict=True)
    }
    assert groups == {0: {0, 1, 5, 6}, 1: {2}, 2: {3, 7}}


def test_a_batch_without_mined_negatives_has_no_triplet():
    _, _, sampler = sampler_for([example(0, [0], []), example(1, [1], [])])
    assert sampler.batch(0).triplets().shape == (0, 3)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(2, 70), batch=st.integers(2, 20), seed=st.integers(0, 5))
def test_an_epoch_sees_every_example_once_in_even_batches(count, batch, seed):
    examples = [example(n, [n % 12], [(n + 1) % 12]) for n in range(count)]
    data, schedule, sampler = sampler_for(examples, batch=batch, epochs=2, seed=seed)
    orders = []
    for epoch in range(2):
        steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
        batches = [sampler.batch(step) for step in steps]
        assert {one.epoch for one in batches} == {epoch}
        sizes = [len(one.row_query) for one in batches]
        assert max(sizes) <= batch
        assert max(sizes) - min(sizes) <= 1
        order = [data.queries[b.queries[row]][0] for b in batches for row in b.row_query.tolist()]
        assert sorted(order) == list(range(count))
        orders.append(order)
    if count > 8:
        assert orders[0] != orders[1]


def test_a_batch_depends_on_seed_and_step_alone():
    examples = [example(n, [n % 12], [(n + 1) % 12]) for n in range(30)]
    _, _, one = sampler_for(examples, batch=8, epochs=2)
    _, _, other = sampler_for(examples, batch=8, epochs=2)
    for step in (5, 0, 3):
        first, second = one.batch(step), other.batch(step)
        assert first.queries == second.queries
        assert first.passages == second.passages
        assert torch.equal(first.allowed, second.allowed)


def negatives(batch) -> bool:
    return batch.negatives > 0


def test_a_training_without_any_negative_is_refused_before_its_first_step():
    examples = [example(0, [0], []), example(1, [1], [])]
    _, schedule, good = sampler_for(examples)
    assert good.check(negatives, range(schedule.total_steps)) == ""
    _, schedule, bad = sampler_for(examples, in_batch=False)
    with pytest.raises(BadInput, match="No batch of this training has a negative"):
        bad.check(negatives, range(schedule.total_steps))


@pytest.mark.parametrize("seed", range(4))
def test_some_batches_without_negatives_are_counted_and_no_more(seed):
    examples = [example(n, [0 if n < 95 else n - 94], []) for n in range(100)]
    _, schedule, sampler = sampler_for(examples, batch=15, epochs=3, seed=seed)
    steps = range(schedule.total_steps)
    idle = [step for step in steps if not sampler.batch(step).negatives]
    assert 0 < len(idle) < schedule.total_steps == 21
    said = sampler.check(negatives, steps)
    assert f"In {len(idle)} of the training steps 1 to 21 ({len(idle) / 21:.1%})" in said
    assert "finetune.batch_size" in said
    one, number = range(idle[-1], idle[-1] + 1), idle[-1] + 1
    assert f"In 1 of the training steps {number} to {number} (100.0%)" in sampler.check(
        negatives, one
    )


def test_numbering_holds_no_copy_of_the_texts():
    count = 400
    texts = {f"p-{n}": f"Some  text {n} " + "LONG " * 2000 + str(n) for n in range(count)}
    size = sum(map(len, texts.values()))
    examples = [example(n, [n], [n + 1]) for n in range(count - 1)]
    data = read_training_set(examples, texts, tokenize, 4, texts)
    assert len(data.passages) == count
    fresh = [[f"p-{count - 1 - n}"] for n in range(count - 1)]
    tracemalloc.start()
    rows = with_negatives(data, texts, fresh, 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 10
    assert [row.negatives for row in rows[:2]] == [(count - 1,), (count - 2,)]


def test_pairs_that_share_a_text_are_no_negatives_of_each_other():
    pairs = [("a", "x"), ("A ", "y"), ("b", "X"), ("c", "z")]
    assert unrelated([text_marks(*pair) for pair in pairs]).tolist() == [
        [True, False, False, True],
        [False, True, True, True],
        [False, True, True, True],
        [True, True, True, True],
    ]


@given(texts=st.lists(st.lists(st.integers(0, 2**20), max_size=5), max_size=6))
def test_a_token_store_gives_back_what_it_was_given(texts):
    store = TokenStore(texts)
    assert [store[number] for number in range(len(store))] == texts
    assert [store.length(number) for number in range(len(store))] == [len(text) for text in texts]


def test_texts_are_tokenised_some_at_a_time_and_keep_their_order(monkeypatch):
    monkeypatch.setattr(texts_module, "TEXTS_AT_ONCE", 4)
    calls = []

    def numbers(texts, kind):
        calls.append((len(texts), kind))
        return tokenize(texts, kind)

    found = tokenized(numbers, [f"text {n}" for n in range(10)], "query")
    assert next(found) == [0]
    assert calls == [(4, "query")], "the rest is not in memory yet"
    assert list(found) == [[n] for n in range(1, 10)]
    assert calls[1:] == [(4, "query"), (2, "query")]
