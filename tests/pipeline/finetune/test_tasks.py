"""Other tasks: read, tokenised by their kind, dealt out by a step's number, learnt."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline.errors import BadInput
from pipeline.files import digest_folder
from pipeline.finetune.stage import MODEL, execute
from pipeline.finetune.tasks import Pair, Task, Tasks, open_tasks, read_pairs
from pipeline.settings import TaskSettings

PAIRS = [Pair(f"q{n}", f"p{n} n1", n / 10) for n in range(10)]


def words(texts, kind):
    """Characters as tokens; what kind a text was tokenised as stands first."""
    return [[kind == "query", *map(ord, text)] for text in texts]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_task_comes_as_often_as_its_weight_says_and_each_epoch_is_a_permutation():
    tasks = Tasks(
        [Task("sts", PAIRS, 0.5, words, 0.1), Task("retrieval", PAIRS, 2.0, words, 0.1)], 4, seed=3
    )
    names = [[batch.name for batch in tasks.batches(step)] for step in range(6)]
    assert names == [["retrieval"] * 2, ["sts", "retrieval", "retrieval"]] * 3
    # Ten pairs in batches of at most four are three batches: steps 1, 3 and 5 are one epoch.
    seen = [
        tuple(text)
        for step in (1, 3, 5)
        for batch in tasks.batches(step)
        if batch.name == "sts"
        for text in batch.texts[: len(batch.texts) // 2]
    ]
    assert len(seen) == len(set(seen)) == 10
    again = [batch.texts for batch in tasks.batches(3)]
    assert again == [batch.texts for batch in tasks.batches(3)]
    other = Tasks([Task("sts", PAIRS, 0.5, words, 0.1)], 4, seed=4)
    assert [b.texts for b in other.batches(3)] != again[:1]


def test_only_retrieval_has_sides_of_two_kinds():
    for kind, right in (("retrieval", False), ("sts", True), ("classification", True)):
        texts = Task(kind, PAIRS, 1.0, words, 0.1).batch([0, 1]).texts
        assert [text[0] for text in texts] == [True, True, right, right]


def test_each_kind_has_its_loss():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    crossed = vectors[[0, 1, 3, 2]]
    rows = {
        "retrieval": PAIRS[:2],
        "classification": [Pair("a", "b", 1.0), Pair("c", "d", 1.0)],
    }
    for kind, pairs in rows.items():
        loss_of = Task(kind, pairs, 1.0, words, 0.1).batch([0, 1]).loss_of
        assert float(loss_of(vectors)) < 1e-3 < float(loss_of(crossed))
    graded = Task("sts", [Pair("a", "b", 5.0), Pair("c", "d", 1.0)], 1.0, words, 0.1)
    alike = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert float(graded.batch([0, 1]).loss_of(alike)) < 1e-3
    assert float(graded.batch([1, 0]).loss_of(alike)) > 1


def test_the_same_text_is_never_its_own_negative():
    pairs = [Pair("a", "x"), Pair("A ", "y"), Pair("b", "X")]
    loss_of = Task("retrieval", pairs, 1.0, words, 0.1).batch([0, 1]).loss_of
    assert float(loss_of(torch.eye(4))) == 0, "each has its own passage alone"


def test_a_file_that_is_missing_is_said_before_anything_is_measured(toy):
    context = toy.context(overrides={"finetune.tasks.sts": ["no.csv"]})
    with pytest.raises(BadInput, match="is not there"):
        execute(context)
    assert not context.events.of("progress")


def test_files_are_read_by_the_usual_names(tmp_path):
    rows = [
        {"sentence1": "a", "sentence2": "b", "score": 1},
        {"text1": "c", "text2": "d", "label": "0"},
    ]
    assert read_pairs(write(tmp_path / "a.jsonl", rows), "sts") == [
        Pair("a", "b", 1.0),
        Pair("c", "d", 0.0),
    ]
    table = tmp_path / "b.csv"
    table.write_text('query,passage\n"one, two",x\nthree,y\n')
    assert read_pairs(table, "retrieval") == [Pair("one, two", "x"), Pair("three", "y")]


@pytest.mark.parametrize(
    ("rows", "kind", "match"),
    [
        ([{"text1": "a"}], "retrieval", "pair 1"),
        ([{"text1": "a", "text2": ""}], "retrieval", "pair 1"),
        ([{"text1": "a", "text2": " \n"}], "retrieval", "pair 1"),
        ([{"text1": "a \ud800", "text2": "b"}], "retrieval", "pair 1"),
        ([{"text1": "a", "text2": "b"}], "retrieval", "1 pairs"),
        ([{"text1": "a", "text2": "b", "score": "high"}], "sts", "number as score"),
        ([{"text1": "a", "text2": "b", "score": "nan"}], "sts", "number as score"),
        ([{"text1": "a", "text2": "b", "label": 2}], "classification", "0 and 1"),
        (["text"], "sts", "line 1"),
    ],
)
def test_a_file_that_is_no_pairs_is_refused_by_its_name(tmp_path, rows, kind, match):
    path = write(tmp_path / "bad.jsonl", rows)
    with pytest.raises(BadInput, match=match) as caught:
        read_pairs(path, kind)
    assert "bad.jsonl" in caught.value.happened


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(BadInput, match="is not there"):
        open_tasks(TaskSettings(sts=("no.csv",)), tmp_path, words, 4, 0.1, 3)
    (tmp_path / "x.csv").write_bytes(b"text1,text2\n\xff\xfe,b\n")
    with pytest.raises(BadInput, match=r"x\.csv"):
        read_pairs(tmp_path / "x.csv", "retrieval")


def graded(toy):
    """Pairs of question words, alike where the topic is: what the toy's own examples never say."""
    rows = [
        {"text1": f"q{one}", "text2": f"q{two} n1", "score": float(one == two)}
        for one in range(8)
        for two in range(8)
    ]
    return write(toy.root / "sts.jsonl", rows)


def test_a_task_is_trained_beside_the_run_s_own_examples_and_told(toy):
    graded(toy)
    overrides = {"finetune.tasks.sts": ["sts.jsonl"], "finetune.tasks.sts_weight": 0.5}
    context = toy.context("tasks", overrides)
    outcome = execute(context)
    told = context.events.of("metric", "loss")
    assert outcome.summary["dev_ndcg_at_10"] > outcome.summary["dev_ndcg_at_10_base"] + 0.2
    twice = toy.context("twice", overrides)
    execute(twice)
    assert digest_folder(twice.folder / MODEL) == digest_folder(context.folder / MODEL)
    assert [e["loss"] for e in told] == [e["loss"] for e in twice.events.of("metric", "loss")]
    assert "finetune.tasks.sts_weight | 0.5" in (context.folder / MODEL / "README.md").read_text()


def test_what_the_files_hold_is_part_of_the_identity_and_their_place_is_not(toy, tmp_path):
    from pipeline.identity import settings_of, task_digests
    from pipeline.recipe import Recipe, apply
    from pipeline.run import Run
    from pipeline.stage import find_stage

    path = graded(toy)
    here = apply(Recipe(), {"finetune.tasks.sts": ["sts.jsonl"]}, "here")
    there = apply(Recipe(), {"finetune.tasks.sts": [str(path)]}, "here")
    stage = find_stage("finetune")
    assert settings_of(stage, here) == settings_of(stage, there) == settings_of(stage, Recipe())
    before = task_digests(Run(toy.root), here)
    assert before == task_digests(Run(toy.root), there)
    path.write_text(path.read_text() + '{"text1": "a", "text2": "b", "score": 1}\n')
    assert task_digests(Run(toy.root), here) != before
    assert task_digests(Run(toy.root), Recipe()) == {}
    assert list(before) == ["sts"]
