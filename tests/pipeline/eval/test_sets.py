"""The user's own eval sets: copied, checked, identified."""

import json

import pytest

from pipeline.beir import read_beir, write_beir
from pipeline.errors import BadInput
from pipeline.eval.sets import copy_eval_set, eval_sets_digest, synthetic_set, user_sets
from pipeline.run import Run


def _write(folder, *, queries=(("1", "Who?"),), passages=(("1", "Me."),), qrels="1\t1\t2\n"):
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("queries", queries), ("corpus", passages)):
        lines = [json.dumps({"_id": key, "text": text, "title": ""}) for key, text in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def test_ids_that_a_query_and_a_passage_share_are_kept_apart(tmp_path):
    run = Run(tmp_path / "run")
    copy = copy_eval_set(run, _write(tmp_path / "mine"), "My own set")
    assert copy == run.eval_sets_path / "my-own-set"
    content = read_beir(copy, "test")
    assert dict(content.qrels["q-1"]) == {"p-1": 2}
    assert (content.queries, content.passages) == ({"q-1": "Who?"}, {"p-1": "Me."})


def test_a_set_dropped_into_the_folder_reads_like_its_copy(tmp_path):
    copied, dropped = Run(tmp_path / "a"), Run(tmp_path / "b")
    copy_eval_set(copied, _write(tmp_path / "mine"), "mine")
    _write(dropped.eval_sets_path / "mine")
    assert list(user_sets(copied)) == list(user_sets(dropped))


def test_a_copy_of_a_copy_is_the_same(tmp_path, small_set):
    run = Run(tmp_path / "run")
    write_beir(tmp_path / "mine", small_set, "test")
    first = copy_eval_set(run, tmp_path / "mine", "first")
    second = copy_eval_set(run, first, "second")
    digests = eval_sets_digest(run)
    assert digests["first"] == digests["second"]
    assert read_beir(second, "test") == small_set


def test_the_split_is_test_or_the_only_one(tmp_path):
    folder, run = _write(tmp_path / "mine"), Run(tmp_path / "run")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "validation.tsv")
    assert read_beir(copy_eval_set(run, folder, "mine"), "test").qrels == {"q-1": {"p-1": 2}}
    (folder / "qrels" / "train.tsv").write_text("1\t1\t1\n")
    with pytest.raises(BadInput, match=r"train, validation and no test"):
        copy_eval_set(run, folder, "mine")
    (folder / "qrels" / "test.tsv").write_text("1\t1\t3\n")
    assert read_beir(copy_eval_set(run, folder, "mine"), "test").qrels == {"q-1": {"p-1": 3}}


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"qrels": "1\t1\t1\n1\t7\t1\n"}, r"test\.tsv, line 3: there is no passage '7'"),
        ({"qrels": "1 1 1\n"}, r"test\.tsv, line 2"),
        ({"queries": (("1", "Who?"), ("1", "Again?"))}, r"queries\.jsonl, line 2"),
        ({"qrels": ""}, r"test\.tsv: no query has a relevant passage"),
    ],
)
def test_a_bad_set_is_refused_by_file_and_line_and_the_one_before_stays(tmp_path, broken, named):
    run = Run(tmp_path / "run")
    copy_eval_set(run, _write(tmp_path / "good"), "mine")
    before = eval_sets_digest(run)
    with pytest.raises(BadInput, match=named):
        copy_eval_set(run, _write(tmp_path / "bad", **broken), "mine")
    assert eval_sets_digest(run) == before


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_that_is_no_set_is_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=rf"{folder}/corpus\.jsonl: no such file"):
        copy_eval_set(Run(tmp_path / "run"), tmp_path / folder, "mine")


def test_a_set_of_the_same_name_is_replaced_and_leaves_nothing_behind(tmp_path):
    run = Run(tmp_path / "run")
    copy_eval_set(run, _write(tmp_path / "one"), "mine")
    before = eval_sets_digest(run)
    # What a copy that was killed leaves behind.
    (run.eval_sets_path / ".mine.part").mkdir()
    copy_eval_set(run, _write(tmp_path / "two", qrels="1\t1\t1\n"), "mine")
    assert eval_sets_digest(run).keys() == before.keys()
    assert eval_sets_digest(run) != before
    assert sorted(p.name for p in run.eval_sets_path.iterdir()) == [".lock", "mine"]


def test_the_synthetic_sets_name_is_taken(tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(BadInput, match="belongs to the held-out"):
        copy_eval_set(run, _write(tmp_path / "mine"), "Synthetic")
    _write(run.eval_sets_path / "synthetic")
    with pytest.raises(BadInput, match="belongs to the held-out"):
        list(user_sets(run))


def test_digests_depend_on_content_alone(tmp_path):
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert eval_sets_digest(one) == {}
    for run in (one, two):
        copy_eval_set(run, _write(tmp_path / f"mine-{run.name}"), "mine")
    assert eval_sets_digest(one) == eval_sets_digest(two)


def test_without_test_questions_there_is_no_synthetic_set(tmp_path, small_set):
    assert synthetic_set(tmp_path) is None
    write_beir(tmp_path / "eval_beir", small_set, "test")
    assert synthetic_set(tmp_path).content == small_set
