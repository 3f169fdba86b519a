"""Which queries the fine-tuned model misses, in order of harm, and which it newly finds."""

import subprocess
import sys

import pytest
from measured import ranked_set, write_evaluation

from pipeline.beir import EvalSet
from pipeline.errors import BadInput
from pipeline.eval.misses import Relevant, Winner, find_misses, load_misses
from pipeline.eval.records import SYSTEMS, QueryResult

PLACES = {
    "q-found": (1, 1, 1),
    "q-won": (None, 3, None),
    "q-won-top": (12, 1, 2),
    "q-lost": (1, None, 4),
    "q-lost-far": (9, 25, None),
    "q-as-bad": (20, 20, 20),
    "q-never": (None, None, None),
    "q-better": (30, 15, 1),
}


@pytest.fixture
def folder(tmp_path):
    write_evaluation(tmp_path, {"mine": ranked_set(PLACES)})
    return tmp_path


def test_misses_are_those_beyond_k_with_the_most_harm_first(folder):
    found = load_misses(folder, "mine", 10)
    assert [miss.query for miss in found.misses] == [
        *("q-lost", "q-lost-far"),
        *("q-never", "q-as-bad", "q-better"),
    ]
    assert [miss.worse for miss in found.misses] == [True, True, False, False, False]
    assert (found.set, found.k, found.queries) == ("mine", 10, 8)


def test_wins_are_what_the_base_misses_and_the_model_finds(folder):
    assert [win.query for win in load_misses(folder, "mine", 10).wins] == ["q-won-top", "q-won"]
    assert [win.query for win in load_misses(folder, "mine", 2).wins] == ["q-won-top"]


def test_k_decides_what_counts_as_found(folder):
    assert [m.query for m in load_misses(folder, "mine", 1).misses][:1] == ["q-lost"]
    assert "q-won" in [m.query for m in load_misses(folder, "mine", 1).misses]
    assert {m.query for m in load_misses(folder, "mine", 100).misses} == {"q-lost", "q-never"}


def test_a_miss_shows_what_was_wanted_where_it_came_and_what_won(folder):
    miss = load_misses(folder, "mine", 10).misses[0]
    assert miss.text == "What is q-lost?"
    assert miss.relevant == (Relevant("p-q-lost", "About p-q-lost."),)
    assert miss.ranks == {"base": 1, "finetuned": None, "bm25": 4}
    assert miss.winners[0] == Winner("p-other-00", "About p-other-00.", 1, 1.0)
    assert [winner.rank for winner in miss.winners] == [1, 2, 3]


def test_only_passages_above_the_first_relevant_one_won(folder):
    top, third = load_misses(folder, "mine", 10).wins
    assert top.winners == ()
    assert [winner.rank for winner in third.winners] == [1, 2]


def test_the_most_relevant_passage_comes_first():
    content = EvalSet({"q": "?"}, {"a": "A", "b": "B"}, {"q": {"a": 1, "b": 2}})
    rows = [QueryResult("q", system, {}, None) for system in SYSTEMS]
    (miss,) = find_misses(content, rows, {}, 10)
    assert [each.id for each in miss.relevant] == ["b", "a"]


def test_a_set_that_was_not_measured_is_answered_with_those_that_were(folder):
    with pytest.raises(BadInput, match="no set 'yours'") as caught:
        load_misses(folder, "yours", 10)
    assert "mine" in caught.value.next_step


def test_two_thousand_queries_are_read_within_a_second_and_without_numpy(tmp_path):
    places = {f"q-{n}": (1 + n % 7, None if n % 5 else 2, 1 + n % 3) for n in range(2000)}
    write_evaluation(tmp_path, {"large": ranked_set(places, passages=100)})
    code = (
        "import sys, time; from pathlib import Path\n"
        "from pipeline.eval.misses import load_misses\n"
        "began = time.perf_counter()\n"
        "found = load_misses(Path(sys.argv[1]), 'large', 10)\n"
        "print(time.perf_counter() - began, len(found.misses), 'numpy' in sys.modules)\n"
    )
    seconds = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
        took, misses, heavy = done.stdout.split()
        seconds.append(float(took))
        assert (misses, heavy) == ("1600", "False")
    assert min(seconds) < 1.0
