"""PDF to Markdown, through a process of its own that a damaged file may crash."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP
from threading import Lock
from typing import Any

from pipeline.corpus.pdf_frames import FRAME, REQUEST
from pipeline.corpus.pdf_layout import Bookmark, Page, is_order_doubtful, line_of, pages_to_markdown
from pipeline.corpus.reading import Reading, Skipped
from pipeline.corpus.text import one_line
from pipeline.errors import StageFailure

SCANNED_CHARACTERS = 50
"""Fewer characters a page on average: pictures of pages."""
_UNMAPPED_MAX = 0.3
"""More characters without a meaning make a text useless. Ours."""
_PATIENCE = 300.0
"""Seconds without another page until the stage ends; a page takes milliseconds."""
_CRASHES = frozenset({SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP})
_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
)
"""What the process is told; it needs no key."""
_NO_TITLES = frozenset({"untitled", "unknown", "title", "document"})


class _Crash(Exception):
    """The process ended while it read a file."""


class _Silence(Exception):
    """The process did not answer in time."""


def read_pdf(name: str, content: bytes, pages_max: int) -> Reading | Skipped:
    """Read a PDF file.

    Whether it is skipped follows from its bytes alone. A crash is tried again in a fresh process;
    a process that hangs ends the stage, for how long it may take depends on the machine.

    Args:
        name: the file's name, for a failure's message.
        content: the file's bytes.
        pages_max: `corpus.pdf_pages_max`.

    Raises:
        StageFailure: the process hung or was killed from outside.
    """
    for attempt in (1, 2):
        try:
            frames = _SERVICE.ask(content, pages_max)
            break
        except _Silence:
            raise _ended(name, f"did not get past a page in {_PATIENCE:g} s") from None
        except _Crash as crash:
            if crash.args[0] not in _CRASHES:
                raise _ended(name, f"was ended from outside ({crash})") from None
            if attempt == 2:
                return Skipped("a damaged PDF: it crashes the reader (pdfium)", "pdf")
    return _reading(frames, pages_max)


def close_pdf_process() -> None:
    """End the process that reads PDF files, if one runs; the next file starts another."""
    _SERVICE.close()


def _reading(frames: list[dict[str, Any]], pages_max: int) -> Reading | Skipped:
    end = frames.pop()
    if refused := end.get("refused"):
        return Skipped(_refusal(refused, end, pages_max), "pdf")
    pages = [_page(frame) for frame in frames]
    characters = sum(len(line.text) for page in pages for line in page.lines)
    damaged = sum("damaged" in frame for frame in frames)
    if 2 * damaged > len(pages):
        return Skipped(f"a damaged PDF: {damaged} of {len(pages)} pages cannot be opened", "pdf")
    if characters < SCANNED_CHARACTERS * (len(pages) - damaged):
        return Skipped(f"scanned, needs OCR: {characters} characters on {len(pages)} pages", "pdf")
    sampled, unmapped = (sum(frame[key] for frame in frames) for key in ("sampled", "unmapped"))
    if unmapped > _UNMAPPED_MAX * sampled:
        return Skipped("needs OCR: its fonts do not say which characters they show", "pdf")
    bookmarks = [Bookmark(level, title, page) for level, title, page in end["outline"]]
    text = pages_to_markdown(pages, bookmarks)
    remarks = []
    if is_order_doubtful(pages):
        remarks.append("the order of its text is doubtful: lines jump on the page")
    if damaged:
        remarks.append(f"{damaged} of {len(pages)} pages could not be opened")
    return Reading("pdf", text, _title(end["title"]), "; ".join(remarks))


def _page(frame: dict[str, Any]) -> Page:
    lines = (line_of(text, place, fixed) for text, *place, fixed in frame["lines"])
    return Page(tuple(filter(None, lines)), frame["height"])


def _refusal(refused: str, frame: dict[str, Any], pages_max: int) -> str:
    return {
        "encrypted": "encrypted: a password is needed to read it",
        "damaged": "a damaged PDF: it cannot be opened",
        "empty": "a PDF without pages",
        "pages": f"{frame.get('pages')} pages; corpus.pdf_pages_max is {pages_max}",
    }[refused]


def _title(title: str) -> str:
    clean = one_line(title).removeprefix("Microsoft Word - ")
    return "" if clean.lower() in _NO_TITLES else clean


def _ended(name: str, what: str) -> StageFailure:
    return StageFailure(
        f"The process that reads PDF files {what}: {one_line(name)}.",
        safe="Nothing was changed.",
        next_step="Run the same command again; leave the file out with corpus.exclude if it "
        "comes back.",
    )


class _Service:
    """One worker process, started when it is needed, for one file after another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, content: bytes, pages_max: int) -> list[dict[str, Any]]:
        """The frames of one file.

        Raises:
            _Crash: the process ended; its argument is the signal, or 0.
            _Silence: no frame came in time.
        """
        with self._lock:
            try:
                return list(self._frames(content, pages_max))
            except BaseException:
                # What is left in the pipes belongs to no other file.
                self._stop(kill=True)
                raise

    def close(self) -> None:
        """End the process in good order."""
        with self._lock:
            self._stop(kill=False)

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop(kill=True)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.corpus.pdf_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
            )
        return self._process

    def _stop(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()
        process.wait()

    def _frames(self, content: bytes, pages_max: int) -> Iterator[dict[str, Any]]:
        process = self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(REQUEST.pack(pages_max, len(content)) + content)
            process.stdin.flush()
        except BrokenPipeError:
            raise _crash_of(process) from None
        while True:
            size = FRAME.unpack(_read(process, FRAME.size))[0]
            frame: dict[str, Any] = json.loads(_read(process, size))
            yield frame
            if "end" in frame or "refused" in frame:
                return


def _read(process: subprocess.Popen[bytes], size: int) -> bytes:
    """Exactly so many bytes of a process's output."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    deadline = time.monotonic() + _PATIENCE
    pieces = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(pieces) < size:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise _Silence
            piece = os.read(pipe, size - len(pieces))
            if not piece:
                raise _crash_of(process)
            pieces += piece
    return bytes(pieces)


def _crash_of(process: subprocess.Popen[bytes]) -> _Crash:
    return _Crash(max(0, -process.wait()))


_SERVICE = _Service()
