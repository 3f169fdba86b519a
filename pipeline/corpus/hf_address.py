"""Addresses of Hugging Face datasets: `hf://owner/name[/config][@revision][:split]`, or a folder.

Pure, and light: the command line reads addresses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.text import one_line
from pipeline.errors import BadInput

SCHEME = "hf://"

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(?:\[[0-9:%-]{1,40}\])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Dataset:
    """Which dataset, and which part of it.

    Attributes:
        name: `owner/name`; empty for a folder.
        config: its configuration (subset); empty for the only one.
        revision: branch, tag or commit.
        split: empty for all of them, in their order.
        folder: where it lies on this machine; None for the hub's.
        commit: what `revision` stands for, 40 hexadecimal digits; empty until it is resolved.
    """

    name: str = ""
    config: str = ""
    revision: str = "main"
    split: str = ""
    folder: Path | None = None
    commit: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What decides which rows it has."""
        return (self.name, self.config, self.commit, self.split)

    @property
    def words(self) -> str:
        """What it is called in messages."""
        return str(self.folder) if self.folder else f"{SCHEME}{self.name}"


def is_address(source: str) -> bool:
    """Whether a source is the address of a dataset."""
    return source.startswith(SCHEME)


def is_commit(value: object) -> bool:
    """Whether this is a whole commit hash."""
    return isinstance(value, str) and bool(_COMMIT.fullmatch(value))


def parse_address(source: str) -> Dataset:
    """Take an address apart.

    Raises:
        BadInput: it is none.
    """
    rest = source.removeprefix(SCHEME)
    if rest.startswith("/"):
        return _folder(rest)
    rest, _, split = rest.partition(":")
    rest, at, revision = rest.partition("@")
    parts = rest.removesuffix("/").split("/")
    if parts[0] == "datasets" and len(parts) > 2:  # as its own file system spells it
        parts = parts[1:]
    fits = len(parts) in (2, 3) and all(_PART.fullmatch(part) for part in parts)
    if not fits or (at and not _usable(revision)) or (split and not _SPLIT.fullmatch(split)):
        raise BadInput(
            f"{one_line(source)} is no address of a dataset.",
            safe="Nothing was changed and nothing was asked.",
            next_step="Give hf://owner/name, behind it /config, @revision and :split where needed, "
            "or hf:///folder for a dataset on this machine.",
        )
    revision = revision or "main"
    return Dataset(
        name="/".join(parts[:2]),
        config=parts[2] if len(parts) == 3 else "",
        revision=revision,
        split=split,
        commit=revision if is_commit(revision) else "",
    )


def _usable(revision: str) -> bool:
    return bool(_REVISION.fullmatch(revision)) and ".." not in revision


def _folder(path: str) -> Dataset:
    """A folder, whose name may hold a colon as well."""
    before, colon, split = path.rpartition(":")
    if colon and _SPLIT.fullmatch(split) and not Path(path).exists():
        return Dataset(folder=Path(before), split=split)
    return Dataset(folder=Path(path))
