"""The order of reading."""

from pipeline.review.audit import AUDIT_SIZE
from pipeline.review.queue import queue_order


def _samples(make_sample, count, role="train"):
    return [make_sample(f"q-{role}-{n:03}", (n % 101) / 10, role=role) for n in range(count)]


def test_test_questions_come_first_then_the_audit_then_the_doubtful(make_sample):
    train, test = _samples(make_sample, 100), _samples(make_sample, 10, "test")
    order = queue_order([*train, *test], 7.0, seed=1)
    assert sorted(order) == sorted(s.id for s in [*train, *test])
    scores = {s.id: s.score for s in [*train, *test]}
    assert {name[:6] for name in order[:10]} == {"q-test"}
    audit, rest = order[10 : 10 + AUDIT_SIZE], order[10 + AUDIT_SIZE :]
    assert len(audit) == min(AUDIT_SIZE, sum(s.score >= 7 for s in train))
    assert all(scores[name] >= 7 for name in audit)
    distances = [abs(scores[name] - 7) for name in rest]
    assert distances == sorted(distances)


def test_the_audit_is_random_by_seed_and_free_of_arrival_order(make_sample):
    train = [make_sample(f"q-{n:03}", 9.0) for n in range(100)]
    first = queue_order(train, 7.0, seed=1)[:AUDIT_SIZE]
    assert queue_order(train[::-1], 7.0, seed=1)[:AUDIT_SIZE] == first
    assert queue_order(train, 7.0, seed=2)[:AUDIT_SIZE] != first
    assert list(first) != sorted(first)


def test_the_audit_never_draws_what_a_check_blocks_and_takes_few_when_few_are_kept(make_sample):
    train = [make_sample(f"q-{n}", 9.0, blocked=n != 3) for n in range(8)]
    order = queue_order(train, 7.0, seed=1)
    assert order[0] == "q-3"
    assert len(order) == 8


def test_samples_without_a_score_are_read_last(make_sample):
    low, none = make_sample("q-low", 0.0), make_sample("q-none", None, blocked=True)
    assert queue_order([none, low], 7.0, seed=1) == ("q-low", "q-none")
