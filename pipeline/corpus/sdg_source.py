"""NVIDIA SDG output as a corpus: chunks become passages, pairs become imported samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.entries import Entry, Loaded
from pipeline.corpus.passages import passage_id
from pipeline.corpus.records import FileReport, ImportedSample
from pipeline.corpus.sdg_records import as_list, as_mapping, read_rows
from pipeline.corpus.source import Source
from pipeline.corpus.splitting import Span
from pipeline.corpus.tables import Row
from pipeline.corpus.text import clean_json, document_id, normalise, one_line

SCORE_MAX = 10.0
"""The judge's scale ends here."""

_DETAILS = ("query_type", "reasoning_type", "hop_count", "question_complexity")
_NAME_MAX = 300


@dataclass(frozen=True)
class Chunk:
    """A segment of a record: its id, as the pairs cite it, and its normalised text."""

    id: str
    text: str


@dataclass(frozen=True)
class _Pair:
    question: str
    answer: str
    segments: tuple[str, ...]
    score: float | None
    details: dict[str, Any]


class _Import:
    """Collects documents, samples and reports over all records."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.unused: list[FileReport] = []
        self.samples: list[ImportedSample] = []
        self.unscored = 0
        self._passages: dict[str, str] = {}

    def add(self, row: Row) -> None:
        """Take one record in."""
        if row.record is None:
            self._skip(row.where, row.reason)
            return
        name = _name(row)
        chunks, unusable = _chunks(row.record.get("chunks"))
        pairs, scored = _pairs(row)
        if not chunks:
            lost = f"; its {len(pairs)} pairs are lost with it" if pairs else ""
            self._skip(name, f"the record has no chunk with text{lost}")
            return
        if unusable:
            self._skip(name, f"{unusable} of its chunks have no text, or the id of another one")
        text = _text(row.record.get("text"))
        spans = locate(text, [chunk.text for chunk in chunks])
        segments = (
            self._one_document(name, text, chunks, spans)
            if spans
            else self._own_documents(name, chunks)
        )
        self.unscored += not scored
        for number, pair in enumerate(pairs, start=1):
            self._add_pair(f"{name}#pair {number}", pair, segments)

    def _one_document(
        self, name: str, text: str, chunks: Sequence[Chunk], spans: Sequence[Span]
    ) -> dict[str, str]:
        """The record as one document with the chunks' own borders; passages by segment id."""
        document = document_id(text)
        segments: dict[str, str] = {}
        kept: dict[Span, None] = {}
        for chunk, (start, end) in zip(chunks, spans, strict=True):
            passage = passage_id(document, start, end)
            # A text that stands in the corpus twice would be its own hard negative.
            segments[chunk.id] = self._passages.setdefault(" ".join(chunk.text.split()), passage)
            if segments[chunk.id] == passage:
                kept[(start, end)] = None
        if kept:
            self.entries.append(Entry(name, "sdg", text, slices=tuple(sorted(kept))))
        else:
            self._repeats(name)
        return segments

    def _own_documents(self, name: str, chunks: Sequence[Chunk]) -> dict[str, str]:
        """Every chunk as its own document, all of one family; passages by segment id."""
        segments: dict[str, str] = {}
        known = len(self.entries)
        for chunk in chunks:
            passage = passage_id(document_id(chunk.text), 0, len(chunk.text))
            key = " ".join(chunk.text.split())
            segments[chunk.id] = self._passages.setdefault(key, passage)
            if segments[chunk.id] == passage:
                path, whole = f"{name}#chunk {chunk.id}", ((0, len(chunk.text)),)
                self.entries.append(Entry(path, "sdg", chunk.text, name, "", whole, name))
        if len(self.entries) == known:
            self._repeats(name)
        return segments

    def _add_pair(self, where: str, pair: _Pair, segments: dict[str, str]) -> None:
        unknown = [segment for segment in pair.segments if segment not in segments]
        if not pair.question:
            self._skip(where, "the pair has no question")
        elif not pair.segments:
            self._skip(where, "the pair cites no segment")
        elif unknown:
            named = one_line(", ".join(unknown))
            self._skip(where, f"the pair cites segments that aren't there: {named}")
        else:
            passages = tuple(dict.fromkeys(segments[segment] for segment in pair.segments))
            self.samples.append(
                ImportedSample(pair.question, pair.answer, passages, None, pair.score, pair.details)
            )

    def _repeats(self, name: str) -> None:
        reason = "all of its chunks stand in earlier records"
        self.unused.append(FileReport(name, "sdg", "duplicate", reason))

    def _skip(self, where: str, reason: str) -> None:
        self.unused.append(FileReport(where, "sdg", "skipped", reason))


def load_sdg(source: Source, each: Callable[[int], None]) -> Loaded:
    """Read NVIDIA SDG output.

    Args:
        source: the files of records.
        each: called with the number of records read so far.
    """
    collected = _Import()
    read = 0
    for file in source.files:
        before = read
        for row in read_rows(file):
            collected.add(row)
            read += 1
            each(read)
        if read == before:
            collected.unused.append(FileReport(file.name, "sdg", "skipped", "it holds no record"))
    warnings = []
    if collected.unscored:
        warnings.append(
            f"{collected.unscored} records have another number of scores than of pairs; their "
            "pairs are kept without a score."
        )
    return Loaded(
        tuple(collected.entries),
        tuple(collected.unused),
        tuple(collected.samples),
        None,
        tuple(warnings),
    )


def locate(text: str, chunks: Sequence[str]) -> list[Span]:
    """Where the chunks stand in a text, blanks ignored: the generator joins lines by spaces.

    Returns:
        a slice a chunk, or nothing when one of them isn't found.
    """
    positions = [index for index, character in enumerate(text) if not character.isspace()]
    solid = "".join(text.split())
    spans: list[Span] = []
    behind = 0
    for chunk in chunks:
        wanted = "".join(chunk.split())
        found = solid.find(wanted, behind)
        found = found if found >= 0 else solid.find(wanted)
        if found < 0 or not wanted:
            return []
        behind = found + len(wanted)
        spans.append((positions[found], positions[behind - 1] + 1))
    return spans


def _name(row: Row) -> str:
    record = row.record or {}
    names = filter(None, (_text(name) for name in as_list(record.get("file_name"))))
    return " + ".join(names)[:_NAME_MAX] or _text(record.get("source_id")) or row.where


def _text(value: Any) -> str:
    """A field as a text; nothing where it is an object, a list or a truth value."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return normalise(str(value)).strip()


def _chunks(value: Any) -> tuple[list[Chunk], int]:
    """The chunks with a text, and how many others say something all the same."""
    chunks: dict[str, Chunk] = {}
    unusable = 0
    for position, item in enumerate(as_list(value), start=1):
        fields = item if isinstance(item, dict) else {"text": item}
        text = _text(fields.get("text"))
        key = _segment(fields.get("chunk_id", position))
        if text:
            chunks.setdefault(key, Chunk(key, text))
        unusable += chunks[key].text != text if text else fields.get("text") not in (None, "")
    return list(chunks.values()), unusable


def _segment(value: Any) -> str:
    """One spelling of a segment id: `3`, `3.0` and `"3"` are the same."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, (str, int, float)) else "?"


def _pairs(row: Row) -> tuple[list[_Pair], bool]:
    """The record's pairs, and whether their scores could be told apart."""
    record = row.record or {}
    items = as_list(record.get("deduplicated_qa_pairs"))
    if not items:
        generated = as_list(record.get("qa_generation"))
        nested = [one["pairs"] for one in generated if isinstance(one, dict) and "pairs" in one]
        items = as_list(nested[0]) if nested else generated
    scores = _scores(record.get("qa_evaluations"))
    matched = len(scores) == len(items)
    aligned = scores if matched else [None] * len(items)
    pairs = [_pair(as_mapping(item), score) for item, score in zip(items, aligned, strict=True)]
    return pairs, matched


def _pair(fields: dict[str, Any], score: float | None) -> _Pair:
    segments = dict.fromkeys(_segment(one) for one in as_list(fields.get("segment_ids")))
    return _Pair(
        question=_text(fields.get("question")),
        answer=_text(fields.get("answer")),
        segments=tuple(segments),
        score=score,
        details={
            key: clean_json(fields[key])
            for key in _DETAILS
            if isinstance(fields.get(key), (str, int, float))
        },
    )


def _scores(value: Any) -> list[float | None]:
    items = as_list(value)
    nested = [one["evaluations"] for one in items if isinstance(one, dict) and "evaluations" in one]
    return [_score(one) for one in (as_list(nested[0]) if nested else items)]


def _score(evaluation: Any) -> float | None:
    score = as_mapping(as_mapping(evaluation).get("overall")).get("score")
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        return None
    return float(score) if 0 <= score <= SCORE_MAX else None
