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
from pipeline.finetune.kernels import equip, require_kernels
from pipeline.finetune.lessons import ask_teachers
from pipeline.finetune.lora import adapt
from pipeline.finetune.objective import Objective, matryoshka_cuts
from pipeline.finetune.randomness import seed_all
from pipeline.finetune.refresh import Refresher
from pipeline.finetune.tasks import Tasks, open_tasks
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
        BadInput: fewer than two examples, no batch with negatives, or unusable inputs.
        BadRecipe: settings that contradict each other or name what isn't there.
        MissingPart: weights are not on this machine.
        StageFailure: memory is full; then it has a remedy.
    """
    settings, seed = context.recipe.finetune, context.recipe.seed
    profile = context.profile
    encoder = load_encoder(weights_folder(profile), profile, context.recipe.encoder, context.device)
    require_kernels(encoder.model, settings, context.device)
    material = _read_material(context, encoder)
    data = material.data
    schedule = schedule_for(len(data.rows), settings)
    cuts = matryoshka_cuts(settings, context.recipe.encoder, profile)
    lessons = ask_teachers(context, encoder, data)
    own, false_negatives = settings.in_batch_negatives, lessons.false_negatives
    sampler = Sampler(data, schedule, seed, own, settings.positives, false_negatives)
    objective = Objective(settings, cuts, lessons.teaching, profile.normalize)
    look_at = partial(_look_at, context, sampler, objective)
    look_at(range(schedule.total_steps))
    tasks = _open_tasks(context, encoder, schedule)
    gauges = _prepare_gauges(context, encoder)
    _prepare_model(context, encoder)
    seed_all(seed)
    engine = Engine(encoder, data, sampler, schedule, settings, objective, tasks)
    refresher = None
    if settings.refresh_negatives:
        refresher = _refresher(context, material, sampler, schedule, checkpoints, gauges, look_at)
    return Prepared(encoder, data, schedule, cuts, engine, gauges, refresher)


def _prepare_model(context: Context, encoder: Encoder) -> None:
    """Adapters, other layers and a warm-up where asked for; the base was measured before."""
    settings, seed = context.recipe.finetune, context.recipe.seed
    if settings.lora.rank:
        adapt(encoder.model, settings.lora, seed)
    equip(encoder, settings, partial(context.events.log, level="warning"))
    if settings.warmup.objective != "none":
        passages = list(read_passages(context.inputs["corpus"].folder))
        around = Surroundings(context.folder, context.events, context.control)
        warm_up(encoder, passages, settings, seed, around)


def _refresher(
    context: Context,
    material: _Material,
    sampler: Sampler,
    schedule: Schedule,
    checkpoints: Checkpoints,
    gauges: Gauges,
    look_at: Callable[[range], None],
) -> Refresher:
    return Refresher(
        examples=material.examples,
        library=material.library,
        data=material.data,
        sampler=sampler,
        steps_per_epoch=schedule.steps_per_epoch,
        used=context.recipe.finetune.hard_negatives,
        settings=context.recipe.prep,
        checkpoints=checkpoints,
        device=context.device,
        embed=partial(gauges.embed, "training"),
        report=context.report,
        say=context.events.log,
        look_at=look_at,
    )


def _look_at(context: Context, sampler: Sampler, objective: Objective, steps: range) -> None:
    """Warn of steps that will teach nothing; see `Sampler.check`."""
    warning = sampler.check(objective.teaches, steps)
    if warning:
        context.events.log(warning, level="warning")


def _open_tasks(context: Context, encoder: Encoder, schedule: Schedule) -> Tasks:
    settings = context.recipe.finetune
    return open_tasks(
        settings.tasks,
        context.run.path,
        encoder.tokenize,
        schedule.batch_size,
        settings.temperature,
        context.recipe.seed,
    )


@dataclass(frozen=True)
class _Material:
    """What is trained on: what `prep` wrote, the corpus, and both as numbers."""

    examples: Sequence[TrainingExample]
    library: Library
    data: TrainingSet


def _read_material(context: Context, encoder: Encoder) -> _Material:
    settings, library = context.recipe.finetune, _library(context)
    examples = list(read_training(context.inputs["prep"].folder))
    pool = sorted(library.pool) if settings.refresh_negatives else ()
    data = read_training_set(
        examples, library.texts, encoder.tokenize, settings.hard_negatives, pool
    )
    return _Material(examples, library, data)


def _library(context: Context) -> Library:
    """The corpus's passages, and what keeps one from being a negative by `prep.exclude`."""
    corpus = context.inputs["corpus"].folder
    passages = {passage.id: passage for passage in read_passages(corpus)}
    return Library(
        texts={key: passage.text for key, passage in passages.items()},
        pool=frozenset(key for key, passage in passages.items() if passage.role == "train"),
        sources=passage_sources(corpus, passages, context.recipe.prep.exclude),
    )


def _base_embedder(context: Context, encoder: Encoder, whose: str) -> Embed:
    """Vectors of the base, behind the cache, while the encoder still is the base."""
    digest = weights_digest(context.profile, context.cache)

    def embed(texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        report = _reporter(context, whose, kind)
        with memory_failures(context.recipe, context.device, "encoder.batch_size"):
            return encode_cached(encoder, texts, kind, digest, context.cache, report)

    return embed


def _prepare_gauges(context: Context, encoder: Encoder) -> Gauges:
    """Measure the base on everything that its successors are measured on."""
    validation = _prepare_validation(context, encoder)
    probe = _prepare_probe(context, encoder)
    return Gauges(validation, probe, partial(_embed, context, encoder))


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
    return partial(context.report, what=what)
