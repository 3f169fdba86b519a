"""The systems that `quality.py` compares: each learns from a split and is asked what is held out.

Ours runs the pipeline's own stages; the peer is called as its documentation does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from labelled import LabelledSet, Split, split
from measure import Stopwatch
from ours import stage_context
from tasks import Task, recipe_of

from pipeline.beir import Metrics, Ranking
from pipeline.cache import encode_cached
from pipeline.context import Context
from pipeline.corpus.records import PASSAGES, Passage
from pipeline.encoder import Kind, load_encoder
from pipeline.files import write_jsonl
from pipeline.finetune.stage import MODEL
from pipeline.finetune.stage import execute as finetune
from pipeline.metrics import evaluate
from pipeline.prep.stage import execute as prep
from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile, weights_folder
from pipeline.rankings import Vectors, rank_bm25, rank_vectors
from pipeline.sdg.records import SAMPLES, Sample
from pipeline.weights import weights_digest

METRICS = ("ndcg@10", "recall@10")
_DEPTH = 10


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        metrics: of each held-out question.
        examples: rows that were trained on, an epoch.
        wall: seconds of mining and training.
        cpu: the same, of all threads.
        settings: everything that the system was told.
    """

    metrics: Mapping[str, Metrics]
    examples: int
    wall: float
    cpu: float
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class _Trained:
    model: Path
    examples: int
    settings: Mapping[str, Any]


def measure(labelled: LabelledSet, task: Task, folder: Path, cache: Path) -> Measured:
    """Learn and answer.

    Args:
        labelled: the set.
        task: which system, and how.
        folder: for its files; a training of ours that was killed goes on from them.
        cache: the base model's embeddings.
    """
    torch.set_num_threads(task.threads)
    parts = split(labelled, task.seed, task.questions, dev=task.chooses)
    watch = Stopwatch()
    if task.system in ("base", "bm25"):
        trained = _Trained(weights_folder(find_profile(REHEARSAL_PROFILE)), 0, {})
    elif task.system.startswith("sentence-transformers"):
        trained = _train_peer(labelled, parts, task, folder)
    else:
        trained = _train_ours(labelled, parts, task, folder, cache)
    cost = watch.lap()
    if task.system == "bm25":
        rankings = _lexical(labelled, parts)
    else:
        rankings = _dense(labelled, parts, trained.model, cache if task.system == "base" else None)
    qrels = {question: labelled.qrels[question] for question in parts.positives["test"]}
    found = evaluate(qrels, rankings, (_DEPTH,))
    metrics = {key: {name: row[name] for name in METRICS} for key, row in found.items()}
    return Measured(metrics, trained.examples, cost.wall, cost.cpu, trained.settings)


def _train_ours(
    labelled: LabelledSet, parts: Split, task: Task, folder: Path, cache: Path
) -> _Trained:
    """The stages `prep` and `finetune`, on what the ones before them would have left."""
    recipe = recipe_of(task)
    write_jsonl(folder / "corpus" / PASSAGES, map(asdict, _passages(labelled, parts)))
    samples = [
        Sample(key, labelled.questions[key], "", positives, (), role, None)
        for role in ("train", "dev")
        for key, positives in parts.positives[role].items()
    ]
    write_jsonl(folder / "sdg" / SAMPLES, map(asdict, samples))
    stages: tuple[tuple[str, Callable[[Context], Any], tuple[str, ...]], ...] = (
        ("prep", prep, ("corpus", "sdg")),
        ("finetune", finetune, ("corpus", "prep")),
    )
    for stage, execute, needs in stages:
        outcome = execute(stage_context(folder, stage, needs, recipe, cache))
    told = {"prep": asdict(recipe.prep), "finetune": asdict(recipe.finetune), **task.overrides}
    return _Trained(folder / "finetune" / MODEL, int(outcome.summary["examples"]), told)


def _passages(labelled: LabelledSet, parts: Split) -> list[Passage]:
    return [
        Passage(
            id=key,
            document=labelled.documents[key],
            start=0,
            end=len(text),
            text=text,
            headings=(),
            tokens=0,
            role=parts.roles[labelled.documents[key]],
        )
        for key, text in labelled.passages.items()
    ]


def _train_peer(labelled: LabelledSet, parts: Split, task: Task, folder: Path) -> _Trained:
    """`mine_hard_negatives`, then the trainer and MultipleNegativesRankingLoss, by default."""
    # Here, so that ours doesn't load it too.
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import mine_hard_negatives

    base = weights_folder(find_profile(REHEARSAL_PROFILE))
    model = SentenceTransformer(str(base), device="cpu", local_files_only=True)
    training = parts.positives["train"]
    pairs = [
        {"anchor": labelled.questions[key], "positive": labelled.passages[passage]}
        for key, positives in training.items()
        for passage in positives
    ]
    pool = [
        text
        for key, text in labelled.passages.items()
        if parts.roles[labelled.documents[key]] == "train"
    ]
    mined = mine_hard_negatives(Dataset.from_list(pairs), model, corpus=pool, verbose=False)
    if task.system.endswith("-one"):
        mined = mined.select(_one_positive([*mined["anchor"]], [*mined["positive"]], task.seed))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=task.epochs,
        seed=task.seed,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss = MultipleNegativesRankingLoss(model)
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=mined, loss=loss).train()
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    told = {
        "learning_rate": arguments.learning_rate,
        "batch_size": arguments.per_device_train_batch_size,
        "schedule": str(arguments.lr_scheduler_type),
        "scale": loss.scale,
        "pairs": len(pairs),
    }
    return _Trained(folder / "model", len(mined), told)


def _one_positive(anchors: list[str], positives: list[str], seed: int) -> list[int]:
    """The rows of one positive of each question, drawn."""
    draw = random.Random(seed)
    found: dict[str, list[str]] = {}
    for anchor, positive in zip(anchors, positives, strict=True):
        found.setdefault(anchor, []).append(positive)
    chosen = {anchor: draw.choice(sorted(set(texts))) for anchor, texts in sorted(found.items())}
    rows = enumerate(zip(anchors, positives, strict=True))
    return [row for row, (anchor, positive) in rows if chosen[anchor] == positive]


def _dense(
    labelled: LabelledSet, parts: Split, model: Path, cache: Path | None
) -> dict[str, Ranking]:
    """Rankings of all passages by one encoder, whoever trained it."""
    profile = find_profile(REHEARSAL_PROFILE)
    encoder = load_encoder(model, profile, base_recipe(profile).encoder, "cpu")

    def encode(texts: list[str], kind: Kind) -> Vectors:
        if cache is None:
            return encoder.encode(texts, kind)
        return encode_cached(encoder, texts, kind, weights_digest(profile, cache), cache)

    asked = list(parts.positives["test"])
    queries = encode([labelled.questions[key] for key in asked], "query")
    passages = encode(list(labelled.passages.values()), "passage")
    ranked = rank_vectors(queries, np.asarray(passages), list(labelled.passages), _DEPTH)
    return dict(zip(asked, ranked, strict=True))


def _lexical(labelled: LabelledSet, parts: Split) -> dict[str, Ranking]:
    asked = list(parts.positives["test"])
    texts, ids = list(labelled.passages.values()), list(labelled.passages)
    ranked = rank_bm25((labelled.questions[key] for key in asked), texts, ids, _DEPTH)
    return dict(zip(asked, ranked, strict=True))
