"""`doctor` says what it sees, with a remedy beside each warning and no secret; exit 0 always."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

import pytest
from commandline import COMMAND
from pty_terminal import take_terminal

from tui.diagnosis import (
    clipboard_check,
    link_checks,
    multiplexer_checks,
    session_check,
    terminal_checks,
)
from tui.installation import filesystem, kills_by_settings, place_check, torch_check, torch_cuda
from tui.terminal import read_terminal
from tui.tmux import Tmux

ASKED = b"\x1b[6n"


def terminal(tty=True, encoding="utf-8", size=(80, 24), **environment):
    return read_terminal({"TERM": "xterm-256color", **environment}, tty, tty, encoding, size)


@pytest.fixture
def environment(tmp_path):
    bare = {name: text for name, text in os.environ.items() if name not in ("TMUX", "STY")}
    return bare | {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "EMBEDSMITH_HOME": str(tmp_path / "runs"),
        "NVIDIA_API_KEY": "nvapi-do-not-show",
        "HF_TOKEN": "hf-do-not-show",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }


def doctor(environment, *arguments):
    done = subprocess.run(
        [COMMAND, "doctor", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_without_a_terminal_the_report_says_so(environment):
    report = doctor(environment)
    assert "! warn  TTY: no terminal" in report
    assert "✓ ok    link: not measured: no terminal" in report
    for title in ("Terminal", "Machine", "Places", "Installation"):
        assert f"{title}\n" in report
    assert "\x1b" not in report


def test_no_secret_and_no_home_folder_is_shown(environment, tmp_path):
    environment["TERM"] = "hf-do-not-show"
    report = doctor(environment) + doctor(environment, "--json")
    assert "do-not-show" not in report
    assert str(tmp_path) not in report
    assert "✓ ok    runs: ~/runs" in report
    assert "NVIDIA_API_KEY is set" in report


def test_every_row_has_a_verdict_and_every_warning_a_remedy(environment):
    rows = [json.loads(line) for line in doctor(environment, "--json").splitlines()]
    assert {row["section"] for row in rows} == {"Terminal", "Machine", "Places", "Installation"}
    assert {row["verdict"] for row in rows} <= {"pass", "warn", "refuse"}
    assert [row for row in rows if row["verdict"] != "pass" and not row["remedy"]] == []
    assert [row for row in rows if not row["name"] or not row["detail"]] == []


def test_an_old_encoding_gets_signs_in_ascii(environment):
    environment |= {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    report = doctor(environment)
    assert report.isascii()
    assert "! warn  encoding: ascii (LC_ALL=POSIX)" in report
    assert "+ ok    TERM: xterm-256color" in report


def test_copied_without_a_terminal_means_the_file(environment, tmp_path):
    report = doctor(environment, "--copy")
    kept = (tmp_path / "state" / "embedsmith" / "last-copy.txt").read_text()
    assert report.startswith(kept)
    assert "there is no terminal to copy to" in report.removeprefix(kept)


class Answering:
    """The far end of a terminal: answers where the cursor is, or doesn't."""

    def __init__(self, environment, command, answer, rows=24, columns=80):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = b""
        self._answer = answer
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while True:
            try:
                piece = os.read(self.master, 4096)
            except OSError:
                return
            self.seen += piece
            for _ in range(piece.count(ASKED)):
                os.write(self.master, self._answer)

    def end(self):
        code = self.process.wait(timeout=60)
        after = termios.tcgetattr(self.slave)
        os.set_blocking(self.slave, False)
        raw = [*after]
        raw[3] &= ~termios.ICANON
        termios.tcsetattr(self.slave, termios.TCSANOW, raw)
        try:
            left = os.read(self.slave, 100)
        except BlockingIOError:
            left = b""
        os.close(self.slave)
        self._thread.join(timeout=10)
        os.close(self.master)
        return code, after == self.before, left, self.seen.decode()


def test_on_a_terminal_the_line_is_measured_and_the_terminal_left_as_it_was(environment):
    command = [COMMAND, "doctor", "--copy"]
    code, same, left, report = Answering(environment, command, b"typed\x1b[5;1R").end()
    assert (code, same, left) == (0, True, b"")
    assert re.search(r"ok    link: [\d.]+ ms there and back", report)
    assert report.count("\x1b[6n") == 3
    assert "\x1b]52;c;" in report
    assert "sent to the terminal, which doesn't say whether it took them" in report


PROBE = "from tui.link import round_trip; print('measured', round_trip(0, 1))"


@pytest.mark.parametrize("answer", [b"", b"typed in between"])
def test_a_silent_terminal_is_waited_for_once_and_left_as_it_was(environment, answer):
    code, same, left, seen = Answering(environment, [sys.executable, "-c", PROBE], answer).end()
    assert (code, same, left) == (0, True, b"")
    assert "measured None" in seen
    assert seen.count("\x1b[6n") == 1


def test_ctrl_c_while_the_line_is_measured_leaves_the_terminal_as_it_was(environment):
    code, same, _, seen = Answering(environment, [sys.executable, "-c", PROBE], b"\x03").end()
    assert code != 0
    assert same
    assert "KeyboardInterrupt" in seen


def test_a_small_screen_and_few_colours_are_noted():
    checks = {
        check.name: check
        for check in terminal_checks(terminal(size=(59, 24), TERM="xterm"), {"LANG": "C"})
    }
    assert checks["size"].verdict == "warn"
    assert "60x16" in checks["size"].remedy
    assert checks["colours"].verdict == "warn"
    plain = {check.name: check for check in terminal_checks(terminal(NO_COLOR="1"), {})}
    assert plain["colours"].verdict == "pass"
    assert "NO_COLOR" in plain["colours"].detail


def tmux(version="3.3a", escape_time=10, clients=1):
    return Tmux(version, "external", escape_time, False, False, clients)


@pytest.mark.parametrize(
    ("found", "warned"),
    [
        (tmux(), []),
        (tmux(escape_time=500), ["tmux escape-time"]),
        (tmux(version="3.1c"), ["tmux"]),
        (None, ["tmux"]),
    ],
)
def test_tmux_is_judged_by_what_the_wizard_needs(found, warned):
    checks = multiplexer_checks(terminal(TMUX="x"), found)
    assert [check.name for check in checks if check.verdict == "warn"] == warned


@pytest.mark.parametrize(
    ("where", "found", "verdict", "words"),
    [
        (terminal(), None, "pass", "OSC 52"),
        (terminal(tty=False), None, "warn", "a file alone"),
        (terminal(TMUX="x"), tmux(), "pass", "on to the terminal"),
        (terminal(TMUX="x"), tmux(clients=0), "warn", "buffer alone"),
        (terminal(TMUX="x"), tmux(version="3.0"), "warn", "older than 3.2"),
        (terminal(TMUX="x"), None, "warn", "a file alone"),
        (terminal(STY="x"), None, "pass", "GNU screen"),
    ],
)
def test_the_way_of_a_copied_text_is_foretold(where, found, verdict, words):
    check = clipboard_check(where, found)
    assert check.verdict == verdict
    assert words in check.detail


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.0009, "pass"), (0.152, "pass"), (0.93, "warn"), (None, "warn")]
)
def test_a_slow_line_is_said(seconds, verdict):
    assert link_checks(terminal(SSH_TTY="/dev/pts/1"), seconds)[1].verdict == verdict


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ([], False),
        (["[Login]\n#KillUserProcesses=yes\n"], False),
        (["[Login]\nKillUserProcesses=no\n", "[Login]\nKillUserProcesses = yes\n"], True),
        (["KillUserProcesses=yes\n", "KillUserProcesses=no\n"], False),
    ],
)
def test_a_logout_that_kills_is_read_from_the_settings(files, kills):
    assert kills_by_settings(files) is kills
    assert session_check(kills).verdict == ("warn" if kills else "pass")


MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
host:/x /home nfs4 rw 0 0
/dev/sdb /home/me/my\040disk xfs rw 0 0
overlay /box overlay rw 0 0
"""


def test_the_filesystem_is_that_of_the_nearest_mount(tmp_path):
    for place, kind in (
        ("/data", "ext4"),
        ("/tmp/x", "tmpfs"),
        ("/tmpfoo", "ext4"),
        ("/home/you", "nfs4"),
        ("/home/me/my disk/runs", "xfs"),
    ):
        assert filesystem(tmp_path.__class__(place), MOUNTS) == kind
    assert filesystem(tmp_path, "") == ""


@pytest.mark.parametrize(
    ("kind", "lasting", "verdict"),
    [
        ("ext4", True, "pass"),
        ("tmpfs", True, "warn"),
        ("tmpfs", False, "pass"),
        ("nfs4", False, "warn"),
        ("overlay", True, "warn"),
    ],
)
def test_a_place_is_judged_by_its_filesystem(tmp_path, kind, lasting, verdict):
    check = place_check("runs", tmp_path / "new" / "runs", lasting, f"x / {kind} rw 0 0\n")
    assert check.verdict == verdict
    assert not (tmp_path / "new").exists()


def test_the_build_of_torch_is_read_without_importing_it():
    import torch

    assert torch_cuda() == (torch.version.cuda or "")
    assert torch_check(gpu=not torch.version.cuda).verdict == (
        "pass" if torch.version.cuda else "warn"
    )


def test_doctor_and_what_it_uses_load_neither_textual_nor_a_heavy_library(environment):
    code = (
        "import sys, io, contextlib\n"
        "from tui.cli import main\n"
        "import tui.themes, tui.preferences\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['doctor'])\n"
        "bad = ('textual', 'rich', 'torch', 'numpy', 'transformers', 'onnx', 'openai')\n"
        "print([m for m in bad if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
