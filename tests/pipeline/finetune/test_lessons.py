"""Teachers asked before a training, and trainings that learn from them, on the toy task."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from pipeline.corpus.records import read_passages
from pipeline.encoder import Encoder, load_encoder
from pipeline.errors import BadInput, BadRecipe, Cancelled
from pipeline.files import digest_folder
from pipeline.finetune.examples import read_training_set
from pipeline.finetune.lessons import ask_teachers
from pipeline.finetune.stage import execute
from pipeline.identity import lesson_digests
from pipeline.prep.records import read_training
from pipeline.profiles import find_profile, weights_folder
from pipeline.recipe import Recipe, apply
from pipeline.settings import EncoderSettings

SUSPICIOUS = {"finetune.false_negatives.teacher": "base", "finetune.false_negatives.margin": 0.2}


def bert(vocabulary: int, width: int, **more) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=0,
        **more,
    )


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, tiny_base):
    """A wider and a narrower model of vectors, and cross-encoders of one and of two outputs."""
    root = tmp_path_factory.mktemp("teachers")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_base)
    profile = find_profile(str(tiny_base))
    torch.manual_seed(2)
    for name, width in (("wide", 48), ("narrow", 16)):
        model = BertModel(bert(len(tokenizer), width))
        encoder = Encoder(model, tokenizer, profile, EncoderSettings(), torch.device("cpu"))
        encoder.save(root / name, name)
        pooling = root / name / "1_Pooling" / "config.json"
        config = json.loads(pooling.read_text())
        widths = {key: width for key in config if key.endswith("embedding_dimension")}
        pooling.write_text(json.dumps(config | widths))
    for name, outputs in (("reranker", 1), ("classes", 2)):
        config = bert(len(tokenizer), 32, num_labels=outputs, initializer_range=0.5)
        BertForSequenceClassification(config).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root


def distilling(teacher, loss: str, **more):
    return {
        "finetune.distillation.weight": 1.0,
        "finetune.distillation.teacher": str(teacher),
        "finetune.distillation.loss": loss,
        **{f"finetune.{name}": value for name, value in more.items()},
    }


def asked(context):
    """The training set, the base, and what its teachers say."""
    encoder = load_encoder(
        weights_folder(context.profile), context.profile, context.recipe.encoder, "cpu"
    )
    texts = {p.id: p.text for p in read_passages(context.inputs["corpus"].folder)}
    examples = list(read_training(context.inputs["prep"].folder))
    data = read_training_set(examples, texts, encoder.tokenize, 4)
    return data, encoder, ask_teachers(context, encoder, data)


def test_a_recipe_without_teachers_asks_nobody(toy):
    _, _, lessons = asked(toy.context())
    assert lessons.false_negatives is None
    assert lessons.teaching.scores is lessons.teaching.targets is None
    assert not (toy.root / "cache").exists()


def test_the_base_suspects_by_its_own_vectors_and_encodes_them_once(toy):
    data, encoder, lessons = asked(toy.context(overrides=SUSPICIOUS))
    vectors = lessons.false_negatives.vectors
    expected = encoder.encode(list(data.query_texts), "query")
    assert vectors.queries == pytest.approx(expected, abs=1e-6)
    assert len(vectors.passages) == len(data.passages)
    again = toy.context("again", SUSPICIOUS)
    asked(again)
    assert not again.events.of("progress"), "all in the cache"


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_vectors_of_another_width_are_turned_into_the_students_space(toy, teachers, name):
    _, encoder, lessons = asked(toy.context(overrides=distilling(teachers / name, "cosine")))
    targets = lessons.teaching.targets
    assert targets.passages.shape[1] == encoder.dimension
    assert np.linalg.norm(targets.passages, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_reranker_gives_the_logits_of_a_cross_encoder(toy, teachers):
    from sentence_transformers import CrossEncoder

    data, _, lessons = asked(toy.context(overrides=distilling(teachers / "reranker", "kl")))
    row = data.rows[0]
    passages = [*row.positives, *row.negatives]
    found = lessons.teaching.scores.pairs([row.query] * len(passages), passages)
    theirs = CrossEncoder(str(teachers / "reranker"), device="cpu")
    pairs = [(data.query_texts[row.query], data.passage_texts[text]) for text in passages]
    logits = theirs.predict(pairs, activation_fn=torch.nn.Identity())
    assert found == pytest.approx(np.asarray(logits).reshape(-1), abs=1e-3)


def test_a_model_of_vectors_can_teach_scores_too(toy, teachers):
    data, _, lessons = asked(toy.context(overrides=distilling(teachers / "wide", "margin_mse")))
    row = data.rows[0]
    (score,) = lessons.teaching.scores.pairs([row.query], [row.positives[0]])
    assert -1 <= score <= 1


def test_a_folder_that_cannot_teach_is_refused_by_the_setting_that_names_it(toy, teachers):
    with pytest.raises(BadInput) as caught:
        asked(toy.context(overrides=distilling(teachers / "classes", "kl")))
    assert "finetune.distillation.teacher" in caught.value.next_step
    with pytest.raises(BadRecipe, match="nowhere"):
        asked(toy.context(overrides=distilling("nowhere", "cosine")))
    fresh = distilling(teachers / "reranker", "kl", refresh_negatives=True)
    with pytest.raises(BadRecipe, match="refresh_negatives"):
        asked(toy.context(overrides=fresh))


def test_a_teacher_is_part_of_what_a_training_is_made_from(tmp_path, teachers):
    def digests(overrides) -> dict[str, str]:
        return lesson_digests(apply(Recipe(), overrides, "test"), tmp_path / "cache")

    folder = tmp_path / "teacher"
    shutil.copytree(teachers / "reranker", folder)
    assert digests({}) == digests(SUSPICIOUS) == {}
    overrides = {**SUSPICIOUS, **distilling(folder, "kl")}
    before = digests(overrides)
    assert before.keys() == {"distillation"}
    shutil.copytree(teachers / "classes", folder, dirs_exist_ok=True)
    assert digests(overrides) != before
    assert digests(overrides | {"finetune.distillation.weight": 0.0}) == {}


EVERYTHING = {
    **SUSPICIOUS,
    "finetune.positives": "each",
    "finetune.matryoshka": True,
    "finetune.matryoshka_dimensions": [8, 16],
    "finetune.triplet.weight": 0.5,
    "finetune.epochs": 2,
}


def test_a_training_with_every_loss_goes_on_with_the_same_bits(toy, teachers, scripted):
    overrides = {**EVERYTHING, **distilling(teachers / "reranker", "kl")}
    calm = toy.context("calm", overrides)
    execute(calm)
    stopped = toy.context("stopped", overrides, control=scripted(stop_at=12, error=Cancelled))
    with pytest.raises(Cancelled):
        execute(stopped)
    again = toy.context("stopped", overrides)
    execute(again)
    told, wanted = (
        {
            event["step"]: event["loss"]
            for context in contexts
            for event in context.events.of("metric", "loss")
        }
        for contexts in ((stopped, again), (calm,))
    )
    assert len(wanted) == 12
    assert again.events.of("resumed"), "it didn't begin anew"
    assert told == wanted
    assert digest_folder(again.folder / "model") == digest_folder(calm.folder / "model")
    step = calm.events.of("metric", "loss")[0]
    parts = {name for name in step if name.startswith("loss_")}
    kinds = ("contrastive", "triplet", "distillation")
    cuts = {f"loss_{kind}_at_{width}" for kind in kinds for width in (8, 16, 32)}
    assert parts == cuts | {f"loss_{kind}" for kind in kinds}
    assert step["masked_per_query"] > 0


def test_a_training_learns_what_its_teacher_knows(toy, teachers):
    overrides = distilling(teachers / "wide", "cosine", contrastive_weight=0.0, epochs=4)
    context = toy.context(overrides=overrides)
    execute(context)
    told = [event["loss_distillation"] for event in context.events.of("metric", "loss")]
    assert sum(told[-3:]) < 0.8 * sum(told[:3])
