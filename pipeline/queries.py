"""The user's own queries: what people really searched for, kept in the run as `queries.jsonl`.

A query without relevant documents may show the style of asking; one with them measures the model.
Neither is trained on.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.decoding import decode
from pipeline.corpus.tables import Row, delimiter_of, table_rows
from pipeline.corpus.text import one_line
from pipeline.errors import BadInput
from pipeline.files import digest_value, read_jsonl, write_jsonl
from pipeline.run import Run
from pipeline.texts import normalised

CHARACTERS_MAX = 300
"""A longer line is a text and no query; also what an example of style may have."""
EXAMPLES = 8
"""So many queries show the writer how people ask."""

_ENCODING = "cp1252"
"""Of a log that is neither marked nor UTF-8."""
_QUERY = ("query", "question", "q", "text", "search", "search_query", "search_term", "keyword")
_QUERY_ALSO = ("query_text", "keywords", "term", "queries", "searches", "prompt")
_DOCUMENTS = (
    *("documents", "document", "relevant", "relevant_documents", "relevant_document"),
    *("url", "urls", "path", "doc_id", "doc_ids", "document_id", "doc", "positive"),
)
_COUNT = ("count", "frequency", "freq", "n", "hits", "searches_count", "volume")
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_CELL = re.compile(r'"((?:[^"]|"")*)"')
_END = re.compile(r"[\s?.!,;:]+\Z")


@dataclass(frozen=True)
class OwnQuery:
    """A query that people asked.

    Attributes:
        id: `q-` and 16 hexadecimal digits of its normalised text.
        text: as it was first written, one line.
        count: how often it was asked.
        documents: what the file calls the documents that answer it; mostly empty.
    """

    id: str
    text: str
    count: int
    documents: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueryLog:
    """What a file of queries holds.

    Attributes:
        queries: different ones, in the order of their first lines.
        left_out: how many lines are no queries, by reason.
        first: where each reason was met first.
    """

    queries: tuple[OwnQuery, ...]
    left_out: Mapping[str, int]
    first: Mapping[str, str]


def asks(text: str) -> str:
    """What two queries that ask the same have in common: case, blanks and the mark at the end
    make no difference."""
    return _END.sub("", normalised(text))


def read_log(path: Path) -> QueryLog:
    """Read a file of queries: one a line, CSV or TSV with a header, JSON or JSON lines.

    Raises:
        BadInput: it cannot be read, its columns hold no query, or nothing in it is one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _bad(f"{path} cannot be read: {error.strerror or error}.") from error
    asked: dict[str, _Asked] = {}
    left_out: Counter[str] = Counter()
    first: dict[str, str] = {}
    for where, found in _found(path, content):
        if isinstance(found, str):
            left_out[found] += 1
            first.setdefault(found, where)
        else:
            asked.setdefault(asks(found.text), _Asked(found.text)).add(found)
    if not asked:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise _bad(f"{path} holds no query{f' ({why})' if why else ''}.")
    queries = tuple(one.as_query(key) for key, one in asked.items())
    return QueryLog(queries, dict(left_out), first)


def write_queries(run: Run, queries: Iterable[OwnQuery]) -> None:
    """Keep queries in the run, instead of those that it has."""
    write_jsonl(run.queries_path, (asdict(query) for query in queries))


def read_queries(run: Run) -> tuple[OwnQuery, ...]:
    """The run's own queries; none where nobody gave any.

    Raises:
        BadInput: the file is damaged; the message names the line.
    """
    path = run.queries_path
    if not path.is_file():
        return ()
    try:
        return tuple(
            OwnQuery(row["id"], row["text"], row["count"], tuple(row["documents"]))
            for row in read_jsonl(path)
        )
    except (KeyError, TypeError) as error:
        raise _bad(f"{path} has a line that is no query: {error!r}.") from error


def examples_of(queries: Iterable[OwnQuery], seed: int) -> tuple[str, ...]:
    """Up to `EXAMPLES` queries without relevant documents, chosen by `seed`."""
    texts = [query.text for query in queries if not query.documents]
    return tuple(random.Random(seed).sample(texts, min(EXAMPLES, len(texts))))


def chosen_examples(
    examples: Sequence[str], before: Iterable[OwnQuery], queries: Iterable[OwnQuery], seed: int
) -> tuple[str, ...]:
    """The style examples of a run that gets own queries: a person's choice is left as it is.

    Args:
        examples: those that the recipe has.
        before: the own queries that the run had until now.
        queries: those that it gets.
        seed: chooses.
    """
    ours = {query.text for query in before}
    if examples and not ours.issuperset(examples):
        return tuple(examples)
    return examples_of(queries, seed)


@dataclass(frozen=True)
class _Line:
    """One line of a log that is a query."""

    text: str
    count: int = 1
    documents: tuple[str, ...] = ()


class _Asked:
    """Everything that is known of one query."""

    def __init__(self, text: str) -> None:
        self._text, self._count = text, 0
        self._documents: dict[str, None] = {}

    def add(self, line: _Line) -> None:
        self._count += line.count
        self._documents |= dict.fromkeys(line.documents)

    def as_query(self, key: str) -> OwnQuery:
        name = f"q-{digest_value(key)[:16]}"
        return OwnQuery(name, self._text, self._count, tuple(self._documents))


def _found(path: Path, content: bytes) -> Iterator[tuple[str, _Line | str]]:
    """Where each line stands, and its query or why it is none."""
    decoded = decode(content, _ENCODING)
    if not isinstance(decoded, tuple):
        raise _bad(f"{path} is no text: {decoded.reason}.")
    if _is_table(path, decoded[0]):
        yield from _rows(path, decoded[0])
        return
    quoted = path.suffix.lower() in _TABLES
    for number, line in enumerate(decoded[0].split("\n"), start=1):
        if line.strip():
            cell = _CELL.fullmatch(line.strip()) if quoted else None
            yield f"line {number}", _line(cell[1].replace('""', '"') if cell else line, 1, ())


def _is_table(path: Path, text: str) -> bool:
    """A table by its name or its first line: a log has no header, whatever it is called."""
    head = text.lstrip().partition("\n")[0].strip()
    suffix = path.suffix.lower()
    if suffix in (".json", ".jsonl", ".ndjson") or head[:1] == "{":
        return True
    cells = [cell.strip(' "').casefold() for cell in head.split(delimiter_of(head))]
    named = any(cell in _QUERY for cell in cells)
    return named or (suffix in _TABLES and (len(cells) > 1 or cells[0] in _QUERY_ALSO))


def _rows(path: Path, text: str) -> Iterator[tuple[str, _Line | str]]:
    column = ""
    for row in table_rows(path.name, text):
        if row.record is None:
            yield row.where, "cannot be read"
            continue
        fields = {str(name).strip().casefold(): value for name, value in row.record.items()}
        if not column and not (column := _column(fields)):
            raise _no_column(path, row)
        query = fields.get(column)
        if isinstance(query, str):
            yield row.where, _line(query, _count(fields), tuple(_documents(fields, column)))
        else:
            yield row.where, "empty" if query is None else "no text"


def _column(fields: Mapping[str, Any]) -> str:
    return next((name for name in (*_QUERY, *_QUERY_ALSO) if name in fields), "")


def _line(text: str, count: int, documents: tuple[str, ...]) -> _Line | str:
    clean = one_line(text, limit=len(text) + 1)
    if not clean:
        return "empty"
    if len(clean) > CHARACTERS_MAX:
        return f"longer than {CHARACTERS_MAX} characters"
    if not any(character.isalpha() for character in clean):
        return "without a letter"
    return _Line(clean, count, documents)


def _count(fields: Mapping[str, Any]) -> int:
    for name in _COUNT:
        try:
            return max(1, int(fields[name]))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return 1


def _documents(fields: Mapping[str, Any], column: str) -> Iterator[str]:
    """The relevant documents: a list, or several in a cell with `|` or line ends between."""
    for name in _DOCUMENTS:
        value = fields.get(name)
        if name == column or value in (None, "", []):
            continue
        for one in value if isinstance(value, list) else re.split(r"[|\n]", str(value)):
            if isinstance(one, (str, int)) and (clean := one_line(str(one), 1000)):
                yield clean
        return


def _no_column(path: Path, row: Row) -> BadInput:
    named = ", ".join(one_line(str(name), 40) for name in list(row.record or ())[:12])
    return BadInput(
        f"{path} has no column with queries; it has {named or 'none'}.",
        safe="Nothing was changed.",
        next_step="Name the column `query`, and that of the relevant documents `documents`.",
    )


def _bad(happened: str) -> BadInput:
    return BadInput(
        happened,
        safe="Nothing was changed.",
        next_step="Give a log with a query a line, CSV with a column `query`, or JSON lines.",
    )
