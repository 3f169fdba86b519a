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
from pipeline.review.log import append_decision, read_decisions

_EVERY_KIND = (
    Action("accept", ("q-a", "q-b"), source="bulk"),
    Action("reject", ("q-a",), reason="generic"),
    Action("edit", ("q-b",), question="Naïve\u2028question\n?", answer="", source="edit"),
    Action("clear", ("q-a",)),
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


def test_a_line_holds_only_what_its_action_uses(tmp_path):
    path = tmp_path / "decisions.jsonl"
    append_decision(path, Action("undo"), lambda: 5.0)
    row = {"action": "undo", "format": 1, "seq": 1, "source": "manual", "time": 5.0}
    assert json.loads(path.read_text()) == row
