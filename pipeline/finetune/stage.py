"""Training file to model: the stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch

from pipeline.cache import encode_cached
from pipeline.context import Context, Outcome
from pipeline.corpus.records import read_passages
from pipeline.encoder import Encoder, load_encoder
from pipeline.files import read_json, write_json
from pipeline.finetune.batches import Sampler
from pipeline.finetune.card import Facts, model_card
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.engine import Engine
from pipeline.finetune.examples import TrainingSet, read_training_set
from pipeline.finetune.loop import Hooks, train
from pipeline.finetune.randomness import deterministic, seed_all
from pipeline.finetune.validation import Validation, Vectors, prepare, score
from pipeline.memory import memory_failures
from pipeline.prep.records import read_held_out, read_training
from pipeline.profiles import weights_folder
from pipeline.schedule import Schedule, schedule_for
from pipeline.weights import weights_digest

MODEL = "model"
"""The sentence-transformers folder."""

FEW_STEPS = 50
"""The published recipe warns below so many optimizer steps."""

_FINISHED = "finished.json"
"""What `execute` returned, so that a worker killed before `done.json` need not train again."""


def execute(context: Context) -> Outcome:
    """Fine-tune the base model, keep the best weights, write them as a model folder.

    Goes on from a checkpoint where there is one; on the CPU the result is then, bit for bit,
    that of an undisturbed training.

    Raises:
        BadInput: fewer than two examples, a batch without negatives, or unusable inputs.
        MissingPart: the base weights are not on this machine.
        StageFailure: training diverged, or memory is full; then it has a remedy.
        Interruption: cancel or SIGTERM, after a checkpoint.
    """
    checkpoints = Checkpoints(context.folder / "checkpoint")
    finished = context.folder / _FINISHED
    if not finished.is_file():
        threads = checkpoints.threads() or torch.get_num_threads()
        with (
            memory_failures(context.recipe, context.device, "finetune.micro_batch_size"),
            deterministic(threads, context.device),
        ):
            outcome = _fine_tune(context, checkpoints)
        write_json(finished, {"summary": outcome.summary, "partial": outcome.partial})
    checkpoints.remove()
    context.events.artifact(MODEL, "fine-tuned model, a sentence-transformers folder")
    return Outcome(outputs=(MODEL,), **read_json(finished))


def _fine_tune(context: Context, checkpoints: Checkpoints) -> Outcome:
    settings, seed = context.recipe.finetune, context.recipe.seed
    profile = context.profile
    encoder = load_encoder(weights_folder(profile), profile, context.recipe.encoder, context.device)
    data = _read(context, encoder)
    schedule = schedule_for(len(data.rows), settings)
    sampler = Sampler(data, schedule, seed, settings.in_batch_negatives)
    sampler.check()
    validation = _prepare_validation(context, encoder)
    seed_all(seed)
    engine = Engine(encoder, data, sampler, schedule, settings)
    before = checkpoints.restore(encoder.model, engine.optimizer)
    if before:
        context.events.resumed(step=before.step)
    elif validation:
        base = validation.base_score
        context.events.metric(step=0, ndcg_at_10=base, base_ndcg_at_10=base)
    embed = partial(_embed, context, encoder)
    validate = partial(score, validation, embed) if validation else None
    base_score = validation.base_score if validation else 0.0
    hooks = Hooks(validate, base_score, context.events, context.control)
    progress = train(engine, checkpoints, before or Progress(), hooks)
    if progress.best_step:
        checkpoints.restore_best(progress.best_step, encoder.model)
    card = _card(context, data, schedule, progress, validation)
    encoder.save(context.folder / MODEL, card)
    summary = _summary(context, data, schedule, progress, validation)
    for warning in summary["warnings"]:
        context.events.log(warning, level="warning")
    return Outcome((MODEL,), summary, partial=progress.step < schedule.total_steps)


def _read(context: Context, encoder: Encoder) -> TrainingSet:
    passages = {p.id: p.text for p in read_passages(context.inputs["corpus"].folder)}
    examples = list(read_training(context.inputs["prep"].folder))
    used = context.recipe.finetune.hard_negatives
    return read_training_set(examples, passages, encoder.tokenize, used)


def _prepare_validation(context: Context, encoder: Encoder) -> Validation | None:
    """Measure the base while the encoder still is the base; None without dev queries."""
    dev = read_held_out(context.inputs["prep"].folder, "dev")
    if dev is None:
        return None
    digest = weights_digest(context.profile, context.cache)

    def embed_base(texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        report = _reporter(context, kind)
        with memory_failures(context.recipe, context.device, "encoder.batch_size"):
            return encode_cached(encoder, texts, kind, digest, context.cache, report)

    return prepare(dev, embed_base)


def _embed(
    context: Context, encoder: Encoder, texts: Sequence[str], kind: Literal["query", "passage"]
) -> Vectors:
    with memory_failures(context.recipe, context.device, "encoder.batch_size"):
        return encoder.encode(texts, kind, _reporter(context, kind))


def _reporter(context: Context, kind: str) -> Callable[[int, int], None]:
    what = "dev queries encoded" if kind == "query" else "dev passages encoded"

    def report(done: int, total: int) -> None:
        context.events.progress(done, total, what)
        context.control.poll()

    return report


def _card(
    context: Context,
    data: TrainingSet,
    schedule: Schedule,
    progress: Progress,
    validation: Validation | None,
) -> str:
    facts = Facts(
        examples=len(data.rows),
        passages=len(data.passages),
        steps=progress.best_step or progress.step,
        batch_size=schedule.batch_size,
        dev_queries=len(validation.dev.queries) if validation else 0,
        base_score=validation.base_score if validation else None,
        score=progress.best_score if validation else None,
        pooled=bool(validation and validation.pooled),
    )
    return model_card(context.profile, context.recipe.encoder, context.recipe.finetune, facts)


def _summary(
    context: Context,
    data: TrainingSet,
    schedule: Schedule,
    progress: Progress,
    validation: Validation | None,
) -> dict[str, Any]:
    return {
        "rehearsal": context.profile.rehearsal,
        "examples": len(data.rows),
        "epochs": context.recipe.finetune.epochs,
        "batch_size": schedule.batch_size,
        "steps": progress.step,
        "steps_planned": schedule.total_steps,
        "warmup_steps": schedule.warmup_steps,
        "schedule": context.recipe.finetune.schedule,
        "best_step": progress.best_step or progress.step,
        "dev_queries": len(validation.dev.queries) if validation else 0,
        "dev_passages": len(validation.dev.passages) if validation else 0,
        "dev_pooled": bool(validation and validation.pooled),
        "dev_ndcg_at_10_base": validation.base_score if validation else None,
        "dev_ndcg_at_10": progress.best_score if validation else None,
        "final_loss": progress.loss,
        "seconds": round(progress.seconds, 3),
        "samples_per_second": round(progress.samples / progress.seconds, 3),
        "warnings": _warnings(schedule, progress, validation),
    }


def _warnings(schedule: Schedule, progress: Progress, validation: Validation | None) -> list[str]:
    said: list[str] = []
    if progress.step < schedule.total_steps:
        said.append(f"Ended early, after {progress.step} of {schedule.total_steps} steps.")
    elif schedule.total_steps < FEW_STEPS:
        said.append(f"Only {schedule.total_steps} steps: below {FEW_STEPS} expect little.")
    if validation is None:
        said.append("There are no dev questions: the last weights were kept, not the best.")
    elif progress.best_score <= validation.base_score:
        said.append(
            f"No trained weights beat the base on the dev questions (nDCG@10 "
            f"{progress.best_score:.4f} against {validation.base_score:.4f}); the best trained "
            "ones were kept."
        )
    return said
