"""A Hugging Face dataset as a corpus: its rows are ready passages.

`datasets` runs in a process of its own, which may ask the hub although this worker may not, and
which takes its memory along when it ends. What it read of a dataset of the hub stays in the
cache, so that it is read the same way when the hub is out of reach.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.corpus.entries import Loaded
from pipeline.corpus.hf_address import Dataset
from pipeline.corpus.ready_source import take_rows
from pipeline.corpus.source import Source
from pipeline.corpus.tables import Row
from pipeline.corpus.text import one_line
from pipeline.errors import BadInput, MissingPart
from pipeline.files import digest_value, read_jsonl
from pipeline.launch import USERS_OFFLINE
from pipeline.secrets import redact

_POLL = 0.2
"""Seconds between two looks at the process that reads."""


def load_dataset_rows(
    source: Source, text_field: str, cache: Path, step: Callable[[int, int, str], None]
) -> Loaded:
    """Read a dataset.

    Args:
        source: of kind `hf`.
        text_field: what holds the text; empty: the usual names.
        cache: where rows of the hub's datasets are kept.
        step: called with how many rows are taken, and while one waits; it may raise.

    Raises:
        BadInput: the dataset cannot be read; three sentences say why.
        MissingPart: the process that reads it died.
    """
    assert source.dataset is not None
    name = f"{digest_value([source.digest(), text_field])[:32]}.jsonl"
    if source.root is None:
        cache.mkdir(parents=True, exist_ok=True)
        if not (cache / name).is_file():
            _fetch(source.dataset, text_field, cache / name, step)
        loaded = _take(cache / name, text_field, step)
        return replace(loaded, warnings=(*loaded.warnings, _pinned(source.dataset)))
    with tempfile.TemporaryDirectory(prefix="embedsmith-") as folder:
        _fetch(source.dataset, text_field, Path(folder) / name, step)
        return _take(Path(folder) / name, text_field, step)


def _pinned(dataset: Dataset) -> str:
    return (
        f"{dataset.words} was read at commit {dataset.commit[:12]} ({dataset.revision}); it stays "
        "there on this machine until corpus.source names another."
    )


def _take(path: Path, text_field: str, step: Callable[[int, int, str], None]) -> Loaded:
    def rows() -> Iterator[Row]:
        for number, row in enumerate(read_jsonl(path), start=1):
            yield Row(str(row["where"]), row["fields"])
            step(number, 0, "rows read")

    return take_rows(rows(), "hf", text_field, lambda done: None)


def _fetch(
    dataset: Dataset, text_field: str, target: Path, step: Callable[[int, int, str], None]
) -> None:
    """Have the dataset's rows written to `target`; it is there whole or not at all."""
    request = {
        "name": dataset.name,
        "config": dataset.config,
        "commit": dataset.commit,
        "split": dataset.split,
        "folder": str(dataset.folder or ""),
        "text_field": text_field,
        "target": str(target),
    }
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.corpus.hf_rows"],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.DEVNULL,
            env=_environment(os.environ, local=dataset.folder is not None),
        )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode())
            process.stdin.close()
            while process.poll() is None:
                step(0, 0, f"waiting for {dataset.words}")
                time.sleep(_POLL)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        said.seek(0)
        _raise_trouble(dataset, said.read().decode("utf-8", "replace"), process.returncode)


def _environment(environment: Mapping[str, str], *, local: bool) -> dict[str, str]:
    """The reading process's variables: a worker is offline, its user need not be."""
    theirs = environment.get(USERS_OFFLINE, environment.get("HF_HUB_OFFLINE", ""))
    return {
        **environment,
        "HF_HUB_OFFLINE": "1" if local else theirs,
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _raise_trouble(dataset: Dataset, said: str, code: int) -> None:
    """Nothing where the process ended well; else its words, without secrets."""
    try:
        answer: Any = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        answer = {}
    if code == 0 and isinstance(answer, dict) and "rows" in answer:
        return
    safe = "Nothing was changed; what was downloaded stays in Hugging Face's cache."
    trouble = answer.get("trouble") if isinstance(answer, dict) else None
    if not trouble:
        raise MissingPart(
            f"The process that reads {dataset.words} died with code {code}.",
            safe=safe,
            next_step="Run the same command again; if memory was short, name one :split.",
        )
    detail = one_line(redact(str(trouble), os.environ), 400)
    raise BadInput(
        f"{dataset.words} cannot be read: {detail}",
        safe=safe,
        next_step=str(answer.get("next_step", "Run the same command again.")),
    )
