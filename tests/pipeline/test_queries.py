from __future__ import annotations

import json
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.queries import (
    EXAMPLES,
    OwnQuery,
    asks,
    chosen_examples,
    examples_of,
    read_log,
    read_queries,
    write_queries,
)
from pipeline.run import create_run


@pytest.fixture
def read(tmp_path):
    def read(content, name="log.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_log(path)

    return read


def told(log):
    return [(query.text, query.count, query.documents) for query in log.queries]


def test_a_plain_log_has_a_query_a_line_and_counts_what_asks_the_same(read):
    log = read("How do I reset it?\n\n  how do i  reset it \nvalve, left side\n12345\n" + "x" * 301)
    assert told(log) == [("How do I reset it?", 2, ()), ("valve, left side", 1, ())]
    assert log.left_out == {"without a letter": 1, "longer than 300 characters": 1}
    assert log.first["without a letter"] == "line 5"


def test_control_characters_never_reach_a_query(read):
    log = read("a\x1b[31m red\u202e light\n" + "an ordinary query\n" * 20)
    assert told(log)[0] == ("a[31m red light", 1, ())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", "Query,count,url\nwhy?,3,https://x.example/a.md\nwhat,,\n"),
        ("log.tsv", "question\tfreq\tdoc_id\nwhy?\t3\thttps://x.example/a.md\nwhat\t\t\n"),
        ("log.txt", "search;n;documents\nwhy?;3;https://x.example/a.md\nwhat;;\n"),
        (
            "log.jsonl",
            '{"q": "why?", "count": 3, "relevant": ["https://x.example/a.md"]}\n{"q": "what"}\n',
        ),
    ],
)
def test_tables_tell_counts_and_relevant_documents(read, name, content):
    assert told(read(content, name)) == [
        ("why?", 3, ("https://x.example/a.md",)),
        ("what", 1, ()),
    ]


def test_documents_of_one_query_are_joined_over_its_rows(read):
    log = read("query,document\nwhy,a.md|b.md\nWhy?,c.md\nwhy,a.md\n", "log.csv")
    assert told(log) == [("why", 3, ("a.md", "b.md", "c.md"))]


def test_a_table_of_one_column_needs_no_header(read):
    log = read('why not\n"how, and ""when"""\nhow so\n', "log.csv")
    assert [query.text for query in log.queries] == ["why not", 'how, and "when"', "how so"]


def test_lines_that_are_no_queries_are_counted_by_reason(read):
    log = read('query,n\nwhy,1\n,2\n"x"y,1\n77,1\n', "log.csv")
    assert told(log) == [("why", 1, ())]
    assert log.left_out == {"empty": 1, "cannot be read": 1, "without a letter": 1}


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("log.csv", "when,who\n1,2\n", "no column with queries; it has when, who"),
        ("log.txt", "\n\n", "holds no query"),
        ("log.txt", b"\x00\x01\x02\x03", "is no text"),
        ("log.txt", "1\n2\n", "holds no query \\(2 without a letter\\)"),
    ],
)
def test_a_file_without_queries_is_bad_input(read, name, content, what):
    with pytest.raises(BadInput, match=what):
        read(content, name)


def test_a_file_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_log(tmp_path / "gone.txt")


def test_the_run_keeps_them_in_one_form(read, tmp_path):
    log = read("query,document\nwhy,a.md\nwhat,\n", "log.csv")
    run = create_run(tmp_path / "run", find_profile(REHEARSAL_PROFILE), {}, "test")
    assert read_queries(run) == ()
    write_queries(run, log.queries)
    assert read_queries(run) == log.queries
    first = json.loads(run.queries_path.read_text().splitlines()[0])
    assert first == {"id": log.queries[0].id, "text": "why", "count": 1, "documents": ["a.md"]}
    run.queries_path.write_text('{"text": "why"}\n')
    with pytest.raises(BadInput, match="no query"):
        read_queries(run)


def test_examples_are_chosen_by_seed_among_those_without_documents():
    queries = [OwnQuery(f"q-{n}", f"query {n}", 1) for n in range(30)]
    labelled = [OwnQuery(f"q-l{n}", f"labelled {n}", 1, ("a",)) for n in range(30)]
    chosen = examples_of([*queries, *labelled], 3)
    assert len(set(chosen)) == EXAMPLES
    assert set(chosen) <= {query.text for query in queries}
    assert chosen == examples_of([*queries, *labelled], 3) != examples_of(queries, 4)
    assert examples_of(queries[:2], 3)
    assert examples_of(labelled, 3) == ()


def test_examples_of_a_person_stay_and_ours_are_renewed():
    before = [OwnQuery("q-1", "old one", 1)]
    after = [OwnQuery("q-2", "new one", 1)]
    assert chosen_examples((), before, after, 0) == ("new one",)
    assert chosen_examples(("old one",), before, after, 0) == ("new one",)
    assert chosen_examples(("mine", "old one"), before, after, 0) == ("mine", "old one")


@given(st.text(max_size=60))
def test_what_asks_the_same_asks_the_same_again(text):
    assert asks(asks(text)) == asks(text)


@given(st.binary(max_size=300), st.sampled_from(["a.txt", "a.csv", "a.jsonl", "a.json"]))
def test_no_bytes_crash_the_reader_of_queries(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    queries = ()
    with suppress(BadInput):
        queries = read_log(path).queries
    signs = {unicodedata.category(sign) for query in queries for sign in query.text}
    assert not signs & {"Cc", "Zl", "Zp", "Cs"}
