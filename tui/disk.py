"""Looking at folders and what they hold: listings, counts, completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from os import scandir
from pathlib import Path

from pipeline.corpus.source import visible_files
from tui.off_loop import Stopped
from tui.rows import printable


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
