"""Where documents come from: a folder, `pydoc`, a BEIR folder or NVIDIA SDG output.

The command line imports this module to fingerprint a source, so it imports nothing heavy.
"""

from __future__ import annotations

import mmap
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.beir import CORPUS, QUERIES, SPLITS, is_beir_folder
from pipeline.corpus import pydoc_source
from pipeline.corpus.readers import BYTES_MAX
from pipeline.errors import BadInput
from pipeline.files import digest_file, digest_value, read_json

PYDOC = "pydoc"
"""The source that every machine has: the standard library's own documentation."""
MANIFEST = "generation_result.json"
"""What NVIDIA's sdg stage leaves for its next stage; it names the file of records."""
SDG_SUFFIXES = (".json", ".jsonl", ".parquet")

Kind = Literal["folder", "pydoc", "beir", "sdg"]

_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: where it lies.
        name: its path relative to the source, POSIX form.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Source:
    """Documents before they are read.

    Attributes:
        kind: what it is.
        root: its folder; None for `pydoc`.
        files: its files by name, sorted; empty for `pydoc`.
    """

    kind: Kind
    root: Path | None
    files: tuple[SourceFile, ...]

    def digest(self) -> str:
        """Hash over names and contents: what the corpus's fingerprint is made from."""
        if self.kind == "pydoc":
            return digest_value(
                [
                    "pydoc",
                    platform.python_version(),
                    pydoc_source.RENDERER_VERSION,
                    pydoc_source.MODULES,
                ]
            )
        entries = [[file.name, _content_mark(file, self.kind)] for file in self.files]
        return digest_value([self.kind, entries])


def open_source(source: str) -> Source:
    """Find out what a source is and list its files; nothing is parsed.

    Args:
        source: `pydoc`, or the path of a folder or an SDG file.

    Raises:
        BadInput: there is nothing at that path, or nothing in it.
    """
    if source == PYDOC:
        return Source("pydoc", None, ())
    if not source:
        raise _bad("The run has no corpus: corpus.source is empty.")
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise _bad(f"There is no folder {path}.")
    if path.is_file():
        return _sdg_file(path)
    if is_beir_folder(path):
        names = (CORPUS, QUERIES, *(f"qrels/{split}.tsv" for split in SPLITS))
        present = [SourceFile(path / name, name) for name in names if (path / name).is_file()]
        return Source("beir", path, tuple(present))
    files = tuple(walk(path))
    if not files:
        raise _bad(f"The folder {path} holds no files (hidden ones are not looked at).")
    return _sdg_folder(path, files) or Source("folder", path, files)


def walk(root: Path) -> Iterator[SourceFile]:
    """The files below a folder, sorted by name, each inode once.

    Hidden entries, `node_modules` and `__pycache__` are passed over. Linked folders are not
    entered; linked files count when they lie inside the folder. A folder that cannot be listed
    comes as a file: reading it fails, and the report says so.
    """
    inside = root.resolve()
    seen: set[tuple[int, int]] = set()
    for path in sorted(visible_files(root), key=lambda p: p.relative_to(root).as_posix()):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            continue
        with suppress(OSError):
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        yield SourceFile(path, _readable(path.relative_to(root).as_posix()))


def visible_files(root: Path) -> Iterator[Path]:
    """The files that `walk` looks at, as they are met; nothing of them is read."""
    unlisted: list[OSError] = []
    for folder, subfolders, names in os.walk(root, followlinks=False, onerror=unlisted.append):
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        ]
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if _may_be_read(path))
    yield from (Path(error.filename) for error in unlisted)


def _may_be_read(path: Path) -> bool:
    """False for pipes, sockets and dangling links; what cannot be looked at is kept."""
    try:
        return path.is_file()
    except OSError:
        return True


def _readable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _content_mark(file: SourceFile, kind: Kind) -> str:
    """A file's hash; of a file too large or unreadable, only that it is so."""
    try:
        size = file.path.stat().st_size
        return f"size {size}" if kind == "folder" and size > BYTES_MAX else digest_file(file.path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _sdg_file(path: Path) -> Source:
    if path.name == MANIFEST:
        path = _manifest_target(path)
        if path.is_dir():
            return _sdg_folder(path, tuple(walk(path))) or _no_sdg(path)
    if path.suffix not in SDG_SUFFIXES:
        raise _bad(f"{path} is one file, and not NVIDIA SDG output (JSON, JSONL, Parquet).")
    if not _looks_like_sdg(path):
        _no_sdg(path)
    return Source("sdg", path.parent, (SourceFile(path, path.name),))


def _sdg_folder(path: Path, files: tuple[SourceFile, ...]) -> Source | None:
    """The folder as SDG output, or None when it is a folder of documents."""
    if (path / MANIFEST).is_file():
        return _sdg_file(path / MANIFEST)
    suffixes = {file.path.suffix for file in files}
    if not suffixes <= set(SDG_SUFFIXES) or not _looks_like_sdg(files[0].path):
        return None
    if len(suffixes) > 1:
        raise _bad(f"The folder {path} mixes {', '.join(sorted(suffixes))}; SDG output has one.")
    return Source("sdg", path, files)


def _manifest_target(manifest: Path) -> Path:
    """The records that a manifest names: where it says, or beside it when it was moved."""
    document = read_json(manifest)
    named = document.get("output_path") if isinstance(document, dict) else None
    if not isinstance(named, str) or not named:
        raise _bad(f"{manifest} names no output_path.")
    for path in (manifest.parent / named, manifest.parent / Path(named).name):
        if path.exists() and path != manifest:
            return path.absolute()
    raise _bad(f"{manifest} names {Path(named).name}, and there is no such file.")


def _looks_like_sdg(path: Path) -> bool:
    """Whether a file names the fields of a record; Parquet has them in its schema as well."""
    if path.stat().st_size == 0:
        return False
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        pairs = (b"deduplicated_qa_pairs", b"qa_generation")
        return content.find(b"chunks") >= 0 and any(content.find(name) >= 0 for name in pairs)


def _no_sdg(path: Path) -> Source:
    raise _bad(f"{path} holds no SDG records: they have `chunks` and `deduplicated_qa_pairs`.")


def _bad(happened: str) -> BadInput:
    return BadInput(
        happened,
        safe="Nothing was changed.",
        next_step="Give a folder of documents, a BEIR folder, NVIDIA SDG output, or pydoc.",
    )
