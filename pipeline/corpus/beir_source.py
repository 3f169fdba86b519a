"""A BEIR folder as a corpus: every passage is a document, every query an imported sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.beir import CORPUS, QUERIES, EvalSet, beir_splits, read_beir
from pipeline.corpus.entries import Entry, Loaded
from pipeline.corpus.passages import passage_id
from pipeline.corpus.records import FileReport, ImportedSample, Role
from pipeline.corpus.text import clean_json, normalise
from pipeline.errors import BadInput
from pipeline.files import read_jsonl

_PRECEDENCE: tuple[Role, ...] = ("test", "dev", "train")
"""Held-out splits first: what they cite is held out."""


def load_beir(folder: Path) -> Loaded:
    """Read a BEIR folder.

    Two or more splits are honoured: a query keeps its split, and a passage is test when a test
    query cites it, else dev, else train. A single split is none; folds are dealt then.

    Raises:
        BadInput: a file is missing or damaged; the message names file and line.
    """
    splits = beir_splits(folder)
    if not splits:
        raise BadInput(
            f"{folder / 'qrels'} holds no train.tsv, dev.tsv or test.tsv.",
            safe="Nothing was changed.",
            next_step="Add the qrels, or give a folder of plain documents.",
        )
    sets = {role: read_beir(folder, role, mended=True) for role in _PRECEDENCE if role in splits}
    entries, unused = _entries(next(iter(sets.values())), _titles(folder))
    samples, warnings, shared = _samples(sets, {entry.path: entry for entry in entries})
    asked = sum(1 for _ in read_jsonl(folder / QUERIES))
    if unanswered := asked - len({query for one in sets.values() for query in one.queries}):
        warnings.append(
            f"{unanswered} of {asked} queries have no relevant passage in the qrels; left out."
        )
    if len(sets) == 1:
        (only,) = sets
        warnings.append(f"The only split is {only}, so roles are dealt: 70/10/20 over five folds.")
        return Loaded(tuple(entries), tuple(unused), samples, None, tuple(warnings))
    missing = [role for role in _PRECEDENCE if role not in sets]
    if missing:
        warnings.append(f"The supplied splits are honoured; there is no {missing[0]} split.")
    if shared:
        warnings.append(
            f"{shared} passages answer queries of several splits; they count as the first of "
            "test, dev, train."
        )
    roles = _roles(samples, entries)
    return Loaded(tuple(entries), tuple(unused), samples, roles, tuple(warnings))


def _titles(folder: Path) -> dict[str, str]:
    rows = read_jsonl(folder / CORPUS)
    return {str(row["_id"]): normalise(str(row.get("title") or "")).strip() for row in rows}


def _entries(eval_set: EvalSet, titles: Mapping[str, str]) -> tuple[list[Entry], list[FileReport]]:
    entries: list[Entry] = []
    unused: list[FileReport] = []
    for key, raw in eval_set.passages.items():
        name, text = normalise(key), normalise(raw).strip()
        if text:
            whole = ((0, len(text)),)
            entries.append(Entry(name, "beir", text, titles.get(key, ""), slices=whole))
        else:
            unused.append(FileReport(name, "beir", "skipped", "the passage is empty"))
    return entries, unused


def _samples(
    sets: Mapping[Role, EvalSet], entries: Mapping[str, Entry]
) -> tuple[tuple[ImportedSample, ...], list[str], int]:
    """Queries as samples; also warnings, and how many passages several splits cite."""
    samples: list[ImportedSample] = []
    seen: dict[str, Role] = {}
    twice = empty = 0
    cited: dict[str, set[Role]] = {}
    for role, eval_set in sets.items():
        for query, question in eval_set.queries.items():
            twice += query in seen
            if seen.setdefault(query, role) != role:
                continue
            names = (normalise(key) for key in eval_set.qrels[query])
            passages = {_whole(entries[name]): None for name in names if name in entries}
            text = normalise(question).strip()
            empty += not (passages and text)
            if not passages or not text:
                continue
            for passage in passages:
                cited.setdefault(passage, set()).add(role)
            details = clean_json(dict(eval_set.details.get(query, {})))
            answer = details.pop("answer", "")
            samples.append(
                ImportedSample(
                    question=text,
                    answer=answer.strip() if isinstance(answer, str) else "",
                    passages=tuple(passages),
                    role=role if len(sets) > 1 else None,
                    score=None,
                    details={**details, "query_id": normalise(query)},
                )
            )
    warnings = []
    if twice:
        warnings.append(f"{twice} queries stand in several splits; the first of test, dev counts.")
    if empty:
        warnings.append(f"{empty} queries are empty or cite only empty passages; left out.")
    return tuple(samples), warnings, sum(len(roles) > 1 for roles in cited.values())


def _whole(entry: Entry) -> str:
    return passage_id(entry.id, 0, entry.characters)


def _roles(samples: tuple[ImportedSample, ...], entries: list[Entry]) -> dict[str, Role]:
    by_passage: dict[str, Role] = {}
    for sample in samples:  # held-out splits come first and are not overruled
        for passage in sample.passages:
            by_passage.setdefault(passage, sample.role or "train")
    return {entry.id: by_passage.get(_whole(entry), "train") for entry in entries}
