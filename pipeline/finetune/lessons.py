"""What the teachers of a training say, asked before it begins and kept in the machine's cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.cache import encode_cached
from pipeline.context import Context
from pipeline.encoder import Encoder, Kind, load_encoder
from pipeline.errors import BadInput, BadRecipe
from pipeline.files import read_json
from pipeline.finetune.examples import TrainingSet
from pipeline.finetune.objective import OF_VECTORS, Teaching
from pipeline.finetune.teacher import (
    FalseNegatives,
    PairScores,
    PairTeacher,
    TeacherVectors,
    turned,
)
from pipeline.memory import memory_failures
from pipeline.mining.reranker import load_reranker, score_cached
from pipeline.profiles import find_profile, weights_folder
from pipeline.settings import BASE_TEACHER
from pipeline.weights import folder_digest, weights_digest

_RERANKER = "ForSequenceClassification"
_LEAST_CHANCE = 2.0**-24
"""Half a step of float32 below 1: nearer to 0 or 1 a probability has no logit."""


@dataclass(frozen=True)
class Lessons:
    """What teachers say, where the recipe names any.

    Attributes:
        false_negatives: which passages may be unmarked answers; None: nobody was asked.
        teaching: what distillation comes near to.
    """

    false_negatives: FalseNegatives | None
    teaching: Teaching


def ask_teachers(context: Context, encoder: Encoder, data: TrainingSet) -> Lessons:
    """Ask those that the recipe names; where it names none, nothing is loaded.

    Args:
        context: recipe, device, cache, events and control.
        encoder: the base model, not yet changed by training.
        data: the texts and pairs that are asked about.

    Raises:
        BadRecipe: there is no such profile or folder, or a reranker would have to score pairs
            that are not known yet.
        BadInput: a teacher's folder is damaged, or no cross-encoder of one output.
        MissingPart: a teacher's weights are not on this machine.
        StageFailure: a teacher gives numbers that are not finite, or memory is full.
    """
    settings = context.recipe.finetune
    suspicion, distillation = settings.false_negatives, settings.distillation
    false_negatives = None
    if suspicion.teacher:
        vectors = _vectors(context, encoder, data, suspicion.teacher)
        false_negatives = FalseNegatives(vectors, suspicion.margin)
    teaching = Teaching()
    if distillation.weight and distillation.loss in OF_VECTORS:
        teaching = Teaching(targets=_targets(context, encoder, data))
    elif distillation.weight:
        teaching = Teaching(scores=_scores(context, encoder, data))
    return Lessons(false_negatives, teaching)


def is_reranker(folder: Path) -> bool:
    """Whether a folder holds a cross-encoder rather than a model of vectors."""
    config = folder / "config.json"
    names = read_json(config).get("architectures") or () if config.is_file() else ()
    return any(str(name).endswith(_RERANKER) for name in names)


def _vectors(context: Context, encoder: Encoder, data: TrainingSet, name: str) -> TeacherVectors:
    """The unique texts in the space of the model named."""
    profile = context.profile if name == BASE_TEACHER else find_profile(name)
    if profile != context.profile:
        # Its own width: `encoder.dimension` is how the base model is cut.
        settings = replace(context.recipe.encoder, dimension=0)
        encoder = load_encoder(weights_folder(profile), profile, settings, context.device)
    digest = weights_digest(profile, context.cache)
    vectors = {}
    texts: dict[Kind, tuple[str, ...]] = {"query": data.query_texts, "passage": data.passage_texts}
    for kind, given in texts.items():
        report = partial(context.report, what=f"training {kind} texts encoded by the teacher")
        with memory_failures(context.recipe, context.device, "encoder.batch_size"):
            vectors[kind] = encode_cached(encoder, given, kind, digest, context.cache, report)
    return TeacherVectors(vectors["query"], vectors["passage"])


def _targets(context: Context, encoder: Encoder, data: TrainingSet) -> TeacherVectors:
    """The teacher's vectors, turned into the student's space where their widths differ."""
    taught = _vectors(context, encoder, data, context.recipe.finetune.distillation.teacher)
    if taught.queries.shape[1] == encoder.dimension:
        return taught
    own = _vectors(context, encoder, data, BASE_TEACHER)
    both = turned(
        np.concatenate([taught.queries, taught.passages]),
        np.concatenate([own.queries, own.passages]),
    )
    return TeacherVectors(*np.split(both, [len(taught.queries)]))


def _scores(context: Context, encoder: Encoder, data: TrainingSet) -> PairTeacher:
    settings = context.recipe.finetune
    folder = Path(settings.distillation.teacher).expanduser()
    if not is_reranker(folder):
        return _vectors(context, encoder, data, settings.distillation.teacher)
    if settings.refresh_negatives:
        raise BadRecipe(
            "finetune.refresh_negatives finds other pairs in every epoch, and the reranker "
            f"{folder} has scored those of the first only.",
            safe="Nothing was changed.",
            next_step="Set finetune.refresh_negatives to false, or name a model of vectors as "
            "finetune.distillation.teacher.",
        )
    return _reranked(context, folder, data)


def _reranked(context: Context, folder: Path, data: TrainingSet) -> PairScores:
    """The logits of every query with its own positives and negatives."""
    pairs = sorted({(r.query, text) for r in data.rows for text in (*r.positives, *r.negatives)})
    texts = [(data.query_texts[query], data.passage_texts[passage]) for query, passage in pairs]
    try:
        reranker = load_reranker(folder, context.device, context.recipe.encoder.batch_size)
    except BadInput as error:
        raise BadInput(
            error.happened,
            safe=error.safe,
            next_step="Set finetune.distillation.teacher to a folder that "
            "CrossEncoder.save_pretrained wrote, with one output.",
        ) from error
    digest = folder_digest(folder, context.cache)
    report = partial(context.report, what="training pairs scored by the teacher")
    with memory_failures(context.recipe, context.device, "encoder.batch_size"):
        scores = score_cached(reranker, texts, digest, context.cache, report)
    chances = np.clip(np.array(scores, dtype=np.float64), _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    logits = np.log(chances) - np.log1p(-chances)
    return PairScores(dict(zip(pairs, logits.tolist(), strict=True)))
