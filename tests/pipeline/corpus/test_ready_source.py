from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.fields import passage_of
from pipeline.corpus.ready_source import load_ready, take_rows
from pipeline.corpus.records import read_documents, read_passages, read_report
from pipeline.corpus.source import open_source
from pipeline.corpus.tables import Row
from pipeline.errors import BadInput
from pipeline.settings import CorpusSettings

ROWS = [
    {"id": "1", "text": "First chunk of A.", "source": "a.pdf", "title": "A"},
    {"id": "2", "text": "Only chunk of B.", "source": "b.pdf", "title": "B"},
    {"id": "3", "text": "Second chunk of A.", "source": "a.pdf", "title": "A"},
    {"id": "4", "text": "Alone.", "source": "", "title": ""},
]


def load(path, **settings):
    chosen = CorpusSettings(**settings)
    source = open_source(str(path), chosen)
    assert source.kind == "ready"
    return load_ready(source, chosen, lambda done: None)


def passages(entry):
    return [entry.text[start:end] for start, end in entry.slices]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_rows_of_one_document_stand_in_one_document_in_their_order(tmp_path, form):
    path = tmp_path / f"chunks.{form}"
    if form in ("csv", "tsv"):
        with path.open("w", newline="") as stream:
            mark = "\t" if form == "tsv" else ","
            writer = csv.DictWriter(stream, list(ROWS[0]), delimiter=mark)
            writer.writeheader()
            writer.writerows(ROWS)
    elif form == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    elif form == "json":
        path.write_text(json.dumps({"data": ROWS}))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    loaded = load(path)
    assert [(entry.path, entry.title, passages(entry)) for entry in loaded.entries] == [
        ("a.pdf", "A", ["First chunk of A.", "Second chunk of A."]),
        ("b.pdf", "B", ["Only chunk of B."]),
        ("4", "", ["Alone."]),
    ]
    assert loaded.entries[0].text == "First chunk of A.\n\nSecond chunk of A."
    assert loaded.unused == ()


def test_the_corpus_keeps_every_row_whole_and_its_headings(workshop, tmp_path):
    long = "word " * 900 + "end"
    rows = [
        {"page_content": long, "metadata": {"source": "a.md", "page": 3}, "headings": ["A", "B"]},
        {"page_content": "Short.", "metadata": {"source": "a.md"}},
        {"page_content": "Other.", "metadata": json.dumps({"url": "https://x.example/y"})},
    ]
    path = tmp_path / "chunks.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    outcome, folder = workshop.make(path)
    documents = {document.id: document for document in read_documents(folder)}
    found = list(read_passages(folder))
    assert {passage.text for passage in found} == {long, "Short.", "Other."}
    for passage in found:
        assert documents[passage.document].text[passage.start : passage.end] == passage.text
    by_text = {passage.text: passage for passage in found}
    assert by_text[long].headings == ("A", "B")
    assert by_text["Short."].headings == ()
    assert {document.path for document in documents.values()} == {"a.md", "https://x.example/y"}
    assert outcome.summary["source"] == "ready"
    assert not outcome.imported


def test_the_same_rows_give_the_same_bytes(workshop, tmp_path):
    path = tmp_path / "chunks.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    (_, one), (_, other) = (workshop.make(path) for _ in range(2))
    names = sorted(file.name for file in one.iterdir())
    assert [(one / name).read_bytes() for name in names] == [
        (other / name).read_bytes() for name in names
    ]


def test_bad_rows_are_reported_with_their_lines(workshop, tmp_path):
    path = tmp_path / "chunks.csv"
    path.write_text('id,text\n1,one\n2,\n3,"bad"x\n4,four\n5,one\n')
    _, folder = workshop.make(path)
    report = [(row.path, row.status, row.reason) for row in read_report(folder)]
    assert report == [
        ("1", "used", ""),
        ("4", "used", ""),
        ("chunks.csv, line 3", "skipped", "it has no text"),
        ("chunks.csv, line 4", "skipped", "its quoting is wrong: ',' expected after '\"'"),
        ("chunks.csv, line 6", "duplicate", "the same text as chunks.csv, line 2"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "cp1250"])
def test_encodings_follow_the_rules_of_documents(tmp_path, encoding):
    path = tmp_path / "chunks.csv"
    path.write_bytes("id,text\n1,Größe für Öl\n".encode(encoding))
    loaded = load(path, encoding=encoding if encoding == "cp1250" else "cp1252")
    assert [entry.text for entry in loaded.entries] == ["Größe für Öl"]
    guessed = encoding in ("cp1252", "cp1250")
    assert [warning.startswith("chunks.csv: ") for warning in loaded.warnings] == [True] * guessed


def test_a_table_that_is_no_text_is_reported(tmp_path):
    good = tmp_path / "a.csv"
    good.write_text("text\none\n")
    (tmp_path / "b.csv").write_bytes(b"\x00\x01\x02")
    pq.write_table(pa.table({"text": ["two"]}), tmp_path / "c.parquet")
    (tmp_path / "d.parquet").write_bytes((tmp_path / "c.parquet").read_bytes()[:-9])
    loaded = load(tmp_path)
    assert sorted(entry.text for entry in loaded.entries) == ["one", "two"]
    assert len(loaded.unused) == 2


def test_the_text_field_is_named_where_it_has_another_name(write_folder):
    folder = write_folder({"a.csv": "nr,inhalt\n1,eins\n"})
    with pytest.raises(BadInput, match=r"inhalt, nr; name yours with corpus.text_field"):
        open_source(str(folder / "a.csv"))
    loaded = load(folder / "a.csv", text_field="Inhalt")
    assert [entry.text for entry in loaded.entries] == ["eins"]
    with pytest.raises(BadInput, match="lack 'body'"):
        open_source(str(folder / "a.csv"), CorpusSettings(text_field="body"))


def test_a_folder_of_tables_alone_is_one_import(write_folder):
    folder = write_folder(
        {"p1.jsonl": '{"text": "one", "doc_id": 7}', "sub/p2.csv": "doc_id,text\n7,two\n"}
    )
    (entry,) = load(folder).entries
    assert (entry.path, passages(entry)) == ("7", ["one", "two"])
    (folder / "readme.md").write_text("# Read me")
    assert open_source(str(folder)).kind == "folder"


def test_rows_with_the_same_id_are_all_kept():
    rows = [Row(f"a, line {n}", {"id": 1, "text": f"text {n}"}) for n in range(3)]
    loaded = take_rows(rows, "ready", "", lambda done: None)
    assert [entry.path for entry in loaded.entries] == ["1", "1 (a, line 1)", "1 (a, line 2)"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": 7}, "'text' is no text but of type int"),
        ({"text": ["a"]}, "of type list"),
        ({"text": "\u200b \n"}, "it has no text"),
        ({"text": None, "id": 1}, "it has no text"),
        ({"x": "a"}, "they have x"),
    ],
)
def test_a_row_without_a_text_says_why(row, reason):
    assert reason in passage_of(row, "")


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_NAME = st.sampled_from(["text", "id", "document", "metadata", "headings", "title", "Text", "x"])


@given(st.lists(st.dictionaries(_NAME, _VALUE, max_size=6), max_size=8))
def test_whatever_a_row_holds_it_is_a_passage_or_reported(rows):
    loaded = take_rows(
        [Row(f"a, line {n}", row) for n, row in enumerate(rows)], "ready", "", lambda done: None
    )
    kept = sum(len(entry.slices) for entry in loaded.entries)
    assert kept + len(loaded.unused) == len(rows)
    for entry in loaded.entries:
        assert all(text == text.strip() and text for text in passages(entry))
        assert set(entry.headings) <= set(entry.slices)
