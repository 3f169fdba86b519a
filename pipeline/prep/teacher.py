"""What scores training questions and passages: the base model or a teacher, and a reranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.cache import encode_cached
from pipeline.context import Context
from pipeline.corpus.records import Passage
from pipeline.encoder import Kind, load_encoder
from pipeline.errors import BadRecipe
from pipeline.memory import memory_failures
from pipeline.mining.mine import Rescore
from pipeline.mining.reranker import load_reranker, score_cached
from pipeline.mining.scores import Vectors
from pipeline.mining.training import Asked, Encode, Library, Material, encode_material
from pipeline.prep.records import passage_sources
from pipeline.profiles import Profile, find_profile, known_profiles, weights_folder
from pipeline.sdg.records import Sample
from pipeline.weights import folder_digest, weights_digest


def find_teacher(context: Context) -> Profile:
    """The profile whose vectors decide what is a negative: the base model's unless another is set.

    Raises:
        BadRecipe: there is no such profile, or it is for GPUs alone and this run is on a CPU.
        BadInput: its folder is no sentence-transformers model.
    """
    name = context.recipe.prep.teacher
    if not name:
        return context.profile
    teacher = find_profile(name)
    # A folder may hold a model of any size; a known profile says what it needs.
    if teacher.gated and teacher.id in known_profiles() and context.device == "cpu":
        raise BadRecipe(
            f"prep.teacher is {teacher.id}, which needs a GPU, and this run has none.",
            safe="Nothing was changed.",
            next_step="Set prep.teacher to a sentence-transformers folder, or to nothing.",
        )
    return teacher


def material_of(
    context: Context,
    teacher: Profile,
    samples: Sequence[Sample],
    passages: Mapping[str, Passage],
) -> Material:
    """The training samples and the passages of training documents, encoded.

    Raises:
        MissingPart: the teacher's weights are not on this machine.
        StageFailure: it gives numbers that are not finite, or memory is full.
    """
    named = {key for sample in samples for key in sample.passages}
    pool = frozenset(key for key, passage in passages.items() if passage.role == "train")
    library = Library(
        texts={key: passages[key].text for key in pool | named},
        pool=pool,
        sources=passage_sources(
            context.inputs["corpus"].folder, passages, context.recipe.prep.exclude
        ),
    )
    asked = [Asked(sample.id, sample.question, sample.passages) for sample in samples]
    return encode_material(asked, library, _encoding(context, teacher))


def reranker_of(context: Context) -> Rescore | None:
    """What scores pairs anew, if the recipe names a reranker.

    Raises:
        BadInput: its folder holds no cross-encoder of one output.
    """
    if not context.recipe.prep.reranker:
        return None
    folder = Path(context.recipe.prep.reranker).expanduser()
    size = context.recipe.encoder.batch_size
    reranker = load_reranker(folder, context.device, size)
    digest = folder_digest(folder, context.cache)

    def rescore(pairs: Sequence[tuple[str, str]]) -> list[float]:
        report = partial(context.report, what="pairs scored")
        with memory_failures(context.recipe, context.device, "encoder.batch_size"):
            return score_cached(reranker, pairs, digest, context.cache, report)

    return rescore


def _encoding(context: Context, teacher: Profile) -> Encode:
    """The teacher behind the cache."""
    settings = context.recipe.encoder
    if teacher != context.profile:
        # Its own width: `encoder.dimension` is how the base model is cut.
        settings = replace(settings, dimension=0)
    encoder = load_encoder(weights_folder(teacher), teacher, settings, context.device)
    digest = weights_digest(teacher, context.cache)

    def encode(texts: Sequence[str], kind: Kind) -> Vectors:
        what = "queries encoded" if kind == "query" else "passages encoded"
        report = partial(context.report, what=what)
        with memory_failures(context.recipe, context.device, "encoder.batch_size"):
            return encode_cached(encoder, texts, kind, digest, context.cache, report)

    return encode
