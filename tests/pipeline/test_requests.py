"""Requests to a running worker."""

import threading
import time

import pytest

from pipeline.errors import Cancelled, Terminated
from pipeline.journal import JournalWriter, read_journal
from pipeline.requests import Requests, ask


@pytest.fixture
def worker(tmp_path):
    return Requests(tmp_path / "requests.jsonl", JournalWriter(tmp_path / "journal.jsonl"))


def wait_until(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_cancel_leaves_at_the_next_safe_point(tmp_path, worker):
    worker.poll()
    ask(tmp_path, "cancel")
    time.sleep(0.25)
    with pytest.raises(Cancelled):
        worker.poll()


def test_pause_waits_until_resume_and_says_so(tmp_path, worker):
    ask(tmp_path, "pause")
    time.sleep(0.25)
    thread = threading.Thread(target=worker.poll)
    thread.start()
    wait_until(lambda: [e.type for e in read_journal(tmp_path / "journal.jsonl")] == ["paused"])
    assert thread.is_alive()
    ask(tmp_path, "resume")
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert read_journal(tmp_path / "journal.jsonl")[-1].type == "continued"


def test_sigterm_reaches_a_paused_worker(tmp_path, worker):
    ask(tmp_path, "pause")
    time.sleep(0.25)
    threading.Timer(0.3, worker.terminate).start()
    with pytest.raises(Terminated):
        worker.poll()


def test_finish_is_seen_and_requests_to_an_earlier_attempt_are_not(tmp_path):
    ask(tmp_path, "cancel")
    journal = JournalWriter(tmp_path / "journal.jsonl")
    worker = Requests(tmp_path / "requests.jsonl", journal)
    worker.poll()
    ask(tmp_path, "finish")
    time.sleep(0.25)
    worker.poll()
    assert worker.finish_asked
