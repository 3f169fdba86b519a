"""The eval sets of a run: the held-out synthetic one, and the user's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.beir import EvalSet, read_beir, write_beir
from pipeline.errors import BadInput
from pipeline.eval.records import SPLIT, SYNTHETIC
from pipeline.files import digest_folder, digest_value, sync_folder
from pipeline.locks import Lock
from pipeline.prep.records import read_held_out
from pipeline.run import Run, slug

_QUERY, _PASSAGE = "q-", "p-"


@dataclass(frozen=True)
class NamedSet:
    """An eval set with its name."""

    name: str
    content: EvalSet


def copy_eval_set(run: Run, path: Path, name: str) -> Path:
    """Take a user's eval set, a folder in BEIR form, into the run.

    The copy is canonical: one split, queries without a relevant passage left out, titles joined
    to their texts, ids beginning with `q-` and `p-`, so that a query and a passage never share
    one. A set of the same name is replaced; results keep the set that they measured.

    Args:
        run: the run.
        path: the folder.
        name: what the set shall be called; made safe as a folder name.

    Returns:
        The copy.

    Raises:
        BadInput: the folder is no usable eval set (file and line are named), or the name is the
            synthetic set's.
        Busy: another set is being copied at this moment.
        OSError: the disk is full; the sets are as they were.
    """
    called = slug(name)
    _check_name(called, path)
    content = read_user_set(path)
    place, parent = run.eval_sets_path / called, run.eval_sets_path
    beside, before = parent / f".{called}.part", parent / f".{called}.before"
    with Lock(parent / ".lock", "The folder of eval sets"):
        for rest in (beside, before):
            shutil.rmtree(rest, ignore_errors=True)
        try:
            write_beir(beside, content, SPLIT)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        if place.exists():
            place.rename(before)
        beside.rename(place)
        sync_folder(parent)
        shutil.rmtree(before, ignore_errors=True)
    return place


def read_user_set(folder: Path) -> EvalSet:
    """A user's eval set in canonical form: the split `test`, or else the only one.

    Raises:
        BadInput: it is no usable eval set; the message names file and line.
    """
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    if SPLIT not in splits and len(splits) > 1:
        raise BadInput(
            f"{folder / 'qrels'} has the splits {', '.join(splits)} and no {SPLIT}.",
            safe="Nothing was changed.",
            next_step=f"Rename the one to be measured to {SPLIT}.tsv.",
        )
    split = splits[0] if len(splits) == 1 else SPLIT
    return _with_prefixes(read_beir(folder, split))


def user_sets(run: Run) -> Iterator[NamedSet]:
    """The user's own eval sets, by name.

    Raises:
        BadInput: one of them is damaged (file and line are named), or has the synthetic set's
            name.
    """
    for folder in _folders(run):
        _check_name(folder.name, folder)
        yield NamedSet(folder.name, read_user_set(folder))


def synthetic_set(prep_folder: Path) -> NamedSet | None:
    """The held-out synthetic questions, or None when no kept question is a test question.

    Raises:
        BadInput: its files are damaged.
    """
    content = read_held_out(prep_folder, SPLIT)
    return None if content is None else NamedSet(SYNTHETIC, content)


def eval_sets_digest(run: Run) -> dict[str, str]:
    """Hash of the content of each of the user's sets, by name."""
    return {folder.name: digest_value(digest_folder(folder)) for folder in _folders(run)}


def _folders(run: Run) -> list[Path]:
    """A name that begins with a dot is no set: a copy that was not finished."""
    if not run.eval_sets_path.is_dir():
        return []
    return sorted(
        path
        for path in run.eval_sets_path.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )


def _check_name(name: str, folder: Path) -> None:
    if name == SYNTHETIC:
        raise BadInput(
            f"{folder}: the name {SYNTHETIC!r} belongs to the held-out synthetic questions.",
            safe="Nothing was changed.",
            next_step="Rename the folder and run the same command again.",
        )


def _with_prefixes(content: EvalSet) -> EvalSet:
    """Ids that begin with `q-` and `p-`; a set whose ids all do is left as it is."""
    query = "" if all(key.startswith(_QUERY) for key in content.queries) else _QUERY
    passage = "" if all(key.startswith(_PASSAGE) for key in content.passages) else _PASSAGE

    def renamed(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {prefix + key: value for key, value in values.items()}

    return EvalSet(
        queries=renamed(content.queries, query),
        passages=renamed(content.passages, passage),
        qrels={query + key: renamed(row, passage) for key, row in content.qrels.items()},
        details=renamed(content.details, query),
    )
