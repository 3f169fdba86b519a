"""The tests' own terminal, tmux, snapshots and run folders do what other tests rely on."""

import asyncio
import signal
import sys
import time

import pytest
from emulator import Emulator
from pty_terminal import PtyTerminal
from runs import make_run, training_journal
from text_snapshot import UPDATE, assert_snapshot, screen_text, styled_text
from textual.app import App
from textual.widgets import Static
from tmux import Tmux

from pipeline.corpus.records import read_passages
from pipeline.requests import ask
from pipeline.run import cache_home
from pipeline.sdg.records import read_samples
from pipeline.status import status_of_run

ECHO = """
import os, sys, termios, tty
tty.setcbreak(0)
print("ready", *os.get_terminal_size(), flush=True)
while (key := os.read(0, 64)) != b"q":
    if key == b"?":
        sys.stdout.write("\\x1b[?2026$p\\x1b[6n\\x1b[c")
        sys.stdout.flush()
    elif key == b"a":
        sys.stdout.write("\\x1b[?1049h\\x1b[2;3Halternate \\u4f60\\u597d!\\x1b[>1u")
        sys.stdout.flush()
    elif key == b"f":
        while True:
            os.write(1, b"flood" * 100)
    elif key == b"s":
        print(*os.get_terminal_size(), flush=True)
    else:
        print(repr(key), "." * 2000 + "\\nend" if key == b"l" else "", flush=True)
print("\\x1b[?1049lbye", flush=True)
"""


@pytest.fixture
def echo():
    with PtyTerminal([sys.executable, "-c", ECHO], columns=60, rows=10) as terminal:
        terminal.wait_for("ready 60 10")
        yield terminal


def test_a_program_sees_keys_and_the_answers_of_a_terminal(echo):
    echo.key("up")
    echo.wait_for(r"b'\x1b[A'")
    echo.key("?")
    echo.wait_for(r"b'\x1b[?2026;2$y\x1b[3;1R\x1b[?64;")


def test_the_alternate_screen_leaves_the_main_one_as_it_was(echo):
    echo.key("a")
    screen = echo.wait_for("!")
    assert screen[:2] == ["", "  alternate 你好!"]
    assert echo.emulator.alternate
    echo.key("q")
    assert echo.wait() == 0
    assert echo.screen()[:2] == ["ready 60 10", "bye"]


def test_bytes_are_counted_from_a_mark(echo):
    echo.settle(0.1)
    mark = echo.mark()
    echo.key("x")
    echo.wait_for("b'x'")
    echo.settle(0.1)
    assert echo.bytes_since(mark) == b"b'x' \r\n"


def test_a_resized_window_tells_its_program(echo):
    echo.resize(70, 12)
    echo.key("s")
    echo.wait_for("70 12")


def test_what_never_comes_is_said_with_the_screen(echo):
    with pytest.raises(AssertionError, match=r"(?s)'nothing'.*time is up.*\|ready 60 10"):
        echo.wait_for("nothing", timeout=0.1)
    echo.key("q")
    with pytest.raises(AssertionError, match="ended with 0"):
        echo.wait_for("nothing")


def test_a_slow_line_delays_the_echo_by_its_bytes(echo):
    echo.rate = 10_000.0
    assert echo.echo_seconds("k", lambda lines: "b'k'" in lines) < 0.2
    # 2,000 dots at 10,000 bytes a second.
    assert 0.2 <= echo.echo_seconds("l", lambda lines: "end" in lines) < 0.6


def test_a_stalled_terminal_blocks_its_writer_until_it_reads_on(echo):
    echo.settle(0.1)
    echo.stall()
    echo.key("f")
    mark = echo.mark()
    time.sleep(0.2)
    assert echo.mark() == mark
    echo.resume()
    echo.wait_for("flood")


def test_a_dropped_line_hangs_the_program_up(echo):
    echo.hangup()
    assert echo.wait(5) == -signal.SIGHUP


def test_a_sequence_may_come_in_pieces():
    emulator = Emulator(20, 2)
    answers = b""
    for byte in (
        b"\x1b]2;title\x07\x1b]22;pointer\x1b\\\x1b[?1049hh\xc3\xa9llo\x1b[5n\x1bPq#1\x1b\\\x1b[<u."
    ):
        answers += emulator.receive(bytes([byte]), 0.0)
    assert emulator.lines() == ["héllo.", ""]
    assert emulator.title == "title"
    assert answers == b"\x1b[0n"


def test_tmux_shows_a_program_and_keeps_its_last_lines():
    with Tmux(50, 8) as tmux:
        tmux.run([sys.executable, "-c", ECHO], {"HELLO": "1"})
        tmux.wait_for("ready 50 8")
        tmux.keys("Up")
        tmux.wait_for(r"b'\x1b[A'")
        tmux.keys("Up", literal=True)
        tmux.wait_for("b'Up'")
        tmux.keys("q")
        assert tmux.wait() == 0
        assert "bye" in "\n".join(tmux.screen())
        tmux.run([sys.executable, "-c", "import os; print('again'); os.kill(os.getpid(), 9)"])
        assert tmux.wait() == 128 + signal.SIGKILL


class _Small(App[None]):
    CSS = "Static { background: #102030; color: #ffffff; }"

    def compose(self):
        yield Static("hello [b]bold[/b]")


def test_an_app_is_text_and_its_colours_are_runs():
    async def look():
        app = _Small()
        async with app.run_test(size=(20, 2)):
            return screen_text(app), styled_text(app)

    text, styled = asyncio.run(look())
    assert text == "hello bold\n"
    assert styled.splitlines()[:2] == [
        "00:000 'hello ' #ffffff on #102030",
        "00:006 'bold' #ffffff on #102030 bold",
    ]


def test_a_snapshot_is_written_only_on_request_and_never_in_ci(tmp_path, monkeypatch):
    monkeypatch.delenv(UPDATE, raising=False)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(AssertionError, match=r"there is no one\.txt"):
        assert_snapshot("one", "a\nb", tmp_path)
    monkeypatch.setenv(UPDATE, "1")
    assert_snapshot("one", "a\nb", tmp_path)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="is set in CI"):
        assert_snapshot("one", "a\nc", tmp_path)
    monkeypatch.delenv(UPDATE)
    with pytest.raises(AssertionError, match=r"(?s)-b\n\+c"):
        assert_snapshot("one", "a\nc", tmp_path)
    assert_snapshot("one", "a\nb", tmp_path)


def test_a_made_run_stands_where_a_real_one_would_and_trains_on_request(own_home):
    run = make_run(own_home / "runs", 60, through="prep")
    statuses = {s.stage.name: s for s in status_of_run(run, "", cache_home())}
    states = [statuses[name].state for name in ("corpus", "sdg", "prep", "finetune")]
    assert states == ["done", "done", "done", "new"]
    passages = {p.id: p for p in read_passages(statuses["corpus"].result.folder)}
    samples = list(read_samples(statuses["sdg"].result.folder))
    assert len({sample.id for sample in samples}) == 60
    for sample in samples:
        assert set(sample.passages) <= set(passages)
        for quote in sample.quotes:
            assert passages[quote.passage].text[quote.start : quote.end] == quote.text != ""
    with training_journal(run, steps=10_000, hz=50) as worker:
        status = status_of_run(run, "", cache_home())[3]
        assert status.state == "running"
        ask(run.result_folder("finetune", status.identity.fingerprint), "finish")
        assert worker.wait(10) == 0
    assert status_of_run(run, "", cache_home())[3].result.partial
