"""Where documents come from: a folder, ready passages, a Hugging Face dataset, `pydoc`, a BEIR
folder or NVIDIA SDG output.

The command line imports this module to fingerprint a source, so it imports nothing heavy.
"""

from __future__ import annotations

import mmap
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.beir import CORPUS, QUERIES, SPLITS, is_beir_folder
from pipeline.corpus import pydoc_source
from pipeline.corpus.fields import has_text, missing_text
from pipeline.corpus.globs import matcher
from pipeline.corpus.hf_address import Dataset, is_address, parse_address
from pipeline.corpus.hf_revision import resolved
from pipeline.corpus.records import PYDOC, FileReport
from pipeline.corpus.tables import TABLE_SUFFIXES, head_fields
from pipeline.corpus.text import one_line
from pipeline.errors import BadInput
from pipeline.files import digest_file, digest_value, read_json
from pipeline.run import datasets_cache
from pipeline.settings import CorpusSettings

MANIFEST = "generation_result.json"
"""What NVIDIA's sdg stage leaves for its next stage; it names the file of records."""
SDG_SUFFIXES = (".json", ".jsonl", ".parquet")

Kind = Literal["folder", "pydoc", "beir", "sdg", "ready", "hf"]

_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})
_NAMED = 3
"""So many of the files that globs leave out are named."""


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
        root: its folder; None for `pydoc` and a dataset of the hub.
        files: its files by name, sorted; empty where `root` is None.
        left_out: for the report: what `corpus.include` and `corpus.exclude` leave out. It is part
            of no fingerprint: such files may come and go.
        dataset: of kind `hf`, which dataset.
        bytes_max: files of a folder that are larger count by their size alone: nobody reads them.
    """

    kind: Kind
    root: Path | None
    files: tuple[SourceFile, ...]
    left_out: tuple[FileReport, ...] = ()
    dataset: Dataset | None = None
    bytes_max: int = 0

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
        if self.dataset and not self.root:
            return digest_value(["hf", *self.dataset.identity])
        entries = [[file.name, self._content_mark(file)] for file in self.files]
        split = [self.dataset.split] if self.dataset else []
        return digest_value([self.kind, entries, *split])

    def _content_mark(self, file: SourceFile) -> str:
        """A file's hash; of a file too large or unreadable, only that it is so."""
        try:
            size = file.path.stat().st_size
            unread = self.kind == "folder" and size > self.bytes_max
            return f"size {size}" if unread else digest_file(file.path)
        except OSError as error:
            return f"unreadable: {error.strerror}"


def open_source(source: str, settings: CorpusSettings | None = None) -> Source:
    """Find out what a source is and list its files; nothing is parsed.

    A dataset of the hub costs one question to the hub, once on this machine; see
    `pipeline.corpus.hf_revision`.

    Args:
        source: `pydoc`, `hf://` and a dataset, or the path of a folder or file.
        settings: which files count, and where ready passages have their text; None: the defaults.

    Raises:
        BadInput: there is nothing at that path, or nothing usable in it, or the hub doesn't say
            what the dataset holds.
    """
    settings = settings or CorpusSettings()
    if source == PYDOC:
        return Source("pydoc", None, ())
    if is_address(source):
        return _dataset(parse_address(source))
    if not source:
        raise _bad("The run has no corpus: corpus.source is empty.")
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise _bad(f"There is no folder {path}.")
    if path.is_file():
        return _one_file(path, settings)
    if is_beir_folder(path):
        names = (CORPUS, QUERIES, *(f"qrels/{split}.tsv" for split in SPLITS))
        present = [SourceFile(path / name, name) for name in names if (path / name).is_file()]
        return Source("beir", path, tuple(present))
    return _folder(path, settings)


def walk(root: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[SourceFile]:
    """The files below a folder, sorted by name, each inode once.

    Hidden entries, `node_modules` and `__pycache__` are passed over. Linked folders are not
    entered; linked files count when they lie inside the folder. A folder that cannot be listed
    comes as a file: reading it fails, and the report says so.

    Args:
        root: the folder.
        wanted: whether a file counts, by its name relative to the folder.
    """
    inside = root.resolve()
    seen: dict[int, list[os.DirEntry[str]]] = {}
    for name, entry in sorted(_found(root), key=lambda found: found[0]):
        shown, path = _readable(name), root / name
        if not wanted(shown):
            continue
        if entry is not None and entry.is_symlink() and not path.resolve().is_relative_to(inside):
            continue
        if entry is not None and _seen_before(entry, seen):
            continue
        yield SourceFile(path, shown)


def visible_files(root: Path) -> Iterator[Path]:
    """The files that `walk` looks at, as they are met; nothing of them is read."""
    return (root / name for name, _ in _found(root))


def _found(root: Path) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """Files by their name relative to the root; a folder that cannot be listed has no entry."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = list(entries)
        except OSError:
            yield folder or ".", None
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED_FOLDERS:
                    folders.append(name)
            elif _may_be_read(entry):
                yield name, entry


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """False for pipes, sockets and dangling links; what cannot be looked at is kept."""
    try:
        return entry.is_file()
    except OSError:
        return True


def _seen_before(entry: os.DirEntry[str], seen: dict[int, list[os.DirEntry[str]]]) -> bool:
    """Whether it is a file that has come already, by another name. A number alone tells files of
    one device apart, and costs nothing to ask for; only where it comes again they are looked at."""
    try:
        number = entry.stat().st_ino if entry.is_symlink() else entry.inode()
        others = seen.setdefault(number, [])
        device = entry.stat().st_dev if others else 0
        same = any(other.stat().st_dev == device for other in others)
    except OSError:
        return False
    if not same:
        others.append(entry)
    return same


def _readable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Choice:
    """Which files `corpus.include` and `corpus.exclude` choose, and a count of the others."""

    def __init__(self, settings: CorpusSettings) -> None:
        self._included = matcher(settings.include) if settings.include else None
        self._excluded = matcher(settings.exclude)
        self._out: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, name: str) -> bool:
        if self._excluded(name):
            return self._leave("corpus.exclude", name)
        if self._included and not self._included(name):
            return self._leave("corpus.include", name)
        return True

    def _leave(self, setting: str, name: str) -> bool:
        self._counts[setting] = self._counts.get(setting, 0) + 1
        if self._counts[setting] <= _NAMED:
            self._out.setdefault(setting, []).append(one_line(name))
        return False

    @property
    def reports(self) -> tuple[FileReport, ...]:
        """One row a setting: there may be a hundred thousand files."""
        rows = []
        for setting, count in sorted(self._counts.items()):
            said = "excluded by" if setting == "corpus.exclude" else "not included by"
            more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
            files = f"{count:,} file{'s' * (count != 1)}"
            reason = f"{files} {said} {setting}: {', '.join(self._out[setting])}{more}"
            rows.append(FileReport(f"({setting})", "unknown", "skipped", reason))
        return tuple(rows)


def _folder(path: Path, settings: CorpusSettings) -> Source:
    choice = _Choice(settings)
    files = tuple(walk(path, choice))
    left_out = choice.reports
    if not files and left_out:
        raise _bad(f"Nothing in {path} is left: {left_out[0].reason}.")
    if not files:
        raise _bad(f"The folder {path} holds no files (hidden ones are not looked at).")
    if found := _sdg_folder(path, files):
        return replace(found, left_out=left_out)
    suffixes = {file.path.suffix.lower() for file in files}
    ready = suffixes <= set(TABLE_SUFFIXES) and any(_is_ready(file, settings) for file in files)
    largest = settings.file_megabytes_max * 1_000_000
    return Source("ready" if ready else "folder", path, files, left_out, bytes_max=largest)


def _is_ready(file: SourceFile, settings: CorpusSettings) -> bool:
    """Whether a table's rows hold a text. What Parquet holds only its reader knows."""
    if file.path.suffix.lower() == ".parquet":
        return True
    with suppress(OSError):
        return has_text(head_fields(file.path, settings.encoding), settings.text_field)
    return False


def _one_file(path: Path, settings: CorpusSettings) -> Source:
    if path.name == MANIFEST:
        return _sdg_file(path)
    suffix = path.suffix.lower()
    if suffix in SDG_SUFFIXES and _looks_like_sdg(path):
        return _sdg_file(path)
    file = SourceFile(path, path.name)
    if suffix not in TABLE_SUFFIXES:
        raise _bad(
            f"{path} is one file, and neither a table (CSV, TSV, JSON, JSON lines, Parquet) nor "
            "NVIDIA SDG output."
        )
    if not _is_ready(file, settings):
        fields = head_fields(path, settings.encoding)
        raise _bad(f"{path}: {missing_text(fields, settings.text_field)}.")
    return Source("ready", path.parent, (file,))


def _dataset(dataset: Dataset) -> Source:
    if dataset.folder is None:
        return Source("hf", None, (), dataset=resolved(dataset, os.environ, datasets_cache()))
    if not dataset.folder.is_dir():
        raise _bad(f"There is no folder {dataset.folder}.")
    files = tuple(walk(dataset.folder))
    if not files:
        raise _bad(f"The folder {dataset.folder} holds no files.")
    return Source("hf", dataset.folder, files, dataset=dataset)


def _sdg_file(path: Path) -> Source:
    if path.name == MANIFEST:
        path = _manifest_target(path)
        if path.is_dir():
            return _sdg_folder(path, tuple(walk(path))) or _no_sdg(path)
    if path.suffix not in SDG_SUFFIXES or not _looks_like_sdg(path):
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
        next_step="Give a folder of documents, a file of ready passages (CSV, JSONL), a BEIR "
        "folder, NVIDIA SDG output, hf://owner/name, or pydoc.",
    )
