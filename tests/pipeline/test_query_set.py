from __future__ import annotations

import json

import pytest

from pipeline.beir import read_beir
from pipeline.corpus.records import (
    DOCUMENTS,
    PASSAGES,
    REPORT,
    Document,
    FileReport,
    Passage,
    to_row,
)
from pipeline.eval.sets import user_sets
from pipeline.files import write_jsonl
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.queries import OwnQuery, write_queries
from pipeline.query_set import make_query_set, match, set_name
from pipeline.run import create_run


def document(number, path, title):
    return Document(f"d{number:016x}", path, title, "text", "g", 0, "train")


def passage(number, parent):
    return Passage(f"p-{number:016x}", parent.id, 0, 1, f"part {number}", (), 1, "train")


DOCUMENTS_ = (
    document(1, "guide/install.md", "Installing"),
    document(2, "guide/remove.md", "Removing"),
    document(3, "old/remove.md", "Notes"),
    document(4, "https://docs.example/faq", "Notes"),
)
PASSAGES_ = (
    passage(1, DOCUMENTS_[0]),
    passage(2, DOCUMENTS_[0]),
    passage(3, DOCUMENTS_[1]),
    passage(4, DOCUMENTS_[2]),
    passage(5, DOCUMENTS_[3]),
)


def asked(*names):
    return OwnQuery("q-1", "how?", 1, names)


def found(*names):
    matched = match([asked(*names)], DOCUMENTS_, PASSAGES_, [("copy/setup.md", DOCUMENTS_[0].id)])
    numbers = [int(key[2:], 16) for key in matched.content.qrels.get("q-1", {})]
    return numbers, matched.unknown


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("guide/install.md", [1, 2]),
        ("./guide/install.md", [1, 2]),
        ("install.md", [1, 2]),
        ("/srv/docs/guide/install.md", [1, 2]),
        ("https://docs.example/v2/guide/install.md?x=1#top", [1, 2]),
        ("C:\\docs\\guide\\install.md", [1, 2]),
        ("installing", [1, 2]),
        (DOCUMENTS_[0].id, [1, 2]),
        (PASSAGES_[1].id, [2]),
        ("copy/setup.md", [1, 2]),
        ("https://docs.example/faq", [5]),
        ("guide/remove.md", [3]),
    ],
)
def test_a_document_is_found_by_path_title_and_id(name, numbers):
    assert found(name) == (numbers, ())


@pytest.mark.parametrize("name", ["remove.md", "Notes", "nowhere.md", "stall.md", "new/remove.md"])
def test_what_names_none_or_several_is_reported(name):
    assert found(name) == ([], (name,))


def test_a_query_stays_as_long_as_one_of_its_documents_is_there():
    assert found("nowhere.md", "install.md") == ([1, 2], ("nowhere.md",))
    matched = match([asked("nowhere.md"), asked()], DOCUMENTS_, PASSAGES_)
    assert (matched.lost, matched.unknown) == (1, ("nowhere.md",))
    assert "nowhere.md" in matched.words


def test_the_set_is_measured_like_any_other_of_the_run(tmp_path):
    corpus = tmp_path / "corpus"
    write_jsonl(corpus / DOCUMENTS, map(to_row, DOCUMENTS_))
    write_jsonl(corpus / PASSAGES, map(to_row, PASSAGES_))
    duplicate = FileReport("copy.md", "text", "duplicate", "", 1, 0, DOCUMENTS_[1].id)
    write_jsonl(corpus / REPORT, [to_row(duplicate)])
    run = create_run(tmp_path / "run", find_profile(REHEARSAL_PROFILE), {}, "test")
    queries = [OwnQuery("q-1", "how?", 2, ("copy.md",)), OwnQuery("q-2", "why?", 1)]
    write_queries(run, queries)
    make_query_set(run, corpus, "real")
    (one,) = user_sets(run)
    assert one.name == "real"
    assert one.content.queries == {"q-1": "how?"}
    assert one.content.qrels == {"q-1": {PASSAGES_[2].id: 1}}
    assert len(one.content.passages) == len(PASSAGES_)
    before = sorted((run.eval_sets_path / "real").rglob("*.*"))
    contents = [path.read_bytes() for path in before]
    make_query_set(run, corpus, "real")
    assert [path.read_bytes() for path in before] == contents
    assert read_beir(run.eval_sets_path / "real", "test") == one.content


def test_without_a_match_there_is_no_set(tmp_path):
    corpus = tmp_path / "corpus"
    for name in (DOCUMENTS, PASSAGES, REPORT):
        write_jsonl(corpus / name, [])
    run = create_run(tmp_path / "run", find_profile(REHEARSAL_PROFILE), {}, "test")
    run.queries_path.write_text(
        json.dumps({"id": "q-1", "text": "how", "count": 1, "documents": ["a"]}) + "\n"
    )
    assert make_query_set(run, corpus, "real").lost == 1
    assert list(user_sets(run)) == []


def test_the_set_is_named_after_the_file(tmp_path):
    assert set_name(tmp_path / "Real Queries.csv") == "real-queries"
    assert set_name(tmp_path / "synthetic.csv") == "synthetic-queries"
