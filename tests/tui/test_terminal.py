"""The live line on a terminal, and what happens when the terminal goes away."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import time

import pytest
from commandline import COMMAND, Cli
from documents import WORDS


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path / "home")


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(8):
        text = f"# Part {number}\n\n" + "\n\n".join(
            f"Item {number}-{n}. {WORDS}" for n in range(12)
        )
        (folder / f"{number}.md").write_text(text)
    return folder


def on_terminal(cli, *arguments, columns=80):
    """Start a command on a terminal of its own; gives the process and the terminal's other end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        env=cli.environment | {"TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    return process, master


def read_all(master):
    content = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            return content.decode()
        if not piece:
            return content.decode()
        content += piece


def test_progress_is_one_live_line_that_never_wraps(cli, documents):
    process, master = on_terminal(cli, "rehearse", documents, "--to", "sdg")
    screen = read_all(master)
    assert process.wait(timeout=180) == 0
    drawn = [part for part in screen.split("\x1b[2K")[1:] if part.strip()]
    # What stays ends its line; what is drawn over doesn't.
    live = [part for part in drawn if "\r\n" not in part]
    assert live
    assert [line for line in live if len(line.strip("\r")) >= 80] == []
    assert "sdg: done in" in screen


def test_a_line_that_drops_ends_the_view_and_not_the_chain(cli, documents):
    process, master = on_terminal(cli, "rehearse", documents, "--to", "sdg")
    os.read(master, 100)
    time.sleep(0.5)
    os.close(master)
    assert process.wait(timeout=120) == 0
    assert cli.done("rehearsal-documents", "sdg")["summary"]["written"] > 0


def test_words_of_a_document_can_not_move_the_cursor(cli, documents):
    (documents / "evil\x1b[31m.bin").write_bytes(b"\0" * 100)
    (documents / "red.md").write_text("# Red\x1b[31m\n\n" + f"A \x1b]0;title\x07 word. {WORDS}" * 9)
    cli("rehearse", documents, "--to", "sdg")
    assert "\x1b" not in cli("review", "rehearsal-documents").out
    assert "\x1b" not in cli("show", "rehearsal-documents").out
