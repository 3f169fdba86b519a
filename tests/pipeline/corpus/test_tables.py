from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.tables import head_fields, table_rows


def read(text, name="a.csv"):
    return [(row.where, row.record, row.reason) for row in table_rows(name, text)]


def records(text, name="a.csv"):
    return [record for _, record, _ in read(text, name)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found_from_the_header(delimiter):
    text = f"id{delimiter}text\r\n1{delimiter}one\r\n"
    assert records(text) == [{"id": "1", "text": "one"}]


def test_a_bad_row_is_named_with_its_line_and_stops_no_other():
    text = 'id,text\n1,"one\nline"\n2,"two"x\n3,three,more,cells\n\n4,four\n'
    assert read(text) == [
        ("a.csv, line 2", {"id": "1", "text": "one\nline"}, ""),
        ("a.csv, line 4", None, "its quoting is wrong: ',' expected after '\"'"),
        ("a.csv, line 5", None, "it has 4 columns; the header has 2"),
        ("a.csv, line 7", {"id": "4", "text": "four"}, ""),
    ]


def test_a_quote_that_nobody_closes_swallows_nothing():
    found = read('id,text\n1,one\n2,"two\n3,three\n4,four\n')
    assert [where for where, record, _ in found if record is None] == ["a.csv, line 3"]
    assert [record["id"] for _, record, _ in found if record] == ["1", "3", "4"]


def test_a_cell_may_be_huge():
    text = "x" * 1_000_000
    assert records(f"text\n{text}\n") == [{"text": text}]


def test_json_lines_lists_and_wrapped_lists_are_the_same_rows():
    rows = [{"text": "one\u2028two"}, {"text": "three"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    for text in (lines, json.dumps(rows), json.dumps(rows, indent=2), json.dumps({"data": rows})):
        assert records(text, "a.jsonl") == rows
    assert records(json.dumps(rows[0]), "a.json") == rows[:1]


def test_damaged_json_lines_are_named():
    found = read('{"a": 1}\nnonsense\n[1]\n{"a": 2}\n', "a.jsonl")
    assert [where for where, record, _ in found if record is None] == [
        "a.jsonl, line 2",
        "a.jsonl, line 3",
    ]
    assert [record for _, record, _ in found if record] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("indent", [None, 2])
def test_behind_a_damaged_element_of_a_list_the_next_is_read(indent):
    text = json.dumps([{"n": 1}, {"n": "broken"}, {"n": 3}], indent=indent)
    found = read(text.replace('"broken"', "brok"), "a.json")
    assert [record for _, record, _ in found if record] == [{"n": 1}, {"n": 3}]
    (bad,) = [where for where, record, _ in found if record is None]
    assert bad == ("a.json, line 5" if indent else "a.json, line 1")


@pytest.mark.parametrize("text", ['[{"a": 1}', '[{"a": 1}] {"a": 2}', '[{"a": 1},'])
def test_a_list_that_ends_wrongly_says_so(text):
    found = read(text, "a.json")
    assert found[0][1] == {"a": 1}
    assert found[-1][1] is None


def test_deep_nesting_is_a_reason_and_no_crash():
    found = read('{"a": 1}\n' + "[" * 100_000 + "\n", "a.jsonl")
    assert found[0][1] == {"a": 1}
    assert "no JSON" in found[1][2]


def test_the_head_tells_the_fields(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id;text\n" + "1;ö\n" * 400_000, encoding="utf-8")
    assert head_fields(path, "cp1252") == {"id", "text"}
    path.write_bytes(b"\x00\x01\x02")
    assert head_fields(path, "cp1252") == set()


_CELL = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffd"), max_size=12
)


@given(st.lists(st.tuples(_CELL, _CELL).filter(lambda row: any(c.strip() for c in row))))
def test_what_was_written_as_csv_is_read_again(rows):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("id", "text"), *rows])
    assert records(stream.getvalue()) == [{"id": a, "text": b} for a, b in rows]


@given(st.text(max_size=200), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json"]))
def test_no_text_crashes_the_reader(text, name):
    for row in table_rows(name, text):
        assert (row.record is None) == bool(row.reason)


@given(st.lists(st.sampled_from(['"', ",", "\n", "a", "\r", '{"a":1}', "[", "]", "{", "}"])))
def test_no_mixture_of_signs_crashes_or_hangs_the_reader(parts):
    for name in ("a.csv", "a.jsonl"):
        list(table_rows(name, "".join(parts)))
