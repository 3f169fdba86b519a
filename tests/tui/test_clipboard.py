"""Copying says where the text really went: a real tmux with a real terminal around it, or none."""

import base64
import os
import pty
import select
import shutil
import stat
import subprocess
import time

import pytest

from pipeline.errors import SystemRefusal
from tui.clipboard import TERMINAL_LENGTH_MAX, copy
from tui.terminal import read_terminal
from tui.tmux import Tmux, read_tmux

needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


def terminal(tty=True, **environment):
    return read_terminal({"TERM": "xterm-256color", **environment}, tty, tty, "utf-8", (80, 24))


@pytest.fixture
def written():
    return []


@pytest.fixture
def copying(tmp_path, written):
    def copying(text, where, environment=os.environ):
        return copy(text, where, environment, written.append, tmp_path / "state")

    return copying


def test_the_terminal_gets_the_text_and_owes_an_answer(copying, written):
    copied = copying("wörd", terminal())
    assert written == [f"\x1b]52;c;{base64.b64encode('wörd'.encode()).decode()}\x07"]
    assert copied.reached == "terminal"
    assert copied.sentence.startswith("5 B are sent to the terminal, which doesn't say whether")
    assert str(copied.path) in copied.sentence


def test_the_file_is_its_owners_alone_and_holds_the_last_text(copying):
    copying("first", terminal())
    path = copying("second\n", terminal()).path
    assert path.read_text() == "second\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["last-copy.txt"]


def test_a_text_cannot_bring_commands_into_the_paste(copying):
    path = copying("a\x1b[201~rm -rf\x07\tb\n", terminal()).path
    assert path.read_text() == "a[201~rm -rf\tb\n"


def test_a_large_text_stays_in_the_file(copying, written):
    largest = TERMINAL_LENGTH_MAX // 4 * 3
    assert copying("x" * largest, terminal()).reached == "terminal"
    written.clear()
    copied = copying("x" * (largest + 1), terminal())
    assert (copied.reached, written) == ("file", [])
    assert "too large" in copied.sentence
    assert f"only in {copied.path}" in copied.sentence


@pytest.mark.parametrize(
    "where", [terminal(tty=False), terminal(TERM="dumb"), terminal(TERM="linux")]
)
def test_where_there_is_no_clipboard_nothing_is_written(copying, written, where):
    assert copying("x", where).reached == "file"
    assert written == []


def test_screen_gets_the_sequence_wrapped_in_pieces(copying, written):
    copying("x" * 300, terminal(STY="1"))
    pieces = written[0].removesuffix("\x1b\\").split("\x1b\\")
    assert all(piece.startswith("\x1bP") and len(piece) < 100 for piece in pieces)
    inner = "".join(piece.removeprefix("\x1bP") for piece in pieces)
    code = inner.removeprefix("\x1b]52;c;").removesuffix("\x07")
    assert base64.b64decode(code) == b"x" * 300


def test_a_file_that_cannot_be_written_is_said(tmp_path, written):
    (tmp_path / "state").write_text("in the way")
    copied = copy("x", terminal(), {}, written.append, tmp_path / "state")
    assert (copied.path, copied.reached) == (None, "terminal")
    assert "the file can't be written" in copied.sentence
    with pytest.raises(SystemRefusal, match="Nothing was copied"):
        copy("x", terminal(tty=False), {}, written.append, tmp_path / "state")


def test_a_tmux_that_does_not_answer_leaves_the_file(copying, tmp_path, written):
    environment = os.environ | {"TMUX": f"{tmp_path}/none,1,0"}
    copied = copying("x", terminal(TMUX="1"), environment)
    assert (copied.reached, written) == ("file", [])


@pytest.fixture
def tmux(tmp_path):
    """A tmux of its own; gives its command and the environment inside it."""
    command = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    outside = {name: text for name, text in os.environ.items() if not name.startswith("TMUX")}
    outside["TERM"] = "xterm-256color"
    subprocess.run([*command, "new-session", "-d", "-x80", "-y24", "cat"], env=outside, check=True)
    yield command, outside | {"TMUX": f"{tmp_path}/socket,1,0", "TMUX_PANE": "%0"}
    subprocess.run([*command, "kill-server"], check=False)


def buffer_of(command):
    return subprocess.run([*command, "show-buffer"], capture_output=True, check=True).stdout


@needs_tmux
def test_tmux_that_nobody_watches_keeps_the_text_in_its_buffer(tmux, copying, written):
    command, environment = tmux
    copied = copying("hello", terminal(TMUX="1"), environment)
    assert buffer_of(command) == b"hello"
    assert (copied.reached, written) == ("tmux", [])
    assert "no terminal shows this session" in copied.sentence


@needs_tmux
@pytest.mark.parametrize("set_clipboard", ["external", "on"])
def test_tmux_sends_the_text_on_to_the_terminal_around_it(tmux, copying, set_clipboard):
    command, environment = tmux
    subprocess.run([*command, "set", "-s", "set-clipboard", set_clipboard], check=True)
    child, outer = pty.fork()
    if child == 0:
        outside = {name: text for name, text in environment.items() if "TMUX" not in name}
        os.execvpe("tmux", [*command, "attach"], outside)
    try:
        deadline = time.monotonic() + 5
        while read_tmux(environment).clients == 0:
            assert time.monotonic() < deadline
            heard_by(outer, b"", 0.05)
        copied = copying("hello", terminal(TMUX="1"), environment)
        assert heard_by(outer, b"]52;", 5)
        assert copied.reached == "tmux"
        assert "in tmux's buffer and sent on to your terminal" in copied.sentence
        large = copying("x" * TERMINAL_LENGTH_MAX, terminal(TMUX="1"), environment)
        assert large.reached == "tmux"
        assert "too large for the terminal" in large.sentence
        assert len(buffer_of(command)) == TERMINAL_LENGTH_MAX
    finally:
        subprocess.run([*command, "kill-server"], check=False)
        os.close(outer)
        os.waitpid(child, 0)


def heard_by(outer, wanted, seconds):
    """Whether a terminal hears some bytes in time; with none wanted it only listens."""
    heard, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([outer], [], [], left)[0]:
            heard += os.read(outer, 65536)
        if wanted and wanted in heard:
            return True
    return False


@needs_tmux
def test_tmux_tells_its_options(tmux):
    command, environment = tmux
    subprocess.run([*command, "set", "-s", "escape-time", "10"], check=True)
    subprocess.run([*command, "set", "-g", "mouse", "on"], check=True)
    found = read_tmux(environment)
    assert found.version in subprocess.check_output(["tmux", "-V"], text=True)
    assert (found.escape_time, found.mouse, found.clients) == (10, True, 0)
    assert found.set_clipboard == "external"
    subprocess.run([*command, "set", "-g", "allow-passthrough", "on"], check=False)
    assert read_tmux(environment).passthrough


@pytest.mark.parametrize(
    ("version", "writes_out"),
    [
        ("3.3a", True),
        ("3.2", True),
        ("3.1c", False),
        ("next-3.5", True),
        ("2.9", False),
        ("", False),
    ],
)
def test_writing_out_came_with_tmux_three_point_two(version, writes_out):
    assert Tmux(version, "external", 500, False, False, 1).writes_out is writes_out
