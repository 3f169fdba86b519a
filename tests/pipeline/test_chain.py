"""A chain's lock: who begins what comes next, and who has to wait."""

import os
import threading
import time

import pytest

from pipeline.chain import held_chains, joined, wait_for_turn
from pipeline.errors import Busy
from pipeline.locks import Lock, holder_of, is_held
from pipeline.requests import ask, asked_to_leave
from pipeline.run import Run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def begun(run, stage):
    """The lock of an attempt at a stage."""
    folder = run.result_folder(stage, "f")
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").touch()
    return Lock(folder / "lock", "a test")


def test_a_chain_shows_while_it_is_held_and_the_variants_have_their_own(run):
    assert held_chains(run) == []
    with joined(run, "", ("corpus", "sdg")), joined(run, "small", ("prep",)):
        assert held_chains(run) == [run.chain_path(""), run.chain_path("small")]
        with pytest.raises(Busy), joined(run, "small", ("prep",)):
            pass
    assert held_chains(run) == []


def test_what_was_asked_of_an_earlier_chain_does_not_end_the_next(run):
    with joined(run, "", ("corpus",)) as chain:
        ask(chain.folder, "cancel")
        assert asked_to_leave(chain.folder)
    with joined(run, "", ("corpus",)) as chain:
        assert not asked_to_leave(chain.folder)


def test_a_lock_that_came_through_is_held_on_and_its_requests_count(run):
    with joined(run, "", ("corpus", "sdg")) as chain:
        lock = Lock(chain.folder / "lock", "a test")
        first = os.open(chain.folder / "lock", os.O_RDWR)
        assert not lock.take_over(first), "another opening of the file is no lock"
        os.close(first)
    lock.take()
    ask(chain.folder, "cancel")
    inherited = os.dup(lock.hand_over())
    with joined(run, "", ("sdg",), inherited) as chain:
        assert asked_to_leave(chain.folder)
        assert not os.get_inheritable(inherited), "no server that a stage starts holds it, too"
    lock.release()
    assert not is_held(chain.folder / "lock")


def test_a_descriptor_of_something_else_is_no_lock(run, tmp_path):
    other = os.open(tmp_path, os.O_RDONLY)
    with joined(run, "", ("sdg",), other) as chain:
        assert holder_of(chain.folder / "lock").pid == os.getpid()
        assert held_chains(run) == [chain.folder]
    os.close(other)
    with joined(run, "", ("sdg",), 999_999):
        assert held_chains(run) != []


def test_nobody_begins_what_a_chain_is_about_to_begin(run):
    sdg = begun(run, "sdg")
    told, looks = [], []

    def look(_):
        looks.append(is_held(run.result_folder("sdg", "f") / "lock"))
        if len(looks) == 3:
            sdg.take()

    with joined(run, "", ("corpus", "sdg")):
        assert wait_for_turn(run, "", "sdg", told.append, look)
        assert not wait_for_turn(run, "", "sdg", told.append, look), "it is on it"
        assert not wait_for_turn(run, "", "prep", told.append, look), "it doesn't do that"
        assert not wait_for_turn(run, "small", "sdg", told.append, look), "of another variant"
    sdg.release()
    assert not wait_for_turn(run, "", "sdg", told.append, look), "it is over"
    assert looks == [False] * 3
    assert told == [os.getpid()]


def test_a_chain_that_ends_is_waited_for_no_longer(run):
    held = joined(run, "", ("corpus", "sdg"))
    held.__enter__()
    end = threading.Timer(0.3, held.__exit__, (None, None, None))
    end.start()
    began = time.monotonic()
    assert wait_for_turn(run, "", "sdg")
    assert 0.2 < time.monotonic() - began < 5
    end.join()
