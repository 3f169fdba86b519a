"""Words that were typed and not saved: kept in the run folder, so that no window loses them.

One small file for each sample, replaced as a whole: two windows that edit different samples don't
meet, and of two that edit the same one the last word stays.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.files import digest_value, read_json, write_json
from pipeline.review.edit_text import Edited
from pipeline.run import Run

_FOLDER = "drafts"


def read_draft(run: Run, sample: str) -> Edited | None:
    """What was typed for a sample; None where nothing was, or where it can't be read."""
    path = _path(run, sample)
    try:
        row = read_json(path)
        return Edited(str(row["question"]), str(row["answer"]))
    except (BadInput, OSError, LookupError, TypeError):
        return None


def write_draft(run: Run, sample: str, words: Edited) -> None:
    """Keep what was typed; it is on the disk when this returns.

    Raises:
        OSError: the disk is full.
    """
    row = {"sample": sample, "question": _clean(words.question), "answer": _clean(words.answer)}
    write_json(_path(run, sample), row)


def drop_draft(run: Run, sample: str) -> None:
    """Forget what was typed: it was saved, or taken back."""
    _path(run, sample).unlink(missing_ok=True)


def list_drafts(run: Run) -> tuple[str, ...]:
    """Ids of the samples that have one; a file that can't be read is left out."""
    found = []
    for path in sorted((run.decisions_path.parent / _FOLDER).glob("*.json")):
        with suppress(BadInput, OSError, LookupError, TypeError):
            found.append(str(read_json(path)["sample"]))
    return tuple(found)


def _path(run: Run, sample: str) -> Path:
    # An imported id may hold anything; it names no file.
    return run.decisions_path.parent / _FOLDER / f"{digest_value(sample)[:16]}.json"


def _clean(text: str) -> str:
    """Without what no file can hold: halves of a character."""
    return text.encode("utf-8", "replace").decode()
