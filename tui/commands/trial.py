"""`trial`: the questions for a few documents, beside those of the trial before."""

from __future__ import annotations

import functools
import os
from argparse import Namespace

from pipeline.corpus.records import read_documents, read_passages
from pipeline.errors import BadInput
from pipeline.launch import LocalLauncher
from pipeline.profiles import find_profile
from pipeline.recipe import Recipe
from pipeline.run import Result, Run, cache_home, change_recipe, changed_recipe, find_run, home
from pipeline.sdg.estimate import Estimate
from pipeline.sdg.records import Sample
from pipeline.sdg.trial import TRIAL_DOCUMENTS, Trial, choose, list_trials, trial_leaving
from pipeline.status import Status, adopt, trial_status
from tui.commands.consent import agree, corpus_of, estimate_of
from tui.commands.finding import overrides_of
from tui.commands.machine import require_machine
from tui.follow import run_stage
from tui.output import Output

EXIT_INTERRUPTED = 130


def trial_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith trial RUN`: write questions about a few documents and show them."""
    run, variant = find_run(home(), arguments.run), arguments.variant
    overrides = overrides_of(arguments)
    recipe = changed_recipe(run, overrides, "--set", variant)
    count = arguments.trial_documents or TRIAL_DOCUMENTS
    options = {"documents": str(count)}
    if arguments.dry_run:
        status = trial_status(run, variant, cache_home(), options, recipe)
        output.say(f"trial: {status.state}: {status.reason}")
        output.record("plan", {"stage": "trial", "state": status.state, "reason": status.reason})
        return 0
    require_machine(find_profile(recipe.profile))
    change_recipe(run, overrides, "--set", variant)
    status = _ready(run, variant, options)
    if status.state == "done":
        adopt(run, variant, status)
    else:
        if status.state != "running":
            corpus = corpus_of(run, variant)
            assert corpus is not None, "a trial is ready when there is a corpus"
            leaving = trial_leaving(corpus.folder, recipe.sdg, recipe.seed, count)
            estimated = functools.partial(_estimate, corpus, recipe, count)
            agree(run, leaving, corpus, estimated, arguments, output)
        last = run_stage(run, variant, status, options, LocalLauncher(os.environ), output)
        if last and last.type != "finished":
            output.say(f"trial: {last.type}. The same command goes on from here.")
            return EXIT_INTERRUPTED
    assert status.identity is not None, "a trial that is ready has an identity"
    show_trial(list_trials(run), status.identity.fingerprint, output)
    return 0


def _estimate(corpus: Result, recipe: Recipe, count: int) -> Estimate:
    """What a trial would take."""
    documents, passages = read_documents(corpus.folder), read_passages(corpus.folder)
    chosen = choose(documents, passages, recipe.seed, count)
    return estimate_of(
        corpus, recipe.sdg, [one for one, _ in chosen], [one for _, cut in chosen for one in cut]
    )


def _ready(run: Run, variant: str, options: dict[str, str]) -> Status:
    """The trial's status.

    Raises:
        BadInput: the corpus comes first.
    """
    status = trial_status(run, variant, cache_home(), options)
    if status.identity is None:
        raise BadInput(
            f"trial can't start: {status.reason}.",
            safe="What was made so far is kept.",
            next_step=f"Run `embedsmith corpus {run.name}` first.",
        )
    return status


def show_trial(trials: tuple[Trial, ...], fingerprint: str, output: Output) -> None:
    """Show one trial, with what the one before it wrote about the same documents.

    Args:
        trials: all, newest first.
        fingerprint: of the trial to show.
        output: where.

    Raises:
        BadInput: that one is damaged.
    """
    now = next((trial for trial in trials if trial.fingerprint == fingerprint), None)
    if now is None:
        raise BadInput(
            f"The trial {fingerprint} is finished, but its files can't be read.",
            safe="The replies that it was made from are kept, and not paid again.",
            next_step=f"Remove the folder trial/{fingerprint} of the run; the same command makes "
            "it again.",
        )
    before = next((trial for trial in trials if _comparable(trial, now)), None)
    output.say()
    for word, trial in (("now", now), ("before", before)):
        if trial:
            output.say(f"{word:<6}  guidance: {trial.guidance.words or 'none'}")
            output.record("trial", _fields(word, trial))
    earlier = before.by_document() if before else {}
    samples = now.by_document()
    for document in now.documents():
        output.say()
        output.say(f"{document.path}: {document.title}")
        for word, found in (("now", samples), ("before", earlier)):
            for sample in found.get(document.id, ()):
                _show(word, document.path, sample, output)


def _comparable(trial: Trial, now: Trial) -> bool:
    """Whether a trial is another one about some of the same documents."""
    if trial.fingerprint == now.fingerprint:
        return False
    return bool({d.id for d in trial.documents()} & {d.id for d in now.documents()})


def _fields(word: str, trial: Trial) -> dict[str, object]:
    return {
        "which": word,
        "fingerprint": trial.fingerprint,
        "finished": trial.finished,
        "audience": trial.guidance.audience,
        "language": trial.guidance.language,
        "examples": list(trial.guidance.examples),
        "documents": [document.path for document in trial.documents()],
    }


def _show(word: str, path: str, sample: Sample, output: Output) -> None:
    score = "  - " if sample.score is None else f"{sample.score:4.1f}"
    flags = f"  [{', '.join(flag.name for flag in sample.flags)}]" if sample.flags else ""
    output.say(f"  {word:<6} {score}  {sample.question}{flags}")
    if sample.answer:
        output.say(f"               {' '.join(sample.answer.split())}")
    output.record(
        "trial_sample",
        {
            "which": word,
            "document": path,
            "id": sample.id,
            "question": sample.question,
            "answer": sample.answer,
            "score": sample.score,
            "flags": [flag.name for flag in sample.flags],
        },
    )
