"""The orders of reading."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.audit import AUDIT_SIZE
from pipeline.review.draw import AuditDraw
from pipeline.review.queue import IN_A_ROW, ORDERS, build_order, extend_order


def _entries(make_entry, count, role="train"):
    return [
        make_entry(f"q-{role}-{n:03}", (n % 101) / 10, role=role, passage=f"p-{n % 40}")
        for n in range(count)
    ]


def test_test_questions_come_first_then_the_audit_then_the_doubtful(make_entry):
    train, test = _entries(make_entry, 100), _entries(make_entry, 10, "test")
    draw = AuditDraw(seed=1)
    draw.add([*train, *test])
    audit = draw.draw(7.0, {})
    order = build_order("queue", [*train, *test], 7.0, audit)
    assert sorted(order) == sorted(s.id for s in [*train, *test])
    assert {name[:6] for name in order[:10]} == {"q-test"}
    assert order[10 : 10 + len(audit)] == audit
    scores = {s.id: s.score for s in train}
    bands = [abs(scores[name] - 7) // 0.5 for name in order[10 + len(audit) :]]
    assert bands == sorted(bands)


_DRAFTS = st.lists(
    st.tuples(
        st.sampled_from([None, 2.0, 6.8, 7.0, 7.1, 7.2, 9.0]),
        st.integers(0, 3),  # document
        st.integers(0, 2),  # passage of the document
    ),
    max_size=40,
)


def _drafted(make_entry, drafts):
    return [
        make_entry(f"q-{n:02}", score, document=f"d-{doc}", passage=f"p-{doc}-{slice_}")
        for n, (score, doc, slice_) in enumerate(drafts)
    ]


@given(_DRAFTS)
def test_the_queue_gives_three_of_a_document_in_a_row_unless_nothing_else_is_left(
    make_entry, drafts
):
    entries = {e.id: e for e in _drafted(make_entry, drafts)}
    documents = [entries[name].document for name in build_order("queue", entries.values(), 7.0)]
    for place in range(len(documents) - IN_A_ROW):
        row = documents[place : place + IN_A_ROW + 1]
        if len(set(row)) == 1:
            assert set(documents[place:]) == set(row)


def test_samples_of_one_passage_and_like_distance_are_read_together(make_entry):
    entries = [
        make_entry("q-1", 7.0, passage="p-a"),
        make_entry("q-2", 7.1, passage="p-b"),
        make_entry("q-3", 7.2, passage="p-a"),
        make_entry("q-4", 9.9, passage="p-a"),
    ]
    assert build_order("queue", entries, 7.0) == ("q-1", "q-3", "q-2", "q-4")


@given(_DRAFTS, st.sampled_from(ORDERS))
def test_every_order_has_every_sample_once_and_forgets_the_order_of_arrival(
    make_entry, drafts, order
):
    entries = _drafted(make_entry, drafts)
    built = build_order(order, entries, 7.0)
    assert sorted(built) == [entry.id for entry in entries]
    if order in ("queue", "flags"):
        assert build_order(order, entries[::-1], 7.0) == built


def test_by_document_follows_path_and_reading_order(make_entry):
    entries = [
        make_entry("q-1", path="b.md", place=5),
        make_entry("q-2", path="a.md", place=900),
        make_entry("q-3", path="a.md", place=20, offset=7),
        make_entry("q-4", path="a.md", place=20, offset=3),
    ]
    assert build_order("document", entries, 7.0) == ("q-4", "q-3", "q-2", "q-1")


def test_by_score_the_best_come_first_and_the_unscored_last(make_entry):
    entries = [make_entry("q-1", 3.0), make_entry("q-2", None), make_entry("q-3", 9.0)]
    assert build_order("score", entries, 7.0) == ("q-3", "q-1", "q-2")


def test_by_flags_a_high_score_that_a_check_doubts_comes_first(make_entry):
    entries = [
        make_entry("q-1", 7.1),
        make_entry("q-2", 4.0, flags=["copied"]),
        make_entry("q-3", 9.5, flags=["copied"], blocking=True),
        make_entry("q-4", None, flags=["pointing"], blocking=True),
        make_entry("q-5", 10.0),
    ]
    assert build_order("flags", entries, 7.0) == ("q-3", "q-2", "q-4", "q-1", "q-5")


def test_samples_without_a_score_are_read_last(make_entry):
    low, none = make_entry("q-low", 0.0), make_entry("q-none", None, blocking=True)
    assert build_order("queue", [none, low], 7.0) == ("q-low", "q-none")


def test_what_arrives_follows_and_what_stood_stays(make_entry):
    before = build_order("score", [make_entry("q-1", 5.0), make_entry("q-2", 6.0)], 7.0)
    after = extend_order(before, "score", [make_entry("q-3", 8.0), make_entry("q-4", 9.0)], 7.0)
    assert after == ("q-2", "q-1", "q-4", "q-3")


def test_the_audit_is_random_by_seed_and_free_of_arrival_order(make_entry):
    train = [make_entry(f"q-{n:03}", 9.0) for n in range(100)]
    first, again, other = AuditDraw(seed=1), AuditDraw(seed=1), AuditDraw(seed=2)
    first.add(train)
    for entry in train[::-1]:
        again.add([entry])
    other.add(train)
    drawn = first.draw(7.0, {})
    assert len(drawn) == AUDIT_SIZE
    assert again.draw(7.0, {}) == drawn
    assert other.draw(7.0, {}) != drawn
    assert list(drawn) != sorted(drawn)
