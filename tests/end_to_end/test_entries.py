"""Other ways in: a grown corpus, a BEIR folder, NVIDIA's SDG files, one's own eval set."""

import json

import pytest
from endpoint import ScriptedEndpoint

from pipeline.beir import EvalSet, write_beir

TOPICS = ("valve", "rotor", "sensor", "gasket", "turbine", "boiler", "piston", "clutch")


def write_documents(folder, topics):
    folder.mkdir(exist_ok=True)
    for topic in topics:
        paragraphs = [
            f"The {topic} of unit {n} is inspected every {n + 3} weeks by the {topic} crew. "
            f"Its limit is {n * 7 + 11} bar, and a {topic} above it is replaced at once."
            for n in range(6)
        ]
        (folder / f"{topic}.md").write_text(f"# The {topic}\n\n" + "\n\n".join(paragraphs))
    return folder


def rows(cli, run, stage, name):
    (path,) = cli.run_folder(run).glob(f"{stage}/*/{name}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_grown_corpus_keeps_replies_decisions_and_folds(cli, tmp_path):
    old = write_documents(tmp_path / "old", TOPICS[:6])
    grown = write_documents(tmp_path / "grown", TOPICS)
    with ScriptedEndpoint() as endpoint:
        cli(
            *("rehearse", old, "--to", "sdg", "--yes", "--set", "sdg.writer=endpoint"),
            *("--set", f"sdg.base_url={endpoint.base_url}"),
        )
        paid = len(endpoint.answered)
        first = rows(cli, "rehearsal-old", "sdg", "samples.jsonl")
        cli("review", "rehearsal-old", first[0]["id"], "--reject", "--reason", "generic")
        grow = ("run", grown, "--from-run", "rehearsal-old", "--name", "grown", "--to", "sdg")
        assert "--yes" in cli(*grow, code=11).err, "a grown corpus needs another yes"
        assert len(endpoint.answered) == paid
        cli(*grow, "--yes")
        again = len(endpoint.answered) - paid
    assert 0 < again < paid, "only the two new documents were asked about"
    before = {d["path"]: d for d in rows(cli, "rehearsal-old", "corpus", "documents.jsonl")}
    after = {d["path"]: d for d in rows(cli, "grown", "corpus", "documents.jsonl")}
    assert len(after) == 8
    for path, document in before.items():
        assert (after[path]["fold"], after[path]["role"]) == (document["fold"], document["role"])
    shown = cli("review", "grown", first[0]["id"], "--json").lines
    assert shown[0]["decision"] == "reject"


def test_a_beir_folder_leads_straight_to_training_files(cli, tmp_path):
    folder = tmp_path / "beir"
    passages = {f"doc{n}": f"The {topic} is part {n} of the plant." for n, topic in _numbered(24)}
    queries = {f"ask{n}": f"which part is the {topic}?" for n, topic in _numbered(24)}
    for split, span in (("train", range(16)), ("dev", range(16, 20)), ("test", range(20, 24))):
        qrels = {f"ask{n}": {f"doc{n}": 1} for n in span}
        write_beir(folder, EvalSet(queries, passages, qrels), split)
    cli("rehearse", folder, "--name", "imported", "--to", "prep")
    for stage in ("corpus", "sdg"):
        assert cli.done("imported", stage)["origin"] == "imported"
    prep = cli.done("imported", "prep")["summary"]
    assert (prep["examples"], prep["dev_queries"], prep["test_queries"]) == (16, 4, 4)


def test_sdg_output_of_the_published_recipe_leads_straight_to_training_files(cli, tmp_path):
    records = [_record(n, topic) for n, topic in _numbered(12)]
    path = tmp_path / "sdg.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    cli("rehearse", path, "--name", "imported", "--to", "prep")
    samples = rows(cli, "imported", "sdg", "samples.jsonl")
    assert {sample["score"] for sample in samples} == {9.0, 4.0}
    prep = cli.done("imported", "prep")["summary"]
    assert prep["examples"] + prep["dev_queries"] + prep["test_queries"] == 12


@pytest.mark.parametrize("broken", ["qrels/test.tsv", "queries.jsonl"])
def test_a_broken_eval_set_is_refused_by_file_before_anything_is_encoded(cli, tmp_path, broken):
    documents = write_documents(tmp_path / "documents", TOPICS[:3])
    cli("rehearse", documents, "--to", "corpus")
    mine = tmp_path / "mine"
    write_beir(mine, EvalSet({"1": "which?"}, {"a": "that"}, {"1": {"a": 1}}), "test")
    with (mine / broken).open("a") as stream:
        stream.write("broken\n")
    err = cli("eval", "rehearsal-documents", "--eval-set", mine, code=4).err
    assert broken.rpartition("/")[2] in err
    assert "line 3" in err or "line 2" in err


def _numbered(count):
    return [(n, f"{TOPICS[n % len(TOPICS)]} number {n}") for n in range(count)]


def _record(number, topic):
    texts = [f"The {topic} turns {part} times a minute." for part in range(3)]
    pair = {"answer": "See there.", "segment_ids": [1], "hop_count": 1, "question_complexity": 2}
    return {
        "file_name": [f"{number}.txt"],
        "text": " ".join(texts),
        "chunks": [
            {"chunk_id": part + 1, "text": text, "start": 0, "end": 0}
            for part, text in enumerate(texts)
        ],
        "deduplicated_qa_pairs": [
            pair | {"question": f"How often does the {topic} turn?"},
            pair | {"question": f"What is wrong with the {topic}?"},
        ],
        "qa_evaluations": {
            "evaluations": [{"overall": {"score": 9.0}}, {"overall": {"score": 4.0}}]
        },
    }
