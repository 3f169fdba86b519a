"""Journals as a window follows them: in pieces, without keeping what it has folded."""

import time

import pytest

from pipeline.journal import JournalReader, JournalWriter
from pipeline.locks import Lock
from pipeline.run import Run
from tui.jobs import Jobs
from tui.watch import POLL_BYTES, Job

STEPS = 5_000


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pilot" / "finetune" / "0123456789abcdef"


def write_training(folder, steps=STEPS, at=time.time):
    journal = JournalWriter(folder / "journal.jsonl", at)
    journal.write("started", stage="finetune")
    for step in range(1, steps + 1):
        journal.write("metric", step=step, steps=steps, loss=1 / step, learning_rate=1e-5)
        if step % 100 == 0:
            journal.write("progress", done=step, total=steps, what="training steps")
    return journal


def read_whole(job):
    looks = 0
    while True:
        job.poll()
        looks += 1
        if not job.behind:
            return looks


def test_a_long_journal_is_read_in_pieces_and_not_kept(folder):
    write_training(folder)
    job = Job("finetune", folder)
    size = (folder / "journal.jsonl").stat().st_size
    assert read_whole(job) == -(-size // POLL_BYTES) > 1
    assert job.training.step == job.training.total == STEPS
    assert [event.type for event in job.events] == ["started"]
    assert list(job.counted) == ["training steps"]
    assert job.view.done == STEPS


def test_pieces_end_with_whole_lines_however_long_they_are(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = JournalWriter(path)
    for number in range(5):
        journal.write("log", message="x" * 1000, number=number)
    with path.open("ab") as stream:
        stream.write(b'{"torn')
    reader = JournalReader(path)
    numbers = []
    for _ in range(5):
        numbers += [event.data["number"] for event in reader.read(10)]
    assert numbers == [0, 1, 2, 3, 4]
    assert reader.read(10) == []
    assert not reader.behind


def test_endings_of_before_are_history_however_long_the_journal(folder):
    hours_ago = time.time() - 7200
    journal = write_training(folder, at=lambda: hours_ago)
    journal.write("failed", happened="-", safe="-", next="-", exit_code=1)
    jobs = Jobs()
    jobs.follow(Run(folder.parent.parent))
    jobs.place({"finetune": folder})
    job = jobs.job("finetune")
    said = []
    while jobs.behind:
        said += [event for _, events in jobs.news() for event in events]
    assert job.ending.type == "failed"
    assert "failed" not in [event.type for event in said]


def test_what_began_and_failed_between_two_looks_is_told(folder):
    jobs = Jobs()
    jobs.follow(Run(folder.parent.parent))
    journal = JournalWriter(folder / "journal.jsonl")
    journal.write("started", stage="finetune")
    journal.write("failed", happened="-", safe="-", next="-", exit_code=1)
    jobs.place({"finetune": folder})
    assert jobs.job("finetune")
    assert [[event.type for event in events] for _, events in jobs.news()] == [["failed"]]
    assert list(jobs.news()) == []


def test_another_run_is_not_followed_by_the_workers_of_the_last(tmp_path, folder):
    jobs = Jobs()
    jobs.follow(Run(folder.parent.parent))
    jobs.asked = ("finetune",)
    assert jobs.starting("finetune")
    jobs.follow(Run(tmp_path / "other"))
    assert not jobs.starting("finetune")
    assert jobs.idle


def test_a_worker_that_goes_without_a_word_has_vanished_and_only_once(folder):
    jobs = Jobs()
    jobs.follow(Run(folder.parent.parent))
    lock = Lock(folder / "lock", "a test")
    lock.take()
    journal = JournalWriter(folder / "journal.jsonl")
    journal.write("started", stage="finetune")
    jobs.look()
    assert jobs.running("finetune")
    assert not jobs.vanished()
    lock.release()
    jobs.look()
    assert [job.stage for job in jobs.vanished()] == ["finetune"]
    assert not jobs.vanished()


def test_a_worker_that_said_its_last_is_leaving(folder):
    now = [1000.0]
    jobs = Jobs(lambda: now[0])
    jobs.follow(Run(folder.parent.parent))
    lock = Lock(folder / "lock", "a test")
    lock.take()
    journal = JournalWriter(folder / "journal.jsonl", lambda: now[0])
    journal.write("started", stage="finetune")
    jobs.look()
    assert not jobs.leaving()
    journal.write("finished", seconds=1.0)
    list(jobs.news())
    assert jobs.leaving()
    now[0] += 60
    assert not jobs.leaving()
    lock.release()
