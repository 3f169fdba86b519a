"""What a training needs: its texts, its teachers, the model, and what it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pipeline.cache import encode_cached
from pipeline.context import Context
from pipeline.corpus.records import read_passages
from pipeline.encoder import Encoder, load_encoder
from pipeline.finetune.batches import Sampler
from pipeline.finetune.checkpoint import Checkpoints
from pipeline.finetune.ending import Gauges
from pipeline.finetune.engine import Engine
from pipeline.finetune.examples import TrainingSet, read_training_set
from pipeline.finetune.forgetting import Probe, is_foreign, probe_task
from pipeline.finetune.lessons import ask_teachers
from pipeline.finetune.lora import adapt
from pipeline.finetune.objective import Objective, matryoshka_cuts
from pipeline.finetune.randomness import seed_all
from pipeline.finetune.refresh import Refresher
from pipeline.finetune.tasks import open_tasks
from pipeline.finetune.validation import Embed, Validation, Vectors, measure, prepare
from pipeline.finetune.warmup import Surroundings, warm_up
from pipeline.memory import memory_failures
from pipeline.mining.training import Library
from pipeline.prep.records import TrainingExample, passage_sources, read_held_out, read_training
from pipeline.profiles import weights_folder
from pipeline.schedule import Schedule, schedule_for
from pipeline.weights import weights_digest


@dataclass(frozen=True)
class Prepared:
    """A training before its first step.

    Attributes:
        encoder: the model, which still is the base unless it was warmed up.
        data: the training set.
        schedule: the training's lengths.
        cuts: widths at which vectors are trained; none for whole vectors only.
        engine: does the steps.
        gauges: what weights are measured on; the base was measured.
        refresher: mines between epochs; None where that isn't asked for.
    """

    encoder: Encoder
    data: TrainingSet
    schedule: Schedule
    cuts: tuple[int, ...]
    engine: Engine
    gauges: Gauges
    refresher: Refresher | None


def prepare_training(context: Context, checkpoints: Checkpoints) -> Prepared:
    """Load the base, measure it, and make everything that steps depend on.

    Raises:
        BadInput: fewer than two examples, a batch without negatives, or unusable inputs.
        BadRecipe: settings that contradict each other or name what isn't there.
        MissingPart: weights are not on this machine.
        StageFailure: memory is full; then it has a remedy.
    """
    settings, seed = context.recipe.finetune, context.recipe.seed
    profile = context.profile
    encoder = load_encoder(weights_folder(profile), profile, context.recipe.encoder, context.device)
    library = _library(context)
    examples = list(read_training(context.inputs["prep"].folder))
    data = _training_set(context, examples, library, encoder)
    schedule = schedule_for(len(data.rows), settings)
    cuts = matryoshka_cuts(settings, context.recipe.encoder, profile)
    lessons = ask_teachers(context, encoder, data)
    own, false_negatives = settings.in_batch_negatives, lessons.false_negatives
    sampler = Sampler(data, schedule, seed, own, settings.positives, false_negatives)
    sampler.check()
    validation = _prepare_validation(context, encoder)
    probe = _prepare_probe(context, encoder)
    _prepare_model(context, encoder)
    seed_all(seed)
    objective = Objective(settings, cuts, lessons.teaching, profile.normalize)
    tasks = open_tasks(
        settings.tasks,
        context.run.path,
        encoder.tokenize,
        schedule.batch_size,
        settings.temperature,
        seed,
    )
    engine = Engine(encoder, data, sampler, schedule, settings, objective, tasks)
    gauges = Gauges(validation, probe, partial(_embed, context, encoder))
    refresher = _refresher(context, examples, library, data, sampler, checkpoints, gauges)
    return Prepared(encoder, data, schedule, cuts, engine, gauges, refresher)


def _prepare_model(context: Context, encoder: Encoder) -> None:
    """Adapters and a warm-up where they are asked for; the base was measured before."""
    settings, seed = context.recipe.finetune, context.recipe.seed
    if settings.lora.rank:
        adapt(encoder.model, settings.lora, seed)
    if settings.warmup.objective != "none":
        passages = list(read_passages(context.inputs["corpus"].folder))
        around = Surroundings(context.folder, context.events, context.control)
        warm_up(encoder, passages, settings, seed, around)


def _refresher(
    context: Context,
    examples: Sequence[TrainingExample],
    library: Library,
    data: TrainingSet,
    sampler: Sampler,
    checkpoints: Checkpoints,
    gauges: Gauges,
) -> Refresher | None:
    """What mines between epochs, where it is asked for."""
    settings = context.recipe.finetune
    if not settings.refresh_negatives:
        return None

    def report(done: int, total: int, what: str) -> None:
        context.events.progress(done, total, what)
        context.control.poll()

    steps = schedule_for(len(data.rows), settings).steps_per_epoch
    embed = partial(gauges.embed, "training")
    return Refresher(
        examples,
        library,
        data,
        sampler,
        steps,
        settings.hard_negatives,
        context.recipe.prep,
        checkpoints,
        context.device,
        embed,
        report,
        context.events.log,
    )


def _library(context: Context) -> Library:
    """The corpus's passages, and what keeps one from being a negative by `prep.exclude`."""
    corpus = context.inputs["corpus"].folder
    passages = {passage.id: passage for passage in read_passages(corpus)}
    return Library(
        texts={key: passage.text for key, passage in passages.items()},
        pool=frozenset(key for key, passage in passages.items() if passage.role == "train"),
        sources=passage_sources(corpus, passages, context.recipe.prep.exclude),
    )


def _training_set(
    context: Context, examples: Sequence[TrainingExample], library: Library, encoder: Encoder
) -> TrainingSet:
    settings = context.recipe.finetune
    pool = sorted(library.pool) if settings.refresh_negatives else ()
    return read_training_set(
        examples, library.texts, encoder.tokenize, settings.hard_negatives, pool
    )


def _base_embedder(context: Context, encoder: Encoder, whose: str) -> Embed:
    """Vectors of the base, behind the cache, while the encoder still is the base."""
    digest = weights_digest(context.profile, context.cache)

    def embed(texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        report = _reporter(context, whose, kind)
        with memory_failures(context.recipe, context.device, "encoder.batch_size"):
            return encode_cached(encoder, texts, kind, digest, context.cache, report)

    return embed


def _prepare_validation(context: Context, encoder: Encoder) -> Validation | None:
    """Measure the base; None without dev queries."""
    dev = read_held_out(context.inputs["prep"].folder, "dev")
    return None if dev is None else prepare(dev, _base_embedder(context, encoder, "dev"))


def _prepare_probe(context: Context, encoder: Encoder) -> Probe | None:
    """Measure the base on the probe that the recipe asks for, if any."""
    found = probe_task(context.recipe, context.run.path)
    if found is None:
        return None
    name, task = found
    base = measure(task, _base_embedder(context, encoder, "probe"))
    return Probe(name, task, is_foreign(context.recipe), base)


def _embed(
    context: Context,
    encoder: Encoder,
    whose: str,
    texts: Sequence[str],
    kind: Literal["query", "passage"],
) -> Vectors:
    with memory_failures(context.recipe, context.device, "encoder.batch_size"):
        return encoder.encode(texts, kind, _reporter(context, whose, kind))


def _reporter(context: Context, whose: str, kind: str) -> Callable[[int, int], None]:
    what = f"{whose} {'queries' if kind == 'query' else 'passages'} encoded"

    def report(done: int, total: int) -> None:
        context.events.progress(done, total, what)
        context.control.poll()

    return report
