"""The decision log: two windows, torn lines, restarts, damage."""

import itertools
import json
import subprocess
import sys

import pytest

from pipeline.errors import BadInput, Busy
from pipeline.locks import Lock
from pipeline.review import log
from pipeline.review.decisions import Action, fold
from pipeline.review.log import DecisionReader, NewDecisions, append_decision, read_decisions

_EVERY_KIND = (
    Action("accept", ("q-a", "q-b"), source="bulk"),
    Action("reject", ("q-a",), reason="generic"),
    Action("edit", ("q-b",), question="Naïve\u2028question\n?", answer="", source="edit"),
    Action("clear", ("q-a",)),
    Action("skip", ("q-c",)),
    Action("threshold", value=0.0),
    Action("undo"),
    Action("redo"),
)

_WINDOW = """
import sys
from pathlib import Path
from pipeline.review.decisions import Action
from pipeline.review.log import append_decision
for number in range(40):
    append_decision(Path(sys.argv[1]), Action("accept", (f"q-{sys.argv[2]}-{number}",)))
"""


def test_what_is_appended_is_read_back_with_its_place_and_time(tmp_path):
    path, clock = tmp_path / "review" / "decisions.jsonl", itertools.count(10)
    appended = [append_decision(path, action, lambda: next(clock)) for action in _EVERY_KIND]
    assert read_decisions(path) == tuple(appended)
    assert [(event.seq, event.time, event.action) for event in appended] == [
        (seq, 9.0 + seq, action) for seq, action in enumerate(_EVERY_KIND, start=1)
    ]


def test_there_are_no_decisions_before_the_first(tmp_path):
    assert read_decisions(tmp_path / "decisions.jsonl") == ()


def test_two_windows_lose_nothing_and_number_without_gaps(tmp_path):
    path = tmp_path / "decisions.jsonl"
    windows = [
        subprocess.Popen([sys.executable, "-c", _WINDOW, str(path), name]) for name in ("x", "y")
    ]
    assert [window.wait(timeout=60) for window in windows] == [0, 0]
    events = read_decisions(path)
    assert [event.seq for event in events] == list(range(1, 81))
    for name in ("x", "y"):
        mine = [e.action.samples[0] for e in events if e.action.samples[0].startswith(f"q-{name}")]
        assert mine == [f"q-{name}-{number}" for number in range(40)]


def test_undo_reaches_back_across_a_restart(tmp_path):
    path = tmp_path / "decisions.jsonl"
    for name in ("x", "y"):
        subprocess.run([sys.executable, "-c", _WINDOW, str(path), name], check=True, timeout=60)
    for _ in range(79):
        append_decision(path, Action("undo"))
    state = fold(read_decisions(path))
    assert set(state.decisions) == {"q-x-0"}
    assert (state.undo_depth, state.redo_depth) == (1, 79)


@pytest.mark.parametrize("torn", [b'{"action":"acc', b"{", b'{"format":1,"seq":2,"x":"\xff'])
def test_a_torn_last_line_is_ignored_and_healed(tmp_path, torn):
    path = tmp_path / "decisions.jsonl"
    first = append_decision(path, Action("accept", ("q-a",)))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert read_decisions(path) == (first,)
    second = append_decision(path, Action("undo"))
    assert second.seq == 2
    assert read_decisions(path) == (first, second)
    assert path.read_bytes().startswith(whole + b"{")


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        '{"format": 1, "seq": 2}',
        '{"format": 99, "seq": 2, "time": 1, "action": "undo"}',
        '{"format": 1, "seq": 2, "time": 1, "action": "praise", "samples": ["q-a"]}',
        '{"format": 1, "seq": 2, "time": 1, "action": "undo", "colour": "red"}',
    ],
)
def test_a_damaged_or_later_line_is_named_and_never_guessed_at(tmp_path, line):
    path = tmp_path / "decisions.jsonl"
    append_decision(path, Action("accept", ("q-a",)))
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(BadInput, match=r"decisions\.jsonl, line 2"):
        read_decisions(path)


def test_a_log_that_stays_locked_is_busy_after_a_short_wait(tmp_path, monkeypatch):
    path = tmp_path / "decisions.jsonl"
    monkeypatch.setattr(log, "WAIT_SECONDS", 0.1)
    with Lock(path.with_suffix(".lock"), "test"), pytest.raises(Busy, match="decision log"):
        append_decision(path, Action("undo"))
    assert not path.exists()


def test_a_reader_gives_every_event_once_and_waits_for_a_torn_line(tmp_path):
    path = tmp_path / "decisions.jsonl"
    reader = DecisionReader(path)
    assert reader.read() == NewDecisions((), False)
    first = append_decision(path, Action("accept", ("q-a",)))
    second = append_decision(path, Action("reject", ("q-b",)))
    assert reader.read() == NewDecisions((first, second), False)
    assert reader.read() == NewDecisions((), False)
    with path.open("ab") as stream:
        stream.write(b'{"action":"acc')
    assert reader.read() == NewDecisions((), False)
    third = append_decision(path, Action("undo"))
    assert reader.read() == NewDecisions((third,), False)


@pytest.mark.parametrize("longer", [False, True])
def test_a_reader_of_a_replaced_log_starts_over_and_says_so(tmp_path, longer):
    path, other = tmp_path / "decisions.jsonl", tmp_path / "other.jsonl"
    reader = DecisionReader(path)
    append_decision(path, Action("accept", ("q-a",)))
    append_decision(path, Action("accept", ("q-b",)))
    reader.read()
    instead = [
        append_decision(other, Action("reject", (f"q-{n}",))) for n in range(9 if longer else 1)
    ]
    path.write_bytes(other.read_bytes())
    assert reader.read() == NewDecisions(tuple(instead), True)
    path.unlink()
    assert reader.read() == NewDecisions((), True)
    assert reader.read() == NewDecisions((), False)


def test_a_reader_starts_over_once_a_damaged_line_is_mended(tmp_path):
    path = tmp_path / "decisions.jsonl"
    reader = DecisionReader(path)
    first = append_decision(path, Action("accept", ("q-a",)))
    whole = path.read_bytes()
    path.write_bytes(whole + b"no JSON\n")
    with pytest.raises(BadInput, match="line 2"):
        reader.read()
    path.write_bytes(whole)
    assert reader.read() == NewDecisions((first,), True)


def test_a_line_longer_than_what_is_read_back_keeps_the_numbers(tmp_path):
    path = tmp_path / "decisions.jsonl"
    append_decision(path, Action("undo"))
    append_decision(path, Action("accept", tuple(f"q-{n:016}" for n in range(5000))))
    assert append_decision(path, Action("undo")).seq == 3
    append_decision(path, Action("undo"))
    assert [event.seq for event in read_decisions(path)] == [1, 2, 3, 4]


def test_an_append_reads_back_only_the_logs_end(tmp_path):
    path = tmp_path / "decisions.jsonl"
    last = append_decision(path, Action("accept", ("q-a",)))
    line = path.read_bytes()
    # The number comes from the last line, whatever stands before it.
    path.write_bytes(b"x" * 100_000 + b"\n" + line.replace(b'"seq":1', b'"seq":41'))
    assert last.seq == 1
    assert append_decision(path, Action("undo")).seq == 42


def test_a_line_holds_only_what_its_action_uses(tmp_path):
    path = tmp_path / "decisions.jsonl"
    append_decision(path, Action("undo"), lambda: 5.0)
    row = {"action": "undo", "format": 1, "seq": 1, "source": "manual", "time": 5.0}
    assert json.loads(path.read_text()) == row
