"""BEIR folders: read, written, refused by file and line."""

from dataclasses import replace

import pytest

from pipeline.beir import EvalSet, is_beir_folder, passage_text, read_beir, write_beir
from pipeline.errors import BadInput

SET = EvalSet(
    queries={"q-1": "who?", "q-2": "where?"},
    passages={"p-1": "me", "p-2": "here", "p-3": "neither"},
    qrels={"q-1": {"p-1": 1}, "q-2": {"p-2": 2, "p-3": 1}},
    details={"q-1": {"kind": "simple"}},
)


def test_an_eval_set_survives_its_folder(tmp_path):
    write_beir(tmp_path, SET, "test")
    assert is_beir_folder(tmp_path)
    assert read_beir(tmp_path, "test") == SET


def test_a_title_is_joined_by_one_rule(tmp_path):
    assert passage_text("", " as it is ") == " as it is "
    assert passage_text("Title", "text") == "Title text"


def test_shared_ids_are_refused(tmp_path):
    shared = EvalSet({"1": "q"}, {"1": "p"}, {"1": {"1": 1}})
    with pytest.raises(ValueError, match="share"):
        write_beir(tmp_path, shared, "test")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("qrels/test.tsv", "q-1\tp-9\t1", "line 5.*no passage 'p-9'"),
        ("qrels/test.tsv", "q-9\tp-1\t1", "line 5.*no query 'q-9'"),
        ("qrels/test.tsv", "q-1\tp-1", "line 5.*three columns"),
        ("qrels/test.tsv", "q-1\tp-1\thigh", "line 5.*no whole number"),
        ("corpus.jsonl", '{"_id": "p-1", "text": "again"}', "line 4.*used before"),
        ("queries.jsonl", '{"text": "no id"}', "line 3.*_id"),
    ],
)
def test_a_bad_line_is_named(tmp_path, file, line, message):
    write_beir(tmp_path, SET, "test")
    with (tmp_path / file).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(BadInput, match=message):
        read_beir(tmp_path, "test")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"corpus\.jsonl"):
        read_beir(tmp_path, "test")


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("corpus.jsonl", '{"_id": "p-4", "text": "a \\ud83d b"}', "line 4: 'p-4'"),
        ("corpus.jsonl", '{"_id": "p-4", "title": "\\udfff", "text": "b"}', "line 4: 'p-4'"),
        ("corpus.jsonl", '{"_id": "p\\ud800", "text": "b"}', r"line 4: 'p\\ud800'"),
        ("queries.jsonl", '{"_id": "q-3", "text": "\\ud800?"}', "line 3: 'q-3'"),
        (
            "queries.jsonl",
            '{"_id": "q-3", "text": "?", "metadata": {"a": ["\\ud800"]}}',
            "line 3: 'q-3'",
        ),
    ],
)
def test_half_a_surrogate_pair_is_named_with_its_line(tmp_path, file, line, named):
    write_beir(tmp_path, SET, "test")
    with (tmp_path / file).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(BadInput, match=f"{file}, {named} holds half a surrogate pair") as caught:
        read_beir(tmp_path, "test")
    caught.value.happened.encode()
    assert read_beir(tmp_path, "test", mended=True).qrels == SET.qrels


def test_a_whole_surrogate_pair_and_what_is_not_used_stop_nothing(tmp_path):
    write_beir(tmp_path, SET, "test")
    with (tmp_path / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "p-4", "text": "\\ud83d\\ude00", "url": "\\ud83d"}\n')
    assert read_beir(tmp_path, "test").passages["p-4"] == "😀"


@pytest.mark.parametrize(
    ("damaged", "file", "key"),
    [
        ({"queries": {"q-1": "\ud800"}}, "queries.jsonl", "q-1"),
        ({"passages": {"p-1": "me", "p-2": "\ud800"}}, "corpus.jsonl", "p-2"),
        ({"details": {"q-2": {"a": ["\ud800"]}}}, "queries.jsonl", "q-2"),
    ],
)
def test_half_a_surrogate_pair_is_never_written(tmp_path, damaged, file, key):
    write_beir(tmp_path, SET, "test")
    before = (tmp_path / file).read_text()
    with pytest.raises(BadInput, match=f"{file} can't be written: '{key}' holds half"):
        write_beir(tmp_path, replace(SET, **damaged), "test")
    assert (tmp_path / file).read_text() == before
    assert not list(tmp_path.rglob("*.part"))


def test_a_byte_that_is_no_utf8_is_named_with_its_line(tmp_path):
    write_beir(tmp_path, SET, "test")
    with (tmp_path / "qrels" / "test.tsv").open("ab") as stream:
        stream.write("q-é\tp-1\t1\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"test\.tsv, line 5: there is no query 'q-\\udce9'"):
        read_beir(tmp_path, "test")
