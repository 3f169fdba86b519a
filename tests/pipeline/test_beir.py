"""BEIR folders: read, written, refused by file and line."""

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
