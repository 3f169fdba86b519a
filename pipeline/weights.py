"""The identity of base weights: hashed once a file, remembered by size and time."""

from __future__ import annotations

from pathlib import Path

from pipeline.files import digest_file, digest_value, read_json, write_json
from pipeline.profiles import Profile, weights_folder

_IDENTITY_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})


def weights_digest(profile: Profile, cache: Path) -> str:
    """Hash of a profile's weights, configuration and tokenizer.

    Args:
        profile: the base model.
        cache: where file hashes are remembered.

    Raises:
        MissingPart: the weights are not on this machine.
    """
    folder = weights_folder(profile)
    memory_path = cache / "weights.json"
    memory: dict[str, str] = read_json(memory_path) if memory_path.is_file() else {}
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
