"""The identity of base weights: hashed once a file, remembered by size and time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadInput, MissingPart
from pipeline.files import digest_file, digest_value, read_json, write_json
from pipeline.profiles import Profile, weights_folder

_IDENTITY_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})
_INDEX = "model.safetensors.index.json"
_TENSORS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Weights:
    """Base weights as they lie on this machine.

    Attributes:
        folder: where.
        size: bytes of all files.
    """

    folder: Path
    size: int


def find_weights(profile: Profile) -> Weights:
    """Where a profile's weights lie, and how large they are; nothing of them is read.

    Raises:
        MissingPart: they are not on this machine, or a download of them was not finished.
        BadInput: the list of their files is damaged.
    """
    folder = weights_folder(profile)
    index = folder / _INDEX
    missing = sorted(name for name in _shards(index) if not (folder / name).is_file())
    if missing or not any(path.is_file() for kind in _TENSORS for path in folder.glob(kind)):
        raise MissingPart(
            f"The weights in {folder} are not complete: {', '.join(missing[:3]) or 'their file'} "
            "is not there.",
            safe="The run is as it was.",
            next_step=f"Run `hf download {profile.id}` again: it fetches what is missing.",
        )
    files = (path for path in folder.rglob("*") if path.is_file())
    return Weights(folder, sum(path.stat().st_size for path in files))


def weights_digest(profile: Profile, cache: Path) -> str:
    """Hash of a profile's weights, configuration and tokenizer.

    Args:
        profile: the base model.
        cache: where file hashes are remembered.

    Raises:
        MissingPart: the weights are not on this machine.
    """
    return folder_digest(weights_folder(profile), cache)


def folder_digest(folder: Path, cache: Path) -> str:
    """Hash of the weights, configuration and tokenizer in a folder; see `weights_digest`.

    Raises:
        MissingPart: there is no such folder.
    """
    if not folder.is_dir():
        raise MissingPart(
            f"There is no folder {folder}.",
            safe="The run is as it was.",
            next_step="Give the folder that holds the model's files.",
        )
    memory_path = cache / "weights.json"
    memory = _remembered(memory_path)
    known = len(memory)
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _IDENTITY_SUFFIXES or not path.is_file():
            continue
        status = path.stat()
        key = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
        if key not in memory:
            memory[key] = digest_file(path)
        digests[path.relative_to(folder).as_posix()] = memory[key]
    if len(memory) > known:
        write_json(memory_path, memory)
    return digest_value(digests)


def _shards(index: Path) -> Collection[str]:
    """The names of the weights' files, where there are several."""
    if not index.is_file():
        return ()
    document = read_json(index)
    names = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise BadInput(
            f"{index} doesn't say which files hold the weights.",
            safe="The run is as it was.",
            next_step="Get the model's files again.",
        )
    return set(names.values())


def _remembered(path: Path) -> dict[str, str]:
    """The digests that were remembered; none where the file is damaged: they are found again."""
    if not path.is_file():
        return {}
    try:
        memory = read_json(path)
    except BadInput:
        return {}
    return memory if isinstance(memory, dict) else {}
