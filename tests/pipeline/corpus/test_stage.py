from __future__ import annotations

import hashlib
import json
import os

import pytest

from pipeline.corpus.folds import read_ledger
from pipeline.corpus.records import read_documents, read_passages, read_report
from pipeline.errors import BadInput, Cancelled


def digest(folder):
    """Hash of a result's files."""
    parts = [path.name.encode() + path.read_bytes() for path in sorted(folder.iterdir())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@pytest.fixture
def pages(distinct_text):
    def page(number):
        parts = (distinct_text(number), distinct_text(number + 500))
        return "# Page {}\n\n{}\n\n## Part\n\n{}".format(number, *parts)

    def make(count):
        return {f"page{number:02}.md": page(number) for number in range(count)}

    return make


def test_a_folder_becomes_documents_passages_and_a_report(workshop, write_folder, pages):
    files = pages(30)
    folder = write_folder(
        files
        | {
            "copy.md": files["page03.md"].replace("\n", "\r\n"),
            "near.md": files["page04.md"] + "\n\nOne more line.",
            "short.txt": "too short",
            "scan.pdf": b"%PDF-1.4",
            "old.txt": ("Größe und Länge. " * 9).encode("cp1252"),
        }
    )
    outcome, result = workshop.make(folder)
    assert outcome.outputs == (
        "documents.jsonl",
        "passages.jsonl",
        "report.jsonl",
        "findings.jsonl",
    )
    assert workshop.events.artifacts == list(outcome.outputs)
    assert not outcome.imported
    report = {entry.path: entry for entry in read_report(result)}
    assert list(report) == sorted(report)
    assert report["page03.md"].reason == "the same text as copy.md"
    assert report["scan.pdf"].reason == "a damaged PDF: it cannot be opened"
    assert report["short.txt"].reason == "9 characters; corpus.document_characters_min is 50"
    assert report["old.txt"].status == "used"
    assert "Windows-1252" in report["old.txt"].reason
    documents = {document.path: document for document in read_documents(result)}
    assert documents["near.md"].group == documents["page04.md"].group
    assert documents["near.md"].role == documents["page04.md"].role
    assert documents["page05.md"].title == "Page 5"
    assert documents["old.txt"].title == "old"
    by_id = {document.id: document for document in documents.values()}
    passages = list(read_passages(result))
    for passage in passages:
        document = by_id[passage.document]
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.role == document.role
    assert {passage.headings for passage in passages} >= {("Page 5",), ("Page 5", "Part")}
    assert len({passage.id for passage in passages}) == len(passages)
    summary = outcome.summary
    assert summary["source"] == "folder"
    assert (summary["documents"], summary["skipped"], summary["duplicates"]) == (32, 2, 1)
    assert summary["groups"] == 31
    assert summary["passages"] == len(passages) == sum(e.passages for e in report.values())
    assert sum(summary["roles"].values()) == 32
    assert min(summary["roles"].values()) > 0
    json.dumps(summary)


def test_the_same_call_gives_the_same_bytes_and_so_does_one_that_was_cut_short(
    workshop, countdown, write_folder, pages
):
    source = write_folder(pages(12))
    _, undisturbed = workshop.make(source)
    for polls in (0, 5, 13, 20, 24):
        run = workshop.run(source)
        with pytest.raises(Cancelled):
            workshop.execute(run, countdown(polls, Cancelled()))
        _, resumed = workshop.execute(run)
        assert digest(resumed) == digest(undisturbed)
        _, again = workshop.execute(run)
        assert digest(again) == digest(undisturbed)


def test_a_grown_corpus_keeps_every_old_document_where_it_was(workshop, write_folder, pages):
    files = pages(25)
    source = write_folder(dict(list(files.items())[:9]))
    run = workshop.run(source)
    _, first = workshop.execute(run)
    before = {document.path: document.fold for document in read_documents(first)}
    write_folder(files)
    (source / "page02.md").write_text(files["page02.md"].replace("w2x", "edited"))
    _, second = workshop.execute(run)
    after = {document.path: document.fold for document in read_documents(second)}
    assert len(after) == 25
    assert {path: after[path] for path in before} == before
    assert set(read_ledger(run.folds_path).paths) == set(files)


def test_a_new_document_between_two_folds_is_named_in_the_report(
    workshop, write_folder, distinct_text
):
    files = {f"p{n}.md": distinct_text(n, 80) for n in range(10)}
    source = write_folder(files)
    run = workshop.run(source, near_duplicate_containment=0.4)
    _, first = workshop.execute(run)
    roles = {document.path: document.role for document in read_documents(first)}
    test = next(path for path in roles if roles[path] == "test")
    train = next(path for path in roles if roles[path] == "train")
    (source / "both.md").write_text(f"{files[test]} {files[train]}")
    outcome, second = workshop.execute(run)
    after = {document.path: document for document in read_documents(second)}
    assert after["both.md"].role == "test"
    assert {path: after[path].role for path in roles} == roles
    report = {entry.path: entry.reason for entry in read_report(second)}
    assert "lie in the folds 0 and" in report["both.md"]
    assert any("3 documents have near-duplicates" in w for w in outcome.summary["warnings"])
    _, again = workshop.execute(run)
    assert digest(again) == digest(second)


def test_a_larger_pilot_slice_holds_the_smaller_one(workshop, write_folder, pages):
    source = write_folder(pages(20))
    run = workshop.run(source, documents=5)
    outcome, small = workshop.execute(run)
    assert (outcome.summary["skipped"], outcome.summary["outside_slice"]) == (0, 15)
    _, large = workshop.make(source, documents=12)
    chosen = {document.id for document in read_documents(small)}
    assert len(chosen) == 5
    assert chosen < {document.id for document in read_documents(large)}
    outside = [entry for entry in read_report(small) if entry.status == "skipped"]
    assert len(outside) == 15
    assert outside[0].reason == "outside of the pilot slice (corpus.documents = 5)"


def test_one_document_trains_and_the_summary_says_that_nothing_is_left(
    workshop, write_folder, pages
):
    outcome, _ = workshop.make(write_folder(pages(1)))
    assert outcome.summary["roles"] == {"train": 1, "dev": 0, "test": 0}
    assert any("nothing is left for dev and test" in w for w in outcome.summary["warnings"])
    assert ("warning", outcome.summary["warnings"][0]) in workshop.events.logged


def test_copies_of_one_text_are_told(workshop, write_folder, pages):
    ((name, text),) = pages(1).items()
    copies = {f"copy{n}-{name}": text for n in range(8)}
    outcome, _ = workshop.make(write_folder(copies))
    told = "7 of 8 documents have the very text of another, and each text counts once"
    assert any(told in warning for warning in outcome.summary["warnings"])


def test_a_copy_among_many_texts_is_no_warning(workshop, write_folder, pages):
    files = pages(8)
    outcome, _ = workshop.make(write_folder({**files, "copy.md": next(iter(files.values()))}))
    assert outcome.summary["duplicates"] == 1
    assert not any("the very text" in warning for warning in outcome.summary["warnings"])


def test_a_folder_where_everything_was_skipped_names_the_first_reasons(workshop, write_folder):
    files = {f"{name}.pdf": b"%PDF-1.4" for name in "abcde"}
    with pytest.raises(BadInput) as caught:
        workshop.make(write_folder(files))
    assert "a.pdf: a damaged PDF: it cannot be opened; b.pdf" in caught.value.happened
    assert "and 2 more" in caught.value.happened


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_doesnt_stop_the_others(workshop, write_folder, pages):
    source = write_folder(pages(3))
    (source / "page01.md").chmod(0)
    outcome, _ = workshop.make(source)
    assert outcome.summary["documents"] == 2


def test_a_file_that_is_too_large_doesnt_stop_the_others(workshop, write_folder, pages):
    source = write_folder(pages(3))
    with (source / "huge.txt").open("wb") as stream:
        stream.truncate(20_000_001)
    outcome, result = workshop.make(source)
    assert outcome.summary["documents"] == 3
    report = {entry.path: entry.reason for entry in read_report(result)}
    assert report["huge.txt"] == "larger than 20 MB (corpus.file_megabytes_max)"


def test_progress_goes_over_every_document(workshop, write_folder, pages):
    workshop.make(write_folder(pages(4)))
    assert (4, 4, "documents read") in workshop.events.progressed
    assert (4, 4, "documents cut into passages") in workshop.events.progressed


def test_the_standard_library_is_a_corpus_and_a_slice_of_it_is_small(workshop):
    outcome, result = workshop.make("pydoc", documents=12)
    assert outcome.summary["source"] == "pydoc"
    assert outcome.summary["documents"] == 12
    assert min(outcome.summary["roles"].values()) >= 1
    assert outcome.summary["passages"] > 100
    assert {document.path.rpartition(".")[2] for document in read_documents(result)} == {"md"}
    assert {entry.kind for entry in read_report(result)} == {"pydoc"}
