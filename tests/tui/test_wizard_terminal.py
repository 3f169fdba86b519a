"""The wizard on a real pseudo-terminal: how it begins, how it ends, what it leaves behind."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commandline import COMMAND
from pty_terminal import PtyTerminal

COLOUR = re.compile(rb"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|9[0-7]|10[0-7]|38;[25]|48;[25])[0-9;]*m")
LEAVE = b"\x1b[?1049l"
HEAVY = ("torch", "transformers", "openai", "datasets", "onnxruntime", "tokenizers", "numpy")


def wizard(*arguments, columns=80, rows=24, **environment):
    return PtyTerminal([str(COMMAND), *arguments], environment, columns, rows)


def test_the_first_screen_is_the_machine_and_q_leaves_a_clean_terminal():
    with wizard() as terminal:
        terminal.wait_for("Rehearse")
        terminal.send("q")
        assert terminal.wait(5) == 0
        assert LEAVE in terminal.raw
        assert b"\x1b[?1003l" in terminal.raw
        assert b"\x1b[?25h" in terminal.raw


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda terminal: terminal.signal(signal.SIGTERM), 143),
        (lambda terminal: terminal.hangup(), 129),
    ],
    ids=["SIGTERM", "hang-up"],
)
@pytest.mark.parametrize("stalled", [False, True], ids=["reading", "stalled"])
def test_signals_end_it_within_three_seconds_also_when_the_terminal_reads_no_more(
    end, code, stalled
):
    with wizard() as terminal:
        terminal.wait_for("Rehearse")
        if stalled:
            terminal.stall()
            for _ in range(40):
                terminal.key("ctrl+l")
                time.sleep(0.02)
            time.sleep(0.5)
        began = time.monotonic()
        end(terminal)
        assert terminal.wait(6) == code
        assert time.monotonic() - began < 3


def test_no_colour_means_no_colour():
    with wizard(NO_COLOR="1") as terminal:
        terminal.wait_for("Rehearse")
        terminal.key("f2")
        terminal.wait_for("Steps")
        terminal.send("q")
        terminal.send("q")
        assert terminal.wait(5) == 0
        assert not COLOUR.search(terminal.raw)


def test_without_a_terminal_it_says_so_and_never_hangs():
    done = subprocess.run(
        [COMMAND], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert "embedsmith run FOLDER" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_dumb_terminal_gets_words_instead():
    with PtyTerminal([str(COMMAND)], {}, 80, 24, term="dumb") as terminal:
        assert terminal.wait(10) == 2
        assert b"embedsmith run FOLDER" in terminal.raw
        assert b"\x1b[?1049h" not in terminal.raw


def test_below_the_smallest_size_a_note_stands_and_goes_again():
    with wizard(columns=59, rows=15) as terminal:
        terminal.wait_for("enlarge to 60x16")
        terminal.resize(80, 24)
        terminal.wait_for("Rehearse")


def test_ascii_signs_are_ascii_alone():
    with wizard("--ascii") as terminal:
        terminal.wait_for("Rehearse")
        for key, title in (("f1", "Keys of machine"), ("f2", "Steps"), ("ctrl+p", "Go on")):
            terminal.key(key)
            terminal.wait_for(title)
            terminal.settle()
            for line in terminal.screen():
                assert line.isascii(), line
            terminal.key("escape")
            terminal.settle()


def test_no_mouse_leaves_the_mouse_to_the_terminal():
    with wizard("--no-mouse") as terminal:
        terminal.wait_for("Rehearse")
        assert b"\x1b[?1003h" not in terminal.raw


def test_no_heavy_library_is_in_its_process():
    with wizard() as terminal:
        terminal.wait_for("Rehearse")
        for key in ("f1", "escape", "f2", "escape"):
            terminal.key(key)
            terminal.settle()
        loaded = Path(f"/proc/{terminal.pid}/maps").read_text()
        assert "python" in loaded
        for name in HEAVY:
            assert f"/site-packages/{name}/" not in loaded, name


def test_below_the_gate_no_key_leads_to_a_gated_model(own_home):
    with wizard() as terminal:
        terminal.wait_for("No GPU here passes the gate")
        terminal.key("enter")
        terminal.wait_for("rehearses the whole chain")
        terminal.send("b")
        terminal.wait_for("needs a GPU that passes")
        assert "Machine" in terminal.screen()[1]
    assert not list((own_home / "runs").glob("*"))
