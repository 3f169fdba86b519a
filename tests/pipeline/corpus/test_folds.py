from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.folds import (
    Assignment,
    Ledger,
    deal,
    nth_assignment,
    read_ledger,
    role_of,
    split_groups,
    supplied_assignment,
    write_ledger,
)
from pipeline.errors import BadInput
from pipeline.files import digest_value


def ident(number):
    return "d" + digest_value(number)[:16]


def singles(numbers):
    return {ident(number): [ident(number)] for number in numbers}


def deal_singles(numbers, ledger=None):
    paths = {ident(number): f"{number}.md" for number in numbers}
    return deal(singles(numbers), paths, ledger or Ledger())


def roles(ledger, numbers, test_fold=0):
    return Counter(role_of(ledger.documents[ident(number)], test_fold) for number in numbers)


@pytest.mark.parametrize("count", range(3, 200))
def test_roles_are_seventy_ten_twenty_within_one_group(count):
    found = roles(deal_singles(range(count)), range(count))
    assert abs(found["test"] - 0.2 * count) < 1
    assert abs(found["dev"] - 0.1 * count) < 1
    assert min(found["train"], found["dev"], found["test"]) >= 1


def test_every_rotation_tests_a_fifth_and_watches_a_tenth():
    ledger = deal_singles(range(400))
    for fold in range(5):
        assert roles(ledger, range(400), fold) == {"train": 280, "dev": 40, "test": 80}
    tested = [
        ident(number)
        for fold in range(5)
        for number in range(400)
        if role_of(ledger.documents[ident(number)], fold) == "test"
    ]
    assert len(set(tested)) == len(tested) == 400


def test_forty_groups_hold_every_pair_of_fold_and_octant():
    assert len({nth_assignment(index) for index in range(40)}) == 40
    assert nth_assignment(41) == nth_assignment(1)


def test_one_or_two_groups_still_train():
    assert roles(deal_singles([1]), [1]) == {"train": 1}
    assert roles(deal_singles([1, 2]), [1, 2]) == {"train": 1, "test": 1}


@given(st.lists(st.integers(0, 500), unique=True, min_size=1, max_size=60), st.data())
def test_a_grown_corpus_moves_no_old_document(numbers, data):
    size = data.draw(st.integers(1, len(numbers)))
    before = deal_singles(numbers[:size])
    after = deal_singles(numbers, before)
    assert {key: after.documents[key] for key in before.documents} == before.documents
    assert deal_singles(numbers, after) == after
    found = roles(after, numbers)
    assert abs(found["test"] - 0.2 * len(numbers)) < 1
    assert abs(found["dev"] - 0.1 * len(numbers)) < 1


def test_documents_that_went_away_come_back_to_their_place():
    first = deal_singles(range(20))
    shrunk = deal_singles(range(5), first)
    assert deal_singles(range(20), shrunk).documents == first.documents


def test_the_order_of_the_input_doesnt_count():
    forth = deal(singles(range(50)), {}, Ledger())
    back = deal(dict(reversed(singles(range(50)).items())), {}, Ledger())
    assert forth == back


def test_a_new_near_duplicate_takes_the_place_of_its_group():
    before = deal_singles(range(10))
    groups = singles(range(9)) | {ident(9): [ident(9), "d-new"]}
    after = deal(groups, {"d-new": "new.md"}, before)
    assert after.documents["d-new"] == before.documents[ident(9)]
    assert after.dealt == before.dealt


def test_a_document_between_two_folds_goes_to_test_and_the_old_ones_stay():
    places = {"d1": Assignment(3, 0), "d2": Assignment(0, 4), "d3": Assignment(2, 2)}
    ledger = Ledger(places, {}, 40)
    groups = {"d0": ["d0", "d1", "d2", "d3"]}
    after = deal(groups, {}, ledger)
    assert after.documents == {**places, "d0": places["d2"]}
    without_test = deal({"d0": ["d0", "d1", "d3"]}, {}, ledger)
    assert without_test.documents["d0"] == places["d1"]
    folds = {key: place.fold for key, place in after.documents.items()}
    assert split_groups(groups, folds) == {"d0": (0, 2, 3)}


def test_an_edited_document_stays_where_its_path_was():
    before = deal_singles(range(10))
    after = deal({"d-edited": ["d-edited"]}, {"d-edited": "4.md"}, before)
    assert after.documents["d-edited"] == before.documents[ident(4)]
    assert after.paths["4.md"] == "d-edited"


def test_a_path_that_several_new_documents_share_says_nothing():
    before = deal_singles([1])
    paths = {"d-a": "1.md", "d-b": "1.md"}
    after = deal({"d-a": ["d-a"], "d-b": ["d-b"]}, paths, before)
    assert after.dealt == 3


def test_a_group_that_would_swamp_the_test_part_trains():
    # "d1" comes second by hash order and would test.
    groups = {"d0": ["d0"], "d1": ["d1", *(f"d1{n}" for n in range(50))]} | {
        f"d{n}": [f"d{n}"] for n in range(2, 9)
    }
    ledger = deal(groups, {}, Ledger())
    assert role_of(ledger.documents["d1"]) == "train"


@given(st.integers(0, 2**64 - 1), st.sampled_from(["train", "dev", "test"]))
def test_supplied_roles_come_back(number, role):
    assert role_of(supplied_assignment(f"d{number:016x}", role)) == role


def test_the_ledger_survives_the_disk(tmp_path):
    path = tmp_path / "corpus" / "folds.json"
    assert read_ledger(path) == Ledger()
    ledger = deal_singles(range(7))
    write_ledger(path, ledger)
    assert read_ledger(path) == ledger


@pytest.mark.parametrize(
    "content",
    ["[]", '{"format": 2}', '{"format": 1, "documents": {"d": {"fold": 1}}}', "{"],
)
def test_a_damaged_ledger_is_named_and_never_guessed_at(tmp_path, content):
    path = tmp_path / "folds.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"folds\.json"):
        read_ledger(path)
