from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from pipeline.context import Context
from pipeline.corpus.records import DOCUMENTS, PASSAGES, Document, Passage, to_row
from pipeline.encoder import load_encoder
from pipeline.errors import BadInput, BadRecipe, Cancelled
from pipeline.files import digest_folder, write_jsonl
from pipeline.mining.reranker import load_reranker
from pipeline.prep.automodel import CORPUS_ID, unroll
from pipeline.prep.preview_stage import execute as preview_execute
from pipeline.prep.records import read_held_out, read_training
from pipeline.prep.stage import check_kept, execute
from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile, weights_folder
from pipeline.run import Result, create_run
from pipeline.sdg.records import SAMPLES, Flag, Sample, sample_id
from pipeline.settings import PrepSettings
from tui.commands.preview import preview_lines

TOPICS = {
    "train": [
        "heapq keeps a list as a heap, so the smallest item is always first.",
        "bisect finds where an item goes in a sorted list, by halving.",
        "deque appends and pops at both ends in constant time.",
        "csv.reader yields the rows of a file as lists of strings.",
        "json.dumps turns an object into a string.",
        "gzip.open reads and writes compressed files.",
        "shutil.copytree copies a whole directory tree.",
        "tempfile makes files that vanish when closed.",
        "socket.create_connection opens a TCP connection to an address.",
        "ssl wraps a socket, so that what is sent is encrypted.",
    ],
    "dev": ["random.shuffle puts a list into random order.", "math.isclose compares floats."],
    "test": ["logging.getLogger returns a logger by name.", "argparse reads the command line."],
}
QUESTIONS = [
    ("train", "Which item of a heap comes first?", [0]),
    ("train", "How are rows of a table file read?", [3]),
    ("train", "What keeps lists sorted or as a heap?", [0, 1]),
    ("train", "How is a network connection made and encrypted?", [8, 9]),
    ("dev", "How do I mix a list?", [10]),
    ("test", "How do I get a logger?", [12]),
    ("test", "How are arguments parsed?", [13]),
]


class Recorder:
    """Events and control of one call, kept in memory."""

    def __init__(self):
        self.lines = []
        self.polls_left = 10**9

    finish_asked = False

    def poll(self):
        self.polls_left -= 1
        if self.polls_left < 0:
            raise Cancelled

    def progress(self, done, total, what):
        self.lines.append((what, done, total))

    def log(self, message, *, level="info"):
        self.lines.append((level, message))

    def metric(self, **values):
        raise AssertionError("prep has no metrics")

    def artifact(self, path, what):
        self.lines.append(("artifact", path))

    def resumed(self, **where):
        raise AssertionError("prep resumes through its cache")


def passages():
    every = [(role, text) for role, texts in TOPICS.items() for text in texts]
    return [
        Passage(f"p-{99 - n:016}", f"d{n}", 0, len(text), text, (), 12, role)
        for n, (role, text) in enumerate(every)
    ]


def samples(corpus, questions=QUESTIONS, **changes):
    made = []
    for role, question, rows in questions:
        positives = tuple(corpus[row].id for row in rows)
        key = sample_id((corpus[row].text for row in rows), question)
        made.append(Sample(key, question, "An answer.", positives, (), role, 8.0, kind="simple"))
    return [replace(sample, **changes) for sample in made]


def preparation(tmp_path, cache):
    """Makes a run with corpus and samples; returns its context, whose events record."""
    profile = find_profile(REHEARSAL_PROFILE)

    def make(kept=None, name="result", cache=cache, **prep):
        run = create_run(tmp_path / "run", profile, {}, "test")
        for stage in ("corpus", "sdg"):
            (tmp_path / stage).mkdir(exist_ok=True)
        write_jsonl(tmp_path / "corpus" / DOCUMENTS, [])
        write_jsonl(tmp_path / "corpus" / PASSAGES, map(to_row, passages()))
        rows = samples(passages()) if kept is None else kept
        write_jsonl(tmp_path / "sdg" / SAMPLES, map(asdict, rows))
        inputs = {
            stage: Result(tmp_path / stage, stage, "f", "d", {}, "made", False, 0.0, 0.0)
            for stage in ("corpus", "sdg")
        }
        recorder = Recorder()
        recipe = replace(base_recipe(profile), prep=PrepSettings(**prep))
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Context(run, recipe, profile, "", folder, inputs, recorder, recorder, "cpu", cache)

    return make


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def prepare(tmp_path, shared_cache):
    return preparation(tmp_path, shared_cache)


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    """The rehearsal's model with other prefixes and shuffled token embeddings."""
    import torch
    from sentence_transformers import SentenceTransformer

    profile = find_profile(REHEARSAL_PROFILE)
    model = SentenceTransformer(
        str(weights_folder(profile)), device="cpu", prompts={"query": "ask: ", "document": "read: "}
    )
    table = model[0].auto_model.embeddings.position_embeddings.weight
    with torch.no_grad():
        table.copy_(table.roll(1, dims=0))
    folder = tmp_path_factory.mktemp("teacher") / "model"
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def reranker_folder(tmp_path_factory):
    """MiniLM's transformer with a small random head on top: it scores, but knows nothing."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = str(weights_folder(find_profile(REHEARSAL_PROFILE)))
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    folder = tmp_path_factory.mktemp("reranker") / "model"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A prep that ran to its end with a cold cache: its context and its outcome."""
    folder = tmp_path_factory.mktemp("finished")
    context = preparation(folder, folder / "cache")()
    return context, execute(context)


def test_kept_samples_become_training_examples_and_held_out_sets_by_role(finished):
    context, outcome = finished
    corpus = {passage.id: passage for passage in passages()}
    examples = list(read_training(context.folder))
    assert [example.question for example in examples] == [q for role, q, _ in QUESTIONS[:4]]
    for example in examples:
        assert len(example.negatives) == 5 or example.shortfall
        assert not {key for key, _ in example.negatives} & set(example.positives)
        assert all(corpus[key].role == "train" for key, _ in example.negatives)
        scores = [score for _, score in example.negatives]
        assert scores == sorted(scores, reverse=True)
        assert all(score <= 0.95 * example.positive_score + 1e-9 for score in scores)
    dev, test = (read_held_out(context.folder, role) for role in ("dev", "test"))
    assert list(dev.queries.values()) == ["How do I mix a list?"]
    assert len(test.queries) == 2
    assert list(test.passages) == list(corpus)
    assert test.details[next(iter(test.queries))] == {
        "kind": "simple", "hops": 1, "complexity": 0, "quality_score": 8.0, "answer": "An answer.",
    }  # fmt: skip
    assert outcome.summary["examples"] == 4
    assert (outcome.summary["dev_queries"], outcome.summary["test_queries"]) == (1, 2)
    assert outcome.summary["passages"] == 14
    assert len(outcome.summary["warnings"]) >= 2
    assert set(outcome.summary["positive_scores"]) >= {"0", "0.5", "1"}
    for name in outcome.outputs:
        assert (context.folder / name).exists()


def test_the_same_inputs_give_the_same_bytes_with_a_cold_and_a_warm_cache(finished, prepare):
    context, outcome = finished
    warm = prepare(cache=context.cache)
    assert execute(warm) == outcome
    assert digest_folder(warm.folder) == digest_folder(context.folder)
    assert not any("encoded" in line[0] for line in warm.events.lines)


def test_a_cancelled_prep_goes_on_to_the_same_files(finished, prepare, tmp_path):
    stopped = prepare(cache=tmp_path / "cold")
    stopped.control.polls_left = 12  # ten passages, two questions
    with pytest.raises(Cancelled):
        execute(stopped)
    again = prepare(cache=tmp_path / "cold")
    execute(again)
    assert ("queries encoded", 4, 4) in again.events.lines
    assert not any(line[0] == "passages encoded" for line in again.events.lines)
    assert digest_folder(again.folder) == digest_folder(finished[0].folder)


def test_progress_is_told_while_encoding_and_mining(finished):
    lines = finished[0].events.lines
    assert ("passages encoded", 10, 10) in lines
    assert ("queries encoded", 4, 4) in lines
    assert ("queries mined", 4, 4) in lines


def test_held_out_sets_load_in_beirs_own_loader(finished):
    from beir.datasets.data_loader import GenericDataLoader

    context, _ = finished
    for folder, split, count in (("dev_beir", "dev", 1), ("eval_beir", "test", 2)):
        loader = GenericDataLoader(str(context.folder / folder))
        corpus, queries, qrels = loader.load(split=split)
        assert (len(corpus), len(queries), len(qrels)) == (14, count, count)
        assert not corpus.keys() & queries.keys()
        for query, relevant in qrels.items():
            assert set(relevant) <= corpus.keys()
            assert query in queries


def test_automodel_files_have_the_published_shape(finished, tmp_path):
    from datasets import load_dataset

    context, _ = finished
    metadata = json.loads((context.folder / "corpus" / "merlin_metadata.json").read_text())
    assert metadata == {"corpus_id": CORPUS_ID, "class": "TextQADataset"}
    parquet = str(context.folder / "corpus" / "train.parquet")
    table = load_dataset("parquet", data_files=parquet, cache_dir=str(tmp_path / "hf"))["train"]
    assert table.column_names == ["id", "text"]
    assert table["text"] == TOPICS["train"]  # no held-out passage
    plain, mined, unrolled = (
        json.loads((context.folder / name).read_text())
        for name in (
            "train.json", "train_mined.automodel.json", "train_mined.automodel_unrolled.json",
        )
    )  # fmt: skip
    for document in (plain, mined, unrolled):
        assert document["corpus"] == {"path": "./corpus/"}
        for row in document["data"]:
            named = [entry["id"] for entry in row["pos_doc"] + row["neg_doc"]]
            assert set(named) <= set(table["id"])
            assert row["corpus_id"] == CORPUS_ID
    assert [len(row["pos_doc"]) for row in plain["data"]] == [1, 1, 2, 2]
    assert not any(row["neg_doc"] for row in plain["data"])
    assert mined["mining_args"]["hard_neg_margin"] == 0.95
    assert all("score" in entry for row in mined["data"] for entry in row["pos_doc"])
    assert len(unrolled["data"]) == 6
    assert {len(row["pos_doc"]) for row in unrolled["data"]} == {1}


def test_unrolling_numbers_rows_of_several_positives_and_keeps_their_negatives():
    row = {"question_id": "q", "pos_doc": [{"id": "a"}, {"id": "b"}], "neg_doc": [{"id": "c"}]}
    assert unroll(row) == [
        {"question_id": "q_0", "pos_doc": [{"id": "a"}], "neg_doc": [{"id": "c"}]},
        {"question_id": "q_1", "pos_doc": [{"id": "b"}], "neg_doc": [{"id": "c"}]},
    ]
    single = {**row, "pos_doc": [{"id": "a"}]}
    assert unroll(single) == [single]


def test_rejected_and_low_scored_samples_are_left_out(prepare):
    rows = samples(passages())
    rows[0] = replace(rows[0], score=6.9)
    rows[1] = replace(rows[1], flags=(Flag("leak", "names the document", True),))
    context = prepare(rows)
    assert execute(context).summary["examples"] == 2


def test_a_question_asked_twice_never_gets_the_others_answer_as_negative(prepare):
    corpus = passages()
    twice = [("train", "What is sorted?", [0]), ("train", "what is  sorted?", [1])]
    context = prepare(samples(corpus, twice), hard_negatives=9, positive_percentage=1.0)
    execute(context)
    for example in read_training(context.folder):
        assert not {key for key, _ in example.negatives} & {corpus[0].id, corpus[1].id}


def test_a_query_without_enough_negatives_is_kept_and_says_why(prepare):
    context = prepare(hard_negatives=10)
    summary = execute(context).summary
    assert summary["short_of_negatives"] == 4
    assert all("of 10 training passages" in e.shortfall for e in read_training(context.folder))
    (said,) = (line[1] for line in context.events.lines if "fewer hard" in str(line[1]))
    assert said.startswith("4 training questions have fewer hard negatives than asked for. ")
    assert "of 10 training passages, 2 answer it" in said


def test_no_dev_and_no_test_question_are_warnings(prepare):
    context = prepare(samples(passages(), QUESTIONS[:4]))
    outcome = execute(context)
    assert "dev_beir" not in outcome.outputs
    assert read_held_out(context.folder, "test") is None
    assert sum("No kept question is a" in text for text in outcome.summary["warnings"]) == 2


def test_no_training_question_is_refused(prepare):
    with pytest.raises(BadInput, match="None of the 3 kept questions is a training question"):
        execute(prepare(samples(passages(), QUESTIONS[4:])))
    with pytest.raises(BadInput, match="No question is kept"):
        execute(prepare([]))


def test_a_question_whose_passages_are_gone_is_named():
    corpus = {passage.id: passage for passage in passages()}
    lost = samples(passages())[0]
    lost = replace(lost, passages=("p-gone",))
    with pytest.raises(BadInput, match=f"1 kept questions .*: {lost.id}"):
        check_kept([lost], corpus)
    several = [replace(lost, id=f"lost-{n}") for n in range(7)]
    with pytest.raises(BadInput, match=r"7 kept questions .* lost-0, lost-1, .*lost-4 and 2 more"):
        check_kept([*samples(passages()), *several], corpus)


def test_missing_and_repeated_positives_are_taken_out_and_counted():
    corpus = {passage.id: passage for passage in passages()}
    sample = samples(passages())[0]
    there = sample.passages[0]
    kept = check_kept([replace(sample, passages=(there, "p-gone", there))], corpus)
    assert kept.samples["train"][0].passages == (there,)
    assert kept.missing == 1


def test_the_summary_counts_by_reason_what_was_passed_over(prepare):
    summary = execute(prepare(hard_negatives=10, positive_percentage=0.0)).summary
    assert sum(summary["short_by_reason"].values()) == 4
    assert summary["set_aside"]["answers"] == 6  # as many as there are positives
    assert summary["set_aside"]["too_close"] > 0


def test_the_rule_and_its_parameters_stand_in_what_was_written(prepare):
    context = prepare(rule="margin", positive_margin=0.2, sample_from=6)
    execute(context)
    for example in read_training(context.folder):
        assert all(score <= example.positive_score - 0.2 + 1e-9 for _, score in example.negatives)
    said = json.loads((context.folder / "train_mined.automodel.json").read_text())["mining_args"]
    assert (said["hard_neg_margin"], said["hard_neg_margin_type"]) == (0.2, "abs")
    assert (said["rule"], said["sample_from"]) == ("margin", 6)
    plain = prepare(name="plain")
    execute(plain)
    arguments = json.loads((plain.folder / "train_mined.automodel.json").read_text())
    assert "rule" not in arguments["mining_args"]


@pytest.mark.parametrize("exclude", ["document", "group"])
def test_a_document_that_answers_gives_no_negatives(prepare, tmp_path, exclude):
    """Two passages a document; two documents a group."""
    context = prepare(exclude=exclude, rule="top", hard_negatives=9)
    rows = [replace(one, document=f"d{n // 2}") for n, one in enumerate(passages())]
    write_jsonl(tmp_path / "corpus" / PASSAGES, map(to_row, rows))
    documents = [
        Document(f"d{n}", f"{n}.txt", "", "text", f"g{n // 2}", 0, "train") for n in range(7)
    ]
    write_jsonl(tmp_path / "corpus" / DOCUMENTS, map(asdict, documents))
    execute(context)
    source = {one.id: int(one.document[1:]) // (2 if exclude == "group" else 1) for one in rows}
    for example in read_training(context.folder):
        answering = {source[key] for key in example.positives}
        assert example.negatives
        assert not answering & {source[key] for key, _ in example.negatives}
        if example.question == QUESTIONS[0][1]:  # its document's other passage answers another
            assert "passages, 1 answer it and " in example.shortfall
            assert "come from a document that does" in example.shortfall


def test_a_teacher_mines_by_its_own_vectors_and_prefixes(prepare, teacher_folder):
    base, taught = prepare(name="base"), prepare(name="taught", teacher=str(teacher_folder))
    execute(base)
    execute(taught)
    ours, theirs = (list(read_training(context.folder)) for context in (base, taught))
    assert [one.positive_score for one in ours] != [one.positive_score for one in theirs]
    text = (taught.folder / "train_mined.automodel.json").read_text()
    assert json.loads(text)["mining_args"]["query_prefix"] == "ask: "
    assert str(teacher_folder) not in text
    encoder = load_encoder(
        teacher_folder, find_profile(str(teacher_folder)), taught.recipe.encoder, "cpu"
    )
    question, answer = (
        encoder.encode([text], kind)[0].astype(float)
        for text, kind in ((QUESTIONS[0][1], "query"), (TOPICS["train"][0], "passage"))
    )
    assert theirs[0].positive_score == pytest.approx(float(question @ answer), abs=2e-6)


def test_a_teacher_that_needs_a_gpu_is_refused_on_a_cpu(prepare):
    with pytest.raises(BadRecipe, match="needs a GPU"):
        execute(prepare(teacher="nvidia/llama-nemotron-embed-1b-v2"))


def test_a_reranker_scores_positives_and_negatives_anew(prepare, reranker_folder):
    context = prepare(reranker=str(reranker_folder), rule="top", hard_negatives=3)
    execute(context)
    reranker = load_reranker(reranker_folder, "cpu", 1)
    text = {passage.id: passage.text for passage in passages()}
    for example in read_training(context.folder):
        named = [*example.positives, *(key for key, _ in example.negatives)]
        pairs = [(example.question, text[key]) for key in named]
        scores = [round(float(score), 6) for score in reranker.score(pairs)[:, 0]]
        assert example.positive_score == min(scores[: len(example.positives)])
        assert [score for _, score in example.negatives] == scores[len(example.positives) :]
        assert len(example.negatives) == 3
    assert ("pairs scored", 40, 40) in context.events.lines
    again = prepare(name="again", cache=context.cache, reranker=str(reranker_folder), rule="top",
                    hard_negatives=3)  # fmt: skip
    execute(again)
    assert not any(line[0] == "pairs scored" for line in again.events.lines)
    assert digest_folder(again.folder) == digest_folder(context.folder)


def test_a_preview_shows_scores_and_rules_and_makes_no_training_file(prepare):
    context = prepare()
    outcome = preview_execute(context)
    assert [path.name for path in context.folder.iterdir()] == ["preview.json"]
    shown = json.loads((context.folder / "preview.json").read_text())
    assert (shown["questions"], shown["passages"], outcome.summary["passages"]) == (4, 10, 10)
    assert sum(shown["positives"]) == 4
    lines = "\n".join(preview_lines(shown))
    assert "4 training questions, 10 passages." in lines
    assert "* percentage 0.95" in lines
    assert "answer the question" in lines


def test_a_corpus_of_one_passage_is_prepared_without_negatives(prepare, tmp_path):
    context = prepare([samples(passages())[0]])
    write_jsonl(tmp_path / "corpus" / PASSAGES, [to_row(passages()[0])])
    summary = execute(context).summary
    (example,) = read_training(context.folder)
    assert example.negatives == ()
    assert summary["short_by_reason"] == {"answers": 1}
    (said,) = (warning for warning in summary["warnings"] if "fewer hard" in warning)
    assert "than asked for, and 1 of them none. training.jsonl says why" in said
