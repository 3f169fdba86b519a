"""Training file to model: the stage."""

from __future__ import annotations

from functools import partial

import torch

from pipeline.context import Context, Outcome
from pipeline.encoder_files import require_replaceable
from pipeline.files import read_json, write_json
from pipeline.finetune.accelerator import accelerator_failures
from pipeline.finetune.card import model_card
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.ending import Ending, bring_to_end
from pipeline.finetune.engine import Fitted
from pipeline.finetune.loop import Hooks, train
from pipeline.finetune.lora import merge
from pipeline.finetune.preparation import Prepared, prepare_training
from pipeline.finetune.randomness import deterministic
from pipeline.finetune.summary import Account, facts_of, summarise
from pipeline.finetune.warmup import forget_warm_up, warm_up_threads, warmed_up
from pipeline.memory import memory_failures
from pipeline.schedule import suggestion

MODEL = "model"
"""The sentence-transformers folder."""

_FINISHED = "finished.json"
"""What `execute` returned, so that a worker killed before `done.json` need not train again."""


def execute(context: Context) -> Outcome:
    """Fine-tune the base model, keep the best weights, write them as a model folder.

    Goes on from a checkpoint where there is one; on the CPU the result is then, bit for bit,
    that of an undisturbed training.

    Raises:
        BadInput: fewer than two examples, no batch with negatives, or unusable inputs.
        MissingPart: the base weights are not on this machine.
        StageFailure: training diverged, or memory is full; then it has a remedy.
        Interruption: cancel or SIGTERM, after a checkpoint.
    """
    checkpoints = Checkpoints(
        context.folder / "checkpoint", partial(context.events.log, level="warning")
    )
    finished = context.folder / _FINISHED
    if not finished.is_file():
        threads = (
            checkpoints.threads()
            or warm_up_threads(context.folder, context.events)
            or torch.get_num_threads()
        )
        with (
            memory_failures(context.recipe, context.device, "finetune.micro_batch_size"),
            deterministic(threads, context.device),
            accelerator_failures(checkpoints, "training"),
        ):
            outcome = _fine_tune(context, checkpoints)
        write_json(finished, {"summary": outcome.summary, "partial": outcome.partial})
    checkpoints.remove()
    forget_warm_up(context.folder)
    context.events.artifact(MODEL, "fine-tuned model, a sentence-transformers folder")
    return Outcome(outputs=(MODEL,), **read_json(finished))


def _fine_tune(context: Context, checkpoints: Checkpoints) -> Outcome:
    require_replaceable(context.folder / MODEL)
    prepared = prepare_training(context, checkpoints)
    _suggest(context, prepared)
    progress = _train(context, checkpoints, prepared)
    merge(prepared.encoder.model)
    ending = bring_to_end(context, checkpoints, prepared.encoder, progress, prepared.gauges)
    account = _account(context, prepared, progress, ending)
    prepared.encoder.save(
        context.folder / MODEL,
        model_card(
            context.profile, context.recipe.encoder, context.recipe.finetune, facts_of(account)
        ),
    )
    summary = summarise(account)
    for warning in summary["warnings"]:
        context.events.log(warning, level="warning")
    return Outcome((MODEL,), summary, partial=account.partial)


def _train(context: Context, checkpoints: Checkpoints, prepared: Prepared) -> Progress:
    """Train to the end, from a checkpoint where there is one; the best weights are in the model."""
    engine, gauges, refresher = prepared.engine, prepared.gauges, prepared.refresher
    model, settings = engine.encoder.model, context.recipe.finetune
    validation = gauges.validation
    before = checkpoints.restore(model, engine.optimizer)
    if before:
        context.events.resumed(step=before.step)
        engine.restore(Fitted(before.pass_tokens, before.kept_tokens, before.lanes, before.bf16))
    elif validation:
        base = validation.base_score
        context.events.metric(step=0, ndcg_at_10=base, base_ndcg_at_10=base)
    hooks = Hooks(
        validate=gauges.dev_scores if validation else None,
        base_score=validation.base_score if validation else 0.0,
        events=context.events,
        control=context.control,
        patience=settings.patience,
        before_step=refresher.before_step if refresher else None,
    )
    progress = train(engine, checkpoints, before or Progress(), hooks)
    if gauges.probe or (settings.interpolate and validation):
        # What follows takes a while: stopped in it, nothing is trained again.
        checkpoints.save(progress, model, engine.optimizer)
        checkpoints.wait()
    if progress.best_step:
        checkpoints.restore_best(progress.best_step, model)
    return progress


def _account(context: Context, prepared: Prepared, progress: Progress, ending: Ending) -> Account:
    return Account(
        rehearsal=context.profile.rehearsal,
        settings=context.recipe.finetune,
        schedule=prepared.schedule,
        progress=progress,
        examples=len(prepared.data.rows),
        passages=len(prepared.data.passages),
        cuts=prepared.cuts,
        validation=prepared.gauges.validation,
        ending=ending,
        notes=_notes(context, prepared),
        warmed_up=warmed_up(context.folder),
    )


def _suggest(context: Context, prepared: Prepared) -> None:
    """Say what the published guidance would set otherwise; a rehearsal is short on purpose."""
    examples, validation = len(prepared.data.rows), prepared.gauges.validation
    dev_queries = len(validation.dev.queries) if validation else 0
    suggested = suggestion(examples, dev_queries, context.recipe.finetune)
    if suggested.settings and not context.profile.rehearsal:
        context.events.log(f"{suggested.reason}. To take it: {suggested.arguments}")


def _notes(context: Context, prepared: Prepared) -> list[str]:
    """What was asked for or hoped for, and could not be done."""
    settings, gauges, said = context.recipe.finetune, prepared.gauges, list[str]()
    if prepared.engine.pads:
        said.append(
            "Texts were padded, which computes more than is needed: this model can't be run on "
            "packed ones here, or on a GPU not with dropout in its attention."
        )
    limits = context.recipe.encoder
    for name in ("query_tokens", "passage_tokens"):
        if (asked := getattr(limits, name)) > context.profile.tokens_max:
            said.append(
                f"encoder.{name} = {asked}, but {context.profile.title} reads "
                f"{context.profile.tokens_max} tokens: what is longer is cut there."
            )
    if settings.refresh_negatives and settings.epochs == 1:
        said.append(
            "finetune.refresh_negatives mines before every epoch but the first, and "
            "finetune.epochs = 1: nothing was mined anew."
        )
    if settings.interpolate and gauges.validation is None:
        said.append(
            "finetune.interpolate chooses by dev questions, and there are none: the tuned weights "
            "were kept as they are."
        )
    if gauges.probe is None and (settings.probe or settings.interpolate):
        said.append(
            "There is no probe: the sources of Python's standard library are not on this machine. "
            "Give a BEIR folder as finetune.probe."
        )
    return said
