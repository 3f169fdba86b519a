from __future__ import annotations

import json
import resource
import threading
from dataclasses import replace

import pytest
from endpoint import completion

from pipeline.errors import Busy, SystemRefusal
from pipeline.sdg.calls import Call, CallJournal

CALL = Call(
    purpose="generate",
    model="m",
    messages=({"role": "user", "content": "hello"},),
    temperature=0.6,
    top_p=0.95,
    max_tokens=100,
    schema={"type": "object"},
)
BODY = completion("m", "hi")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_reply_is_there_again_after_reopening(tmp_path):
    path = tmp_path / "sdg" / "calls.jsonl"
    with CallJournal(path) as journal:
        assert journal.body(CALL.key) is None
        journal.keep(CALL, BODY)
        assert lines(path)[0]["body"] == BODY
        assert journal.body(CALL.key) == BODY
    with CallJournal(path) as journal:
        assert journal.body(CALL.key) == BODY


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"messages": ({"role": "user", "content": "hello!"},)},
        {"temperature": 0.0},
        {"top_p": 1.0},
        {"max_tokens": 200},
        {"schema": {}},
        {"sample": 1},
    ],
)
def test_whatever_changes_the_text_is_another_call(change):
    assert replace(CALL, **change).key != CALL.key


def test_a_torn_last_line_is_ignored_and_healed(tmp_path):
    path = tmp_path / "calls.jsonl"
    with CallJournal(path) as journal:
        journal.keep(CALL, BODY)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    other = replace(CALL, sample=1)
    with CallJournal(path) as journal:
        assert journal.body(CALL.key) == BODY
        journal.keep(other, BODY)
    assert [row["key"] for row in lines(path)] == [CALL.key, other.key]


def test_what_is_no_answer_is_kept_but_never_replayed(tmp_path):
    path = tmp_path / "calls.jsonl"
    for body in ("<html>sign in</html>", "{}", '{"choices": []}', "[]", '{"choices": null}'):
        with CallJournal(path) as journal:
            journal.keep(CALL, body)
            assert journal.body(CALL.key) is None
    with CallJournal(path) as journal:
        assert journal.body(CALL.key) is None
        journal.keep(CALL, BODY)
        journal.keep(CALL, completion("m", "another"))
    with CallJournal(path) as journal:
        assert journal.body(CALL.key) == BODY
    assert len(lines(path)) == 7


def test_damaged_and_later_lines_are_left_alone(tmp_path):
    path = tmp_path / "calls.jsonl"
    row = {"v": 99, "key": CALL.key, "body": BODY}
    path.write_text(f"no json\n{json.dumps(row)}\n[1]\n\n")
    with CallJournal(path) as journal:
        assert journal.body(CALL.key) is None
    assert len(path.read_text().splitlines()) == 4


def test_one_writer_at_a_time(tmp_path):
    with CallJournal(tmp_path / "calls.jsonl"), pytest.raises(Busy, match="call journal"):
        CallJournal(tmp_path / "calls.jsonl")
    CallJournal(tmp_path / "calls.jsonl").close()


def test_threads_write_whole_lines(tmp_path):
    path = tmp_path / "calls.jsonl"
    with CallJournal(path) as journal:
        threads = [
            threading.Thread(target=journal.keep, args=(replace(CALL, sample=n), BODY))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {row["key"] for row in lines(path)} == {replace(CALL, sample=n).key for n in range(20)}


def test_a_full_disk_is_a_refusal_that_leaves_whole_lines(tmp_path):
    path = tmp_path / "calls.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with CallJournal(path) as journal:
        journal.keep(CALL, BODY)
        whole = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 50, limits[1]))
        try:
            with pytest.raises(SystemRefusal) as caught:
                journal.keep(replace(CALL, sample=1), BODY)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "not be paid again" in caught.value.safe
        assert path.read_bytes() == whole
        journal.keep(replace(CALL, sample=2), BODY)
    assert len(lines(path)) == 2


def test_lone_surrogates_in_a_reply_are_written_and_read(tmp_path):
    body = completion("m", "a\ud800b")
    with CallJournal(tmp_path / "calls.jsonl") as journal:
        journal.keep(CALL, body)
    with CallJournal(tmp_path / "calls.jsonl") as journal:
        assert journal.body(CALL.key) == body
