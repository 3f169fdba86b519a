"""Durable files: written beside their place, synced, renamed; hashed by content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` when the block ends well.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def sweep(folder: Path) -> None:
    """Remove the half-written files and folders that a killed process left below `folder`."""
    for path in list(folder.rglob(".*.part")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text`, durably."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append one line, synced; lines of several writers never mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(value: object) -> str:
    """The one JSON spelling of `value`: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value` as indented JSON with sorted keys."""
    write_text(
        path,
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n",
    )


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        BadInput: the file is not JSON; the message names file and line.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _unreadable(path, getattr(error, "lineno", 1), error) from error


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Replace `path` by one canonical JSON object a line; returns the number of lines."""
    count = 0
    with writing_jsonl(path) as write:
        for row in rows:
            write(row)
            count += 1
    return count


@contextmanager
def writing_jsonl(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield what writes one row; `path` is replaced by all of them when the block ends well."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:

        def write(row: Mapping[str, Any]) -> None:
            stream.write(canonical_json(row) + "\n")

        yield write
        stream.flush()
        os.fsync(stream.fileno())


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file; blank lines are skipped.

    Raises:
        BadInput: a line is not a JSON object; the message names file and line.
    """
    with path.open(encoding="utf-8") as stream:
        try:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise _unreadable(path, number, error) from error
                if not isinstance(row, dict):
                    raise _unreadable(path, number, ValueError("not a JSON object"))
                yield row
        except UnicodeDecodeError as error:
            raise _unreadable(path, 0, error) from error


def _unreadable(path: Path, line: int, error: Exception) -> BadInput:
    return BadInput(
        f"{path}, line {line}: {error}",
        safe="Nothing was changed.",
        next_step="Mend or remove that line and run the same command again.",
    )


def digest_bytes(content: bytes) -> str:
    """SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_value(value: object) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value).encode())


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_folder(folder: Path) -> dict[str, str]:
    """Relative POSIX path to SHA-256 of every file below `folder`, in sorted order."""
    return {
        path.relative_to(folder).as_posix(): digest_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def folder_size(folder: Path) -> int:
    """Bytes of the files below `folder`, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
