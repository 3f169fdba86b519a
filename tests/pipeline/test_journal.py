"""The journal: whole lines, gapless numbers, and healing after a crash."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.journal import JournalReader, JournalWriter, attempt_events, ending, read_journal


def write(path, *types):
    journal = JournalWriter(path, clock=lambda: 100.0)
    for kind in types:
        journal.write(kind)
    journal.close()


def test_events_come_back_in_order_and_numbered(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, "started", "progress")
    write(path, "finished")
    events = read_journal(path)
    assert [(e.seq, e.type, e.time) for e in events] == [
        (1, "started", 100.0),
        (2, "progress", 100.0),
        (3, "finished", 100.0),
    ]


@given(cut=st.integers(min_value=0, max_value=200))
def test_a_journal_torn_anywhere_is_read_and_healed(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    write(path, "started", "progress", "finished")
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content))])
    whole = read_journal(path)
    write(path, "log")
    events = read_journal(path)
    assert events[:-1] == whole
    assert [e.seq for e in events] == list(range(1, len(whole) + 2))
    assert path.read_bytes().endswith(b"\n")


def test_a_reader_sees_each_event_once_and_never_half_of_one(tmp_path):
    path = tmp_path / "journal.jsonl"
    reader = JournalReader(path)
    assert reader.read() == []
    write(path, "started")
    assert [e.type for e in reader.read()] == ["started"]
    with path.open("ab") as stream:
        stream.write(b'{"v":1,"seq":2,"time":1,"ty')
        stream.flush()
        assert reader.read() == []
        stream.write(b'pe":"log"}\n')
    assert [e.type for e in reader.read()] == ["log"]


def test_lines_of_a_later_format_are_left_alone(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, "started")
    with path.open("a") as stream:
        stream.write(json.dumps({"v": 99, "seq": 2, "time": 1, "type": "dance"}) + "\n")
    assert [e.type for e in read_journal(path)] == ["started"]


def test_the_last_attempt_alone_decides_how_it_ended(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, "started", "failed", "started", "progress")
    events = read_journal(path)
    assert ending(events) is None
    assert [e.type for e in attempt_events(events)] == ["started", "progress"]


def test_not_a_number_never_reaches_a_journal(tmp_path):
    journal = JournalWriter(tmp_path / "journal.jsonl")
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.write("metric", loss=float("nan"))
    with pytest.raises(ValueError, match="reserved"):
        journal.write("metric", seq=3)
