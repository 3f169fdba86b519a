"""Looking at disks that may be slow, without holding up a window or its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from os import scandir
from pathlib import Path
from typing import TypeVar

from pipeline.corpus.source import visible_files
from tui.rows import printable

T = TypeVar("T")

Stopped = Callable[[], bool]
"""Whether nobody waits for the answer any more."""


async def off_loop(function: Callable[[Stopped], T]) -> T:
    """Run a function in a daemon thread: unlike an executor's, it never holds up leaving.

    Args:
        function: gets `stopped`, which turns true when nobody waits for its answer any more.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def take(value: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, fault = None, None
        try:
            value = function(stop.is_set)
        except Exception as error:
            fault = error  # raised again where the answer is awaited
        with suppress(RuntimeError):  # the window has left
            loop.call_soon_threadsafe(take, value, fault)

    threading.Thread(target=work, daemon=True).start()
    try:
        return await answer
    finally:
        stop.set()


@dataclass(frozen=True)
class Listing:
    """What a folder holds, hidden entries left out.

    Attributes:
        path: the folder.
        folders: the names of the folders in it, sorted.
        files: the names of its files, sorted.
    """

    path: Path
    folders: tuple[str, ...]
    files: tuple[str, ...]


def list_folder(path: Path, *, hidden: bool = False) -> Listing:
    """List one folder.

    Raises:
        OSError: it can't be listed.
    """
    folders: list[str] = []
    files: list[str] = []
    with scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") and not hidden:
                continue
            try:
                inside = entry.is_dir()
            except OSError:
                inside = False
            (folders if inside else files).append(entry.name)
    return Listing(path, tuple(sorted(folders)), tuple(sorted(files)))


def count_files(root: Path, most: int, stopped: Stopped) -> int:
    """How many files below a folder `corpus` would look at; it counts to `most` and no further."""
    count = 0
    for _ in islice(visible_files(root), most):
        if stopped():
            break
        count += 1
    return count


def completion(typed: str, listing: Listing, suffixes: Sequence[str]) -> str | None:
    """A typed path with the first name that completes it: folders first, then files.

    Args:
        typed: the path so far.
        listing: what lies in the folder that it names.
        suffixes: the endings of files that may be chosen.
    """
    tail = typed.rpartition("/")[2]
    kept = typed[: len(typed) - len(tail)]
    files = (name for name in listing.files if name.endswith(tuple(suffixes)))
    for name in (*(f"{folder}/" for folder in listing.folders), *files):
        shown = name.startswith(".") <= tail.startswith(".")
        if shown and name.startswith(tail) and name != tail and printable(name) == name:
            return kept + name
    return None
