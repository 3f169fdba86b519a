from __future__ import annotations

import json

import pytest

from pipeline.corpus.beir_source import load_beir
from pipeline.corpus.records import read_documents, read_imported, read_passages, read_report
from pipeline.errors import BadInput


def test_supplied_splits_are_honoured(workshop, write_beir_folder, distinct_text):
    passages = {f"p{n}": distinct_text(n) for n in range(8)}
    splits = {
        "train": {"q1": ["p1"], "q2": ["p2", "p3"]},
        "dev": {"q3": ["p3"]},
        "test": {"q4": ["p1", "p4"]},
    }
    outcome, folder = workshop.make(write_beir_folder(passages, splits))
    documents = {d.path: d for d in read_documents(folder)}
    assert {path: d.role for path, d in documents.items()} == {
        "p0": "train",
        "p1": "test",
        "p2": "train",
        "p3": "dev",
        "p4": "test",
        "p5": "train",
        "p6": "train",
        "p7": "train",
    }
    by_id = {p.id: p for p in read_passages(folder)}
    names = {document.id: path for path, document in documents.items()}
    for passage in by_id.values():
        assert (passage.start, passage.text) == (0, passages[names[passage.document]])
    samples = {sample.question: sample for sample in read_imported(folder)}
    assert {q: s.role for q, s in samples.items()} == {
        "what is q1?": "train",
        "what is q2?": "train",
        "what is q3?": "dev",
        "what is q4?": "test",
    }
    cited = samples["what is q2?"].passages
    assert {by_id[one].text for one in cited} == {passages["p2"], passages["p3"]}
    assert outcome.imported
    assert outcome.summary["roles"] == {"train": 5, "dev": 1, "test": 2}
    assert any(
        "2 passages answer queries of several splits" in w for w in outcome.summary["warnings"]
    )


def test_a_single_split_is_none_so_folds_are_dealt_and_evidence_stays_together(
    workshop, write_beir_folder, distinct_text
):
    passages = {f"p{n:02}": distinct_text(n) for n in range(40)}
    cited = {f"q{n}": [f"p{n:02}", f"p{n + 1:02}"] for n in range(0, 40, 4)}
    outcome, folder = workshop.make(write_beir_folder(passages, {"test": cited}))
    assert any("only split is test" in warning for warning in outcome.summary["warnings"])
    fold = {d.path: d.fold for d in read_documents(folder)}
    assert all(fold[one] == fold[other] for one, other in cited.values())
    assert {sample.role for sample in read_imported(folder)} == {None}
    assert outcome.summary["groups"] == 30
    assert outcome.summary["roles"]["test"] > 0


def test_equal_passages_are_one_and_empty_ones_are_reported(
    workshop, write_beir_folder, distinct_text
):
    same = distinct_text(1)
    passages = {"a": same, "b": same, "c": " \n ", "d": distinct_text(2), "e": distinct_text(3)}
    splits = {"train": {"q1": ["a", "b"], "q2": ["c"]}, "test": {"q3": ["d"]}}
    outcome, folder = workshop.make(write_beir_folder(passages, splits))
    statuses = {entry.path: (entry.status, entry.reason) for entry in read_report(folder)}
    assert statuses["b"] == ("duplicate", "the same text as a")
    assert statuses["c"] == ("skipped", "the passage is empty")
    samples = {sample.question: sample.passages for sample in read_imported(folder)}
    assert len(samples["what is q1?"]) == 1
    assert "what is q2?" not in samples
    assert any("cite only empty passages" in warning for warning in outcome.summary["warnings"])
    assert any("no dev split" in warning for warning in outcome.summary["warnings"])


def test_a_query_in_two_splits_counts_as_held_out(write_beir_folder, distinct_text):
    passages = {"a": distinct_text(1), "b": distinct_text(2)}
    loaded = load_beir(write_beir_folder(passages, {"train": {"q": ["a"]}, "test": {"q": ["b"]}}))
    assert [sample.role for sample in loaded.samples] == ["test"]
    assert any("1 queries stand in several splits" in warning for warning in loaded.warnings)


def test_titles_answers_and_details_come_along(tmp_path, write_beir_folder, distinct_text):
    folder = write_beir_folder({"a": distinct_text(1)}, {"test": {"q": ["a"]}})
    row = {"_id": "a", "title": "The title", "text": distinct_text(1)}
    (folder / "corpus.jsonl").write_text(json.dumps(row) + "\n")
    query = {"_id": "q", "text": "what?", "metadata": {"answer": " yes ", "hop_count": 2}}
    (folder / "queries.jsonl").write_text(json.dumps(query) + "\n")
    loaded = load_beir(folder)
    assert loaded.entries[0].title == "The title"
    assert loaded.entries[0].text == f"The title {distinct_text(1)}"
    assert loaded.samples[0].answer == "yes"
    assert loaded.samples[0].details == {"hop_count": 2, "query_id": "q"}


def test_a_pilot_slice_keeps_the_queries_whose_passages_are_in_it(
    workshop, write_beir_folder, distinct_text
):
    passages = {f"p{n}": distinct_text(n) for n in range(20)}
    splits = {"train": {f"q{n}": [f"p{n}"] for n in range(10)}, "test": {"t": ["p11", "p12"]}}
    outcome, folder = workshop.make(write_beir_folder(passages, splits), documents=8)
    there = {p.id for p in read_passages(folder)}
    assert len(there) == 8
    for sample in read_imported(folder):
        assert sample.passages
        assert there.issuperset(sample.passages)
    assert any("lost their evidence" in warning for warning in outcome.summary["warnings"])


@pytest.mark.parametrize("qrels", ["query-id\tcorpus-id\tscore\nq\tgone\t1\n", ""])
def test_damaged_qrels_name_the_file(write_beir_folder, distinct_text, qrels):
    folder = write_beir_folder({"a": distinct_text(1)}, {"test": {"q": ["a"]}})
    (folder / "qrels" / "test.tsv").write_text(qrels)
    with pytest.raises(BadInput, match=r"test\.tsv"):
        load_beir(folder)


def test_a_beir_folder_without_qrels_is_bad_input(write_beir_folder, distinct_text):
    folder = write_beir_folder({"a": distinct_text(1)}, {"test": {"q": ["a"]}})
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(BadInput, match=r"holds no train\.tsv"):
        load_beir(folder)


def test_half_a_surrogate_pair_in_one_passage_stops_no_other(write_beir_folder, distinct_text):
    passages = {"p1": distinct_text(1), "p2": distinct_text(2)}
    folder = write_beir_folder(passages, {"test": {"q1": ["p1"], "q2": ["p2"]}})
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace('"w1x0 ', '"w1x0\\ud83d '))
    assert "\\ud83d" in corpus.read_text()
    assert [entry.content for entry in load_beir(folder).entries] == [*passages.values()]


def test_queries_that_nothing_answers_are_told(workshop, write_beir_folder, distinct_text):
    folder = write_beir_folder(
        {f"p{n}": distinct_text(n) for n in range(4)},
        {
            "train": {"q1": ["p1"]},
            "test": {"q2": ["p2"]},
        },
    )
    outcome, _ = workshop.make(folder)
    assert not any("no relevant passage" in warning for warning in outcome.summary["warnings"])
    with (folder / "queries.jsonl").open("a") as stream:
        stream.write('{"_id": "lonely", "text": "who answers this?"}\n')
    outcome, _ = workshop.make(folder)
    told = "1 of 3 queries have no relevant passage in the qrels; left out."
    assert told in outcome.summary["warnings"]
