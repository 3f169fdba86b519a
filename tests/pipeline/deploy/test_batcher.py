"""Which texts go together, and what happens to requests when a batch fails or a client leaves."""

import asyncio
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deploy.batcher import (
    FAILURES_MAX,
    Batcher,
    BatchFailed,
    NotFinite,
    QueueFull,
    Waiting,
    take,
)

WAITING = st.builds(Waiting, st.integers(0, 50), st.integers(1, 300))


@given(st.lists(WAITING, min_size=1, max_size=60), st.integers(1, 2000))
def test_a_batch_holds_whose_turn_it_is_and_stays_within_the_budget(queue, budget):
    chosen = take(queue, budget)
    assert len(set(chosen)) == len(chosen)
    assert queue[chosen[0]].turn == min(each.turn for each in queue)
    padded = max(queue[position].length for position in chosen) * len(chosen)
    assert len(chosen) == 1 or padded <= budget


def test_texts_of_like_length_fill_up_a_batch():
    lengths = [100, 5, 99, 300, 101, 7]
    queue = [Waiting(turn, length) for turn, length in enumerate(lengths)]
    assert sorted(take(queue, 303)) == [0, 2, 4]


def test_one_question_does_not_wait_behind_a_corpus_nor_a_corpus_behind_questions():
    order = []

    async def play():
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def embed(ids):
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            order.append([row[0] for row in ids])
            return np.zeros((len(ids), 2), dtype=np.float32)

        batcher = Batcher(embed, 4, 10**6, time.monotonic)
        running = asyncio.ensure_future(batcher.run())
        corpus = asyncio.ensure_future(batcher.embed([[n] * 4 for n in range(100, 110)]))
        await asyncio.sleep(0.05)  # the first batch is at work
        question = asyncio.ensure_future(batcher.embed([[1] * 4]))
        await asyncio.sleep(0.05)
        release.set()
        await asyncio.gather(corpus, question)
        running.cancel()
        batcher.close()

    asyncio.run(play())
    assert order.index([1]) <= 2
    assert [row[0] for row in order if row != [1]] == list(range(100, 110))


def run_batcher(embed, play, queue_tokens_max=10**6):
    async def main():
        batcher = Batcher(embed, 100, queue_tokens_max, time.monotonic)
        running = asyncio.ensure_future(batcher.run())
        try:
            return await play(batcher)
        finally:
            running.cancel()
            batcher.close()

    return asyncio.run(main())


def embed_lengths(ids):
    return np.array([[len(row), row[0]] for row in ids], dtype=np.float32)


def test_vectors_come_back_in_the_order_of_their_texts():
    texts = [[n] * (1 + (7 * n) % 40) for n in range(50)]

    async def play(batcher):
        return await asyncio.gather(batcher.embed(texts), batcher.embed(texts[::-1]))

    one, other = run_batcher(embed_lengths, play)
    assert one.tolist() == [[len(row), row[0]] for row in texts]
    assert other.tolist() == one.tolist()[::-1]


def test_a_failed_batch_fails_its_own_requests_and_repeated_failure_shows():
    def embed(ids):
        if any(row[0] == 13 for row in ids):
            raise RuntimeError("the words of a document")
        return embed_lengths(ids)

    async def play(batcher):
        for count in range(1, FAILURES_MAX + 1):
            assert batcher.healthy
            with pytest.raises(BatchFailed, match=r"^RuntimeError$"):
                await batcher.embed([[13]])
            assert batcher.failures == count
        assert not batcher.healthy
        assert (await batcher.embed([[7]])).tolist() == [[1, 7]]
        assert batcher.healthy

    run_batcher(embed, play)


def test_numbers_that_are_not_finite_fail_the_request_that_they_belong_to():
    def embed(ids):
        vectors = embed_lengths(ids)
        vectors[[row[0] == 13 for row in ids]] = np.nan
        return vectors

    async def play(batcher):
        return await asyncio.gather(
            batcher.embed([[1], [13]]), batcher.embed([[2]]), return_exceptions=True
        )

    bad, good = run_batcher(embed, play)
    assert isinstance(bad, NotFinite)
    assert good.tolist() == [[1, 2]]


def test_too_much_waiting_is_refused_with_a_time_and_a_large_request_alone_is_not():
    def embed(ids):
        time.sleep(0.02)
        return embed_lengths(ids)

    async def play(batcher):
        large = asyncio.ensure_future(batcher.embed([[n] * 50 for n in range(10)]))
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFull) as caught:
            await batcher.embed([[1] * 60])
        assert caught.value.retry_after_seconds >= 1
        assert len(await large) == 10
        assert len(await batcher.embed([[1] * 60])) == 1

    run_batcher(embed, play, queue_tokens_max=100)


def test_a_client_that_leaves_takes_its_texts_out_of_the_queue():
    seen = []

    def embed(ids):
        seen.extend(row[0] for row in ids)
        time.sleep(0.05)
        return embed_lengths(ids)

    async def play(batcher):
        first = asyncio.ensure_future(batcher.embed([[1] * 100]))
        await asyncio.sleep(0.02)
        leaves = asyncio.ensure_future(batcher.embed([[2] * 100] * 20))
        await asyncio.sleep(0)
        leaves.cancel()
        await first
        assert len(await batcher.embed([[3]])) == 1

    run_batcher(embed, play)
    assert seen == [1, 3]
