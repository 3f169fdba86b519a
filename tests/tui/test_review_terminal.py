"""The Review step on a real pseudo-terminal: the user's editor, and what a key sends."""

import shutil
import statistics
import sys
from itertools import zip_longest
from pathlib import Path

import pytest
from commandline import COMMAND
from pty_terminal import PtyTerminal
from runs import make_run

from pipeline.review.decisions import fold
from pipeline.review.log import read_decisions
from pipeline.run import Run, home


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose 400 samples are made up."""
    return make_run(tmp_path_factory.mktemp("made") / "home", 400)


@pytest.fixture
def run(made, own_home):
    """A copy of it in the home, to decide about."""
    return Run(Path(shutil.copytree(made.path, home() / "pilot")))


QUIET_SECONDS = 0.5
"""So long after a decision all of it is drawn, and nothing counts for the next one."""


def wizard(run, columns=80, rows=24, **environment):
    return PtyTerminal([COMMAND, "open", run.name], environment, columns, rows)


def decisions(run):
    return fold(read_decisions(run.decisions_path)).decisions


EDITOR = """
import pathlib, sys
path, log = pathlib.Path(sys.argv[-1]), pathlib.Path(sys.argv[1])
text = path.read_text()
first = not log.exists()
log.write_text(text)
if first:
    path.write_text(text.replace("[question]", "no head"))
else:
    path.write_text(text.replace("no head", "[question]").replace("What makes", "What drives"))
"""


def test_the_users_editor_gets_the_terminal_and_hears_what_was_wrong(run, tmp_path):
    script, seen = tmp_path / "editor.py", tmp_path / "seen"
    script.write_text(EDITOR)
    with wizard(run, VISUAL=f"{sys.executable} {script} {seen}") as terminal:
        terminal.wait_for("Q What makes", 20)
        terminal.send("E")
        terminal.wait_for("Saved, and accepted in your words.", 20)
        assert seen.read_text().startswith("# The line [question] is gone.")
        (said,) = decisions(run).values()
        assert said.question.startswith("What drives")
        terminal.send("a")
        terminal.wait_for(lambda lines: any("by hand   2" in line for line in lines))
        assert sum("threshold" in line for line in terminal.screen()) == 1


def test_a_threshold_is_not_lost_by_quitting_at_once(run):
    with wizard(run) as terminal:
        terminal.wait_for("Q What makes", 20)
        terminal.send("]]q")
        terminal.wait(10)
    assert fold(read_decisions(run.decisions_path)).threshold == 7.2


def test_deciding_sends_what_changes_and_little_more(run):
    with wizard(run, 120, 40) as terminal:
        terminal.wait_for("Q What makes", 20)
        terminal.settle(QUIET_SECONDS)
        overheads = []
        for number in range(1, 13):
            mark, before = terminal.mark(), terminal.screen()
            terminal.send("a")
            terminal.wait_for(f"by hand {number:3d}")
            terminal.settle(QUIET_SECONDS)
            sent = len(terminal.bytes_since(mark))
            overheads.append(sent - changed_cells(before, terminal.screen()))
        assert statistics.median(overheads) <= 550, overheads
        assert len(decisions(run)) == 12


def changed_cells(before, after):
    """Cells of two screens that differ, blanks that were something else included."""
    return sum(
        was != now
        for old, new in zip(before, after, strict=True)
        for was, now in zip_longest(old, new, fillvalue=" ")
    )
