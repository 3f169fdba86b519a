"""The quality table: it runs, goes on where it was killed, and its figures are right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from labelled import LabelledSet, read_labelled, split
from quality import Cell, compare, row_of

from pipeline.beir import EvalSet, write_beir
from pipeline.files import read_json

HERE = Path(__file__).parent
SUBJECTS = (
    "kettle", "lantern", "harbour", "violin", "glacier", "turbine", "orchard", "compass",
    "saddle", "beacon", "furnace", "sextant",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Documents of two passages each, and two questions about each of them."""
    passages, documents, queries, qrels = {}, {}, {}, {}
    for number, subject in enumerate(SUBJECTS):
        for part, verb in enumerate(("made", "mended")):
            key = f"{number}-{part}"
            passages[key] = f"The {subject} is {verb} of part {number} in workshop {part}."
            documents[key] = f"{subject}.txt"
            queries[f"{number}{part}"] = f"How is a {subject} {verb}?"
            qrels[f"{number}{part}"] = {key: 1}
    path = tmp_path / "workshops"
    path.mkdir()
    write_beir(path, EvalSet(queries, passages, qrels), "test")
    corpus = path / "corpus.jsonl"
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    lines = [json.dumps(row | {"metadata": {"doc": documents[row["_id"]]}}) for row in rows]
    corpus.write_text("\n".join(lines) + "\n")
    return path


def run(folder, output, *arguments):
    command = [sys.executable, HERE / "quality.py", folder, "--output", output, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_every_kind_of_system_is_measured_once_and_a_killed_run_goes_on(folder, tmp_path):
    output = tmp_path / "out"
    options = ("--seeds", "0", "--systems", "base,bm25,sentence-transformers-one")
    variant = ("--recipe-set", "finetune.temperature=0.1", "--name", "warm")
    first = run(folder, output, *options, *variant)
    assert first.returncode == 0, first.stderr
    cells = sorted(output.glob("workshops/all-queries-1-epochs/*/seed-0.json"))
    systems = {path.parent.name for path in cells}
    assert systems == {"base", "bm25", "sentence-transformers-one", "warm"}
    assert not list(output.rglob("*.work"))
    warm = read_json(output / "workshops/all-queries-1-epochs/warm/seed-0.json")
    assert warm["settings"]["finetune"]["temperature"] == 0.1

    # As a kill would leave it: one cell is lost, the others stay.
    before = {path: path.stat().st_mtime_ns for path in cells}
    lost = next(path for path in cells if path.parent.name == "bm25")
    content = read_json(lost)
    lost.unlink()
    again = run(folder, output, *options, *variant, "--json")
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stderr.splitlines() if line.endswith("measured")] == [
        "workshops, bm25, seed 0: measured"
    ]
    assert {path: path.stat().st_mtime_ns for path in cells if path != lost} == {
        path: moment for path, moment in before.items() if path != lost
    }
    assert read_json(lost)["metrics"] == content["metrics"]
    document = json.loads(again.stdout)["workshops"]
    assert {row["system"] for row in document["systems"]} == systems
    assert len(document["differences"]) == 6
    # Ours gave some questions to the choice of its best weights, the peer learned from all.
    examples = {row["system"]: row["examples"] for row in document["systems"]}
    assert 0 < examples["warm"] < 14

    other = run(folder, output, *options[:2], "--systems", "", *variant[:1],
                "finetune.temperature=0.2", *variant[2:])  # fmt: skip
    assert other.returncode == 1
    assert "take another --name" in other.stderr


def test_a_variant_needs_a_name_and_a_known_setting(folder, tmp_path):
    unnamed = run(folder, tmp_path, "--recipe-set", "finetune.temperature=0.1")
    assert unnamed.returncode == 2
    assert "--name" in unnamed.stderr
    wrong = run(folder, tmp_path, "--recipe-set", "finetune.temprature=0.1", "--name", "warm")
    assert wrong.returncode != 0
    assert "temprature" in wrong.stderr
    assert not list(tmp_path.rglob("seed-0*"))


def test_no_document_that_measures_is_learned_from(folder):
    labelled = read_labelled(folder)
    for seed in range(5):
        parts = split(labelled, seed, 0, dev=True)
        roles = {
            role: {labelled.documents[key] for keys in questions.values() for key in keys}
            for role, questions in parts.positives.items()
        }
        assert all(roles.values())
        assert not roles["train"] & roles["test"]
        assert not roles["dev"] & (roles["test"] | roles["train"])
        for role, documents in roles.items():
            assert {parts.roles[document] for document in documents} == {role}


def test_systems_with_and_without_dev_questions_get_the_same_labels(folder):
    labelled = read_labelled(folder)
    chooses, learns = (split(labelled, 3, 8, dev=dev) for dev in (True, False))
    assert chooses.positives["test"] == learns.positives["test"]
    given = chooses.positives["train"] | chooses.positives["dev"]
    assert given == learns.positives["train"]
    assert len(given) == 8
    assert not learns.positives["dev"]


def test_a_question_loses_the_positives_that_lie_in_held_out_documents():
    passages = {f"p:{n}": f"text {n}" for n in range(10)}
    qrels = {f"q:{n}": {f"p:{n}": 1, f"p:{(n + 1) % 10}": 1} for n in range(10)}
    labelled = LabelledSet(
        "ring", {key: key for key in qrels}, passages, qrels, {p: p for p in passages}
    )
    parts = split(labelled, 0, 0, dev=False)
    held = {key for keys in parts.positives["test"].values() for key in keys}
    learned = {key for keys in parts.positives["train"].values() for key in keys}
    assert not held & learned
    assert all(len(keys) == 2 for keys in parts.positives["test"].values())
    assert any(len(keys) == 1 for keys in parts.positives["train"].values())


def cell(system, seed, values, homes):
    metrics = {question: {"ndcg@10": value} for question, value in values.items()}
    return Cell(system, seed, "", {}, metrics, homes, 7, 1.0, 60.0, {})


def test_means_weigh_questions_and_intervals_weigh_documents():
    homes = {"a": "x", "b": "x", "c": "x", "d": "y"}
    base = [cell("base", seed, {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}, homes) for seed in (0, 1)]
    ours = [
        cell("ours", 0, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}, homes),
        cell("ours", 1, {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}, homes),
    ]
    row = row_of(ours)
    assert row.means["ndcg@10"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert row.seeds == (0, 1)
    found = compare(ours, base)
    difference = found.differences["ndcg@10"]
    assert difference.mean == pytest.approx(0.625)
    # Two documents: drawn twice each, the ends are one's share and the other's.
    assert difference.low == pytest.approx(0.0)
    assert difference.high == pytest.approx(1.25)
    assert found.documents == 2
    assert found.verdicts["ndcg@10"] == "too few queries"


def test_two_systems_are_compared_by_the_seeds_that_both_have():
    homes = {"a": "x", "b": "y"}
    ours = [cell("ours", 0, {"a": 1.0}, homes), cell("ours", 1, {"b": 0.0}, homes)]
    theirs = [cell("theirs", 0, {"a": 0.5}, homes)]
    found = compare(ours, theirs)
    assert found.seeds == (0,)
    assert found.differences["ndcg@10"].mean == pytest.approx(0.5)
    assert compare(ours, [cell("theirs", 2, {"a": 0.5}, homes)]) is None
