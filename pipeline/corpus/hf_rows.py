"""The process that reads a Hugging Face dataset: a request on its input, rows into a file.

`datasets` is imported here and nowhere else.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.corpus.fields import has_text, known_fields, missing_text
from pipeline.corpus.text import clean_json, one_line
from pipeline.files import write_jsonl

_MEND = "Mend that, or download the dataset's files and give their folder."


class _Unusable(Exception):
    """A dataset that is not what was asked for; what to do stands in `next_step`."""

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(what)
        self.next_step = next_step


def main() -> None:
    """Read a request, write rows, and say how many or, whatever was raised, what is wrong."""
    sys.excepthook = _tell
    request = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="embedsmith-") as scratch:
        count = write_jsonl(Path(request["target"]), _rows(request, scratch))
    sys.stdout.write(json.dumps({"rows": count}) + "\n")


def _tell(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """A failure in one line: a library's message goes on over many, and the first one says it."""
    words = (str(error).strip().splitlines() or [""])[0]
    trouble = str(error) if isinstance(error, _Unusable) else f"{words} ({kind.__name__})"
    next_step = error.next_step if isinstance(error, _Unusable) else _MEND
    sys.stdout.write(json.dumps({"trouble": one_line(trouble, 300), "next_step": next_step}) + "\n")


def _rows(request: Mapping[str, str], scratch: str) -> Iterator[dict[str, Any]]:
    text_field = request["text_field"]
    for split, table in _tables(request, scratch).items():
        if not has_text(table.column_names, text_field):
            raise _Unusable(missing_text(table.column_names, text_field), _MEND)
        kept = table.select_columns(_plain(table, known_fields(table.column_names, text_field)))
        for number, row in enumerate(kept, start=1):
            yield {"where": f"{split}, row {number}", "fields": clean_json(row)}


def _plain(table: Any, names: list[str]) -> list[str]:
    """Those columns that hold no pictures or sounds, which are slow to open and no text."""
    from datasets import Audio, Image, Video

    return [name for name in names if not isinstance(table.features[name], (Audio, Image, Video))]


def _tables(request: Mapping[str, str], scratch: str) -> dict[str, Any]:
    """The dataset's splits that were asked for, in its order."""
    from datasets import Dataset, DatasetDict

    split = request["split"] or None
    found = _saved(request, split) if _is_saved(request) else _built(request, split, scratch)
    if isinstance(found, Dataset):
        return {request["split"] or "dataset": found}
    assert isinstance(found, DatasetDict)
    return {str(name): table for name, table in found.items()}


def _is_saved(request: Mapping[str, str]) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    folder = Path(request["folder"])
    names = ("dataset_dict.json", "state.json")
    return bool(request["folder"]) and any((folder / name).is_file() for name in names)


def _saved(request: Mapping[str, str], split: str | None) -> Any:
    from datasets import DatasetDict, load_from_disk

    found = load_from_disk(request["folder"])
    if split is None or not isinstance(found, DatasetDict):
        return found
    if split not in found:
        raise _Unusable(
            f"there is no split {split!r}", f"Choose one of {', '.join(map(str, found))}."
        )
    return found[split]


def _built(request: Mapping[str, str], split: str | None, scratch: str) -> Any:
    from datasets import load_dataset_builder

    if request["folder"]:
        builder = load_dataset_builder(request["folder"], cache_dir=scratch)
    else:
        builder = load_dataset_builder(
            request["name"], request["config"] or None, revision=request["commit"]
        )
        if builder.hash != request["commit"]:
            # `datasets` takes any version that it has when it cannot get the one it was asked for.
            raise _Unusable(
                f"its commit {request['commit'][:12]} is not on this machine, and the hub didn't "
                "give it",
                "Try again when the hub can be reached, and HF_HUB_OFFLINE is not set.",
            )
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


if __name__ == "__main__":
    main()
