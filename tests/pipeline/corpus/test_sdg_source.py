from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.records import read_documents, read_imported, read_passages, read_report
from pipeline.corpus.sdg_source import load_sdg, locate
from pipeline.corpus.source import open_source
from pipeline.errors import BadInput


def load(path):
    return load_sdg(open_source(str(path)), lambda done: None)


@pytest.fixture
def records(sdg_record):
    return [
        sdg_record(
            f"doc{number}.txt",
            [
                f"Alpha {number} first line.",
                f"Beta {number} second line.",
                f"Gamma {number} third.",
            ],
            [(f"why {number}?", [1, 3]), (f"what {number}?", [2])],
            [8.5, 6],
        )
        for number in range(12)
    ]


@pytest.mark.parametrize("form", ["jsonl", "json list", "json data", "json lines", "parquet"])
def test_every_file_format_gives_the_same_corpus(records, tmp_path, write_jsonl_file, form):
    expected = load(write_jsonl_file(records))
    path = tmp_path / f"other.{'parquet' if form == 'parquet' else 'json'}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path, row_group_size=5)
    elif form == "json lines":
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        path.write_text(json.dumps({"data": records} if form == "json data" else records))
    assert load(tmp_path / "sdg.jsonl" if form == "jsonl" else path) == expected
    assert len(expected.entries) == 12
    assert len(expected.samples) == 24


def test_fields_kept_as_json_strings_are_opened(records, write_jsonl_file):
    fields = ("chunks", "deduplicated_qa_pairs", "qa_evaluations")
    strings = [
        {**record, **{name: json.dumps(record[name]) for name in fields}} for record in records
    ]
    assert load(write_jsonl_file(strings, "b.jsonl")) == load(write_jsonl_file(records))


def test_chunks_become_passages_with_the_offsets_of_the_record(workshop, records, write_jsonl_file):
    # The record breaks its lines where the chunk, as NVIDIA writes it, has a space.
    records[0]["text"] = records[0]["text"].replace("first line", "first\n  line")
    outcome, folder = workshop.make(write_jsonl_file(records))
    documents = {document.id: document for document in read_documents(folder)}
    passages = {passage.id: passage for passage in read_passages(folder)}
    assert len(documents) == 12
    assert len(passages) == 36
    for passage in passages.values():
        text = documents[passage.document].text
        assert text[passage.start : passage.end] == passage.text
    assert "Alpha 0 first\n  line." in {passage.text for passage in passages.values()}
    first = next(s for s in read_imported(folder) if s.question == "why 3?")
    assert [passages[one].text for one in first.passages] == [
        "Alpha 3 first line.",
        "Gamma 3 third.",
    ]
    assert (first.score, first.role, first.answer) == (8.5, None, "answer to why 3?")
    assert first.details == {
        "query_type": "multi_hop",
        "reasoning_type": "causal",
        "question_complexity": 3,
        "hop_count": 2,
    }
    assert outcome.imported
    assert outcome.summary["imported_samples"] == 24


def test_chunks_that_the_text_lacks_become_documents_of_one_group(workshop, sdg_record, tmp_path):
    rows = [
        sdg_record(
            f"d{n}.txt",
            [f"Chunk one of {n}.", f"Chunk two of {n}."],
            [(f"q{n}", [1, 2])],
            text="something else altogether",
        )
        for n in range(10)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome, folder = workshop.make(path, documents=6)
    documents = list(read_documents(folder))
    assert len(documents) == 12
    assert outcome.summary["groups"] == 6
    assert {(p.start, p.end - len(p.text)) for p in read_passages(folder)} == {(0, 0)}
    by_record = {}
    for document in documents:
        by_record.setdefault(document.path.split("#")[0], set()).add(document.fold)
    assert all(len(folds) == 1 for folds in by_record.values())
    assert len(list(read_imported(folder))) == 6


def test_a_chunk_that_stands_in_two_records_is_one_passage_and_keeps_both_together(
    workshop, sdg_record, write_jsonl_file
):
    shared = "The very same licence text."
    rows = [
        sdg_record(f"d{n}.txt", [f"Own words {n}.", shared], [(f"q{n}", [2])]) for n in (1, 2)
    ] + [sdg_record(f"e{n}.txt", [f"Else {n}."], []) for n in range(5)]
    outcome, folder = workshop.make(write_jsonl_file(rows))
    assert [p.text for p in read_passages(folder)].count(shared) == 1
    assert len({sample.passages for sample in read_imported(folder)}) == 1
    assert outcome.summary["groups"] == 7  # each question cites one document only


def test_evidence_over_two_documents_puts_them_into_one_group(
    workshop, sdg_record, write_jsonl_file
):
    rows = [
        sdg_record("a.txt", ["Shared chunk.", "Alone a."], []),
        sdg_record("b.txt", ["Shared chunk.", "Alone b."], [("q", [1, 2])]),
        sdg_record("c.txt", ["Alone c."], []),
    ]
    _, folder = workshop.make(write_jsonl_file(rows))
    group = {document.path: document.group for document in read_documents(folder)}
    assert group["a.txt"] == group["b.txt"] != group["c.txt"]


def test_scores_that_dont_match_are_left_out_and_no_document_is(sdg_record, write_jsonl_file):
    rows = [
        sdg_record("a.txt", ["One."], [("q1", [1]), ("q2", [1])], [9.0]),
        sdg_record("b.txt", ["Two."], [("q3", [1])], ["high"]),
    ]
    loaded = load(write_jsonl_file(rows))
    assert [sample.score for sample in loaded.samples] == [None, None, None]
    assert len(loaded.entries) == 2
    assert any("1 records have another number of scores" in warning for warning in loaded.warnings)


def test_pairs_before_deduplication_stand_in_where_there_is_nothing_else(
    sdg_record, write_jsonl_file
):
    row = sdg_record("a.txt", ["One.", "Two."], [("q1", ["2", 2.0])])
    row["qa_generation"] = json.dumps({"pairs": row.pop("deduplicated_qa_pairs")})
    (sample,) = load(write_jsonl_file([row])).samples
    assert sample.question == "q1"
    assert len(sample.passages) == 1


def test_what_cannot_be_used_is_reported_and_stops_nothing(workshop, sdg_record, tmp_path):
    good = sdg_record(
        "good.txt", ["One.", "Two."], [("ok", [1]), ("bad", [1, 7]), ("", [1]), ("n", [])]
    )
    lines = [
        json.dumps(good),
        "{broken",
        "[1, 2]",
        json.dumps({"file_name": "empty.txt", "chunks": []}),
        json.dumps({"file_name": ["odd.txt"], "chunks": ["Plain words.", {"text": None}]}),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    outcome, folder = workshop.make(path)
    skipped = {e.path: e.reason for e in read_report(folder) if e.status == "skipped"}
    assert skipped["good.txt#pair 2"] == "the pair cites segments that aren't there: 7"
    assert skipped["good.txt#pair 3"] == "the pair has no question"
    assert skipped["good.txt#pair 4"] == "the pair cites no segment"
    assert skipped["a.jsonl, line 2"].startswith("it is no JSON")
    assert skipped["a.jsonl, line 3"] == "it is no JSON object"
    assert skipped["empty.txt"] == "the record has no chunk with text"
    assert [sample.question for sample in read_imported(folder)] == ["ok"]
    assert {d.path for d in read_documents(folder)} == {"good.txt", "odd.txt#chunk 1"}
    assert outcome.summary["skipped"] == 6


def test_a_damaged_parquet_file_doesnt_stop_the_other(workshop, records, tmp_path):
    folder = tmp_path / "sdg"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(records), folder / "a.parquet")
    (folder / "b.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-50])
    outcome, result = workshop.make(folder)
    assert outcome.summary["documents"] == 12
    assert any("damaged" in entry.reason for entry in read_report(result))


def test_surrogates_in_foreign_json_dont_reach_the_files(workshop, write_jsonl_file, sdg_record):
    row = sdg_record("a\ud800.txt", ["One \ud800 word."], [("q \udfff", [1])])
    row["deduplicated_qa_pairs"][0]["query_type"] = "x\ud800"
    _, folder = workshop.make(write_jsonl_file([row]))
    (sample,) = read_imported(folder)
    assert (sample.question, sample.details["query_type"]) == ("q", "x")


@given(st.lists(st.lists(st.sampled_from(["ab", "a", "b.", "c"]), min_size=1), min_size=1))
def test_located_chunks_are_the_text_but_for_blanks(chunks):
    text = "\n\n ".join("\n".join(words) for words in chunks)
    spans = locate(text, [" ".join(words) for words in chunks])
    assert len(spans) == len(chunks)
    for words, (start, end) in zip(chunks, spans, strict=True):
        assert "".join(text[start:end].split()) == "".join(words)
        assert text[start:end] == text[start:end].strip()


def test_a_chunk_that_isnt_there_is_not_located():
    assert locate("some text", ["some", "else"]) == []


def test_a_chunk_that_cannot_be_used_is_reported(sdg_record, write_jsonl_file):
    row = sdg_record("a.txt", ["One.", "Two.", "Three."], [("q", [1])])
    row["chunks"][1]["chunk_id"] = 1
    row["chunks"][2]["text"] = {"not": "a text"}
    loaded = load(write_jsonl_file([row]))
    assert [(one.path, one.reason) for one in loaded.unused] == [
        ("a.txt", "2 of its chunks have no text, or the id of another one")
    ]
    assert len(loaded.samples) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@st.composite
def _damaged(draw, value):
    """A JSON value with something in it replaced, taken out or doubled."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 4)):
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: draw(_damaged(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(value) - 1))
        if not draw(st.integers(0, 4)):
            return [*value, value[place]]
        return [*value[:place], draw(_damaged(value[place])), *value[place + 1 :]]
    return draw(_JSON | st.just(json.dumps(value)))


def _whole(name):
    return {
        "file_name": [name],
        "text": f"{name} one. two. {name} three.",
        "chunks": [
            {"chunk_id": number, "text": text}
            for number, text in enumerate((f"{name} one.", "two.", f"{name} three."), start=1)
        ],
        "deduplicated_qa_pairs": [
            {"question": f"why {name}?", "answer": "so", "segment_ids": [1, 3]},
            {"question": f"what {name}?", "answer": "this", "segment_ids": [2]},
        ],
        "qa_evaluations": {"evaluations": [{"overall": {"score": 8}}, {"overall": {"score": 3}}]},
    }


@given(st.data(), st.sampled_from(["jsonl", "json"]))
def test_a_damaged_record_is_used_or_reported_and_stops_no_other(tmp_path_factory, data, form):
    broken = _whole("b")
    for _ in range(data.draw(st.integers(1, 4))):
        broken = data.draw(_damaged(broken))
    rows = [_whole("a"), broken, _whole("c")]
    path = tmp_path_factory.getbasetemp() / f"damaged.{form}"
    path.write_text(
        json.dumps(rows) if form == "json" else "".join(json.dumps(row) + "\n" for row in rows)
    )
    loaded = load(path)
    questions = {sample.question for sample in loaded.samples}
    assert {"why a?", "what a?", "why c?", "what c?"} <= questions
    own = [entry for entry in loaded.entries if entry.text.strip()[:2] not in ("a ", "c ")]
    assert own or loaded.unused
    pairs = broken.get("deduplicated_qa_pairs") if isinstance(broken, dict) else None
    if (
        isinstance(pairs, list)
        and pairs
        and not any("pairs are lost" in u.reason for u in loaded.unused)
    ):
        reported = sum("#pair " in one.path for one in loaded.unused)
        assert len(loaded.samples) - 4 + reported == len(pairs)


@given(st.binary(max_size=40), st.integers(0, 400), st.sampled_from(["jsonl", "json", "parquet"]))
def test_damaged_bytes_crash_nothing(tmp_path_factory, noise, place, form):
    path = tmp_path_factory.getbasetemp() / f"noise.{form}"
    rows = [_whole("a"), _whole("b"), _whole("c")]
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + len(noise)] = noise
    path.write_bytes(content)
    try:
        source = open_source(str(path))
    except BadInput:
        return
    if source.kind == "sdg":
        loaded = load_sdg(source, lambda done: None)
        assert loaded.entries or loaded.unused
