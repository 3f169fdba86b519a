"""Light entries and passages, read by place."""

import dataclasses
import json

import pytest

from pipeline.corpus.records import DOCUMENTS, PASSAGES, Document, Passage, to_row
from pipeline.errors import BadInput
from pipeline.files import canonical_json, write_jsonl
from pipeline.review.index import IndexReader, SampleIndex, keeps_entry, load_index, read_sample
from pipeline.review.kept import is_kept
from pipeline.review.passages import DocumentRef, PassageIndex
from pipeline.sdg.records import SAMPLES


@pytest.fixture
def corpus(tmp_path):
    """Two documents of two passages each, some of it far from ASCII."""
    documents = [
        Document(f"d-{n}", f"guide/ü{n}.md", f"Títle {n}", "ähm\n" * 3, "g", 0, "train")
        for n in range(2)
    ]
    passages = [
        Passage(f"p-{n}", f"d-{n // 2}", 0, 3, f"ähm \u2028{n}", ("A", "B"), 1, "train")
        for n in range(4)
    ]
    folder = tmp_path / "corpus"
    write_jsonl(folder / DOCUMENTS, map(to_row, documents))
    write_jsonl(folder / PASSAGES, map(to_row, passages))
    return folder, passages


def _line(sample):
    return canonical_json(dataclasses.asdict(sample)).encode() + b"\n"


def _samples(make_sample, count=5):
    return [
        dataclasses.replace(
            make_sample(f"q-{n}", None if n == 3 else float(n), blocked=n == 4, flagged=n == 2),
            question=f"Wäs is {n}?",
            passages=(f"p-{n % 4}", "p-0"),
            hops=2,
            kind="factual",
            complexity=3,
        )
        for n in range(count)
    ]


def test_passages_are_found_with_their_document_and_read_whole(corpus):
    folder, passages = corpus
    index = PassageIndex(folder).read_all()
    assert (len(index), index.documents) == (4, 2)
    assert [index.passage(p.id) for p in reversed(passages)] == passages[::-1]
    assert index.document("p-3") == DocumentRef("d-1", "guide/ü1.md", "Títle 1")
    places = [index.get(p.id).offset for p in passages]
    assert places == sorted(places)
    assert index.document("p-9") is index.passage("p-9") is None


def test_passages_come_in_parts(corpus):
    index, reads = PassageIndex(corpus[0]), 0
    while index.read(max_bytes=1):
        reads += 1
    assert (reads, len(index)) == (6, 4)


def test_entries_say_what_their_samples_say_and_lead_back_to_them(tmp_path, corpus, make_sample):
    samples = _samples(make_sample)
    path = tmp_path / SAMPLES
    path.write_bytes(b"".join(map(_line, samples)))
    index = load_index(tmp_path, PassageIndex(corpus[0]).read_all())
    assert [read_sample(path, entry) for entry in index.entries] == [
        # JSON knows no tuples of the mapping's values; ids and all else are equal.
        *samples
    ]
    entry = index["q-2"]
    assert (entry.document, entry.path, entry.passage) == ("d-1", "guide/ü1.md", "p-2")
    assert (entry.flags, entry.blocking, entry.hops, entry.complexity) == (("leak",), False, 2, 3)
    assert index["q-4"].blocking
    for sample in samples:
        assert keeps_entry(index[sample.id], None, 2.0) == is_kept(sample, None, 2.0)


def test_arriving_samples_are_read_along_and_a_torn_one_waits(tmp_path, corpus, make_sample):
    path, samples = tmp_path / "arriving.jsonl", _samples(make_sample)
    reader = IndexReader(path, PassageIndex(corpus[0]).read_all())
    assert reader.read().entries == ()
    lines = [_line(sample) for sample in samples]
    with path.open("ab", buffering=0) as stream:
        stream.write(lines[0] + lines[1][:-5])
        assert [entry.id for entry in reader.read().entries] == ["q-0"]
        stream.write(lines[1][-5:] + lines[2])
        arrived = reader.read().entries
    assert [entry.id for entry in arrived] == ["q-1", "q-2"]
    assert read_sample(path, arrived[1]) == samples[2]


def test_a_new_attempt_that_begins_the_file_anew_is_told(tmp_path, corpus, make_sample):
    path, samples = tmp_path / "arriving.jsonl", _samples(make_sample)
    reader = IndexReader(path, PassageIndex(corpus[0]))
    path.write_bytes(_line(samples[0]) + _line(samples[1]))
    assert not reader.read().restarted
    path.write_bytes(_line(samples[2]))
    arrived = reader.read()
    assert arrived.restarted
    assert [entry.id for entry in arrived.entries] == ["q-2"]


def test_a_sample_that_arrives_twice_is_there_once(tmp_path, corpus, make_sample):
    path, sample = tmp_path / SAMPLES, _samples(make_sample)[0]
    path.write_bytes(_line(sample) * 2)
    entries = IndexReader(path, PassageIndex(corpus[0])).read().entries
    index = SampleIndex()
    assert index.extend(entries) == entries[:1]
    assert index.extend(entries) == ()
    assert len(index) == 1
    assert index.get("q-9") is None


@pytest.mark.parametrize("line", [b"no JSON", b"[]", b"{}", b'{"id": "q-1"}'])
def test_a_damaged_line_is_named(tmp_path, corpus, make_sample, line):
    path = tmp_path / SAMPLES
    path.write_bytes(_line(_samples(make_sample)[0]) + line + b"\n")
    with pytest.raises(BadInput, match=r"samples\.jsonl, line 2"):
        IndexReader(path, PassageIndex(corpus[0])).read()


def test_a_file_that_changed_under_the_index_is_refused_and_not_guessed_at(
    tmp_path, corpus, make_sample
):
    path, samples = tmp_path / SAMPLES, _samples(make_sample)
    path.write_bytes(b"".join(map(_line, samples)))
    entry = load_index(tmp_path, PassageIndex(corpus[0]))["q-1"]
    path.write_bytes(b"".join(map(_line, samples[::-1])))
    with pytest.raises(BadInput, match="q-1 is no longer where it was"):
        read_sample(path, entry)
    path.unlink()
    with pytest.raises(BadInput, match="q-1 is no longer where it was"):
        read_sample(path, entry)


def test_a_sample_whose_passage_is_unknown_is_there_all_the_same(tmp_path, make_sample):
    path = tmp_path / SAMPLES
    row = json.loads(_line(_samples(make_sample)[0])) | {"passages": []}
    path.write_text(json.dumps(row) + "\n")
    entry = load_index(tmp_path, PassageIndex(tmp_path)).entries[0]
    assert (entry.document, entry.path, entry.passage, entry.place) == ("", "", "", -1)
