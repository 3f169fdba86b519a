"""`review`: list samples, and accept, reject or edit them from the command line."""

from __future__ import annotations

from argparse import Namespace

from pipeline.errors import BadInput
from pipeline.review.decisions import REASONS, Action, ReviewState, Source, fold
from pipeline.review.kept import is_kept
from pipeline.review.log import append_decision, read_decisions
from pipeline.review.queue import queue_order
from pipeline.run import Run, find_run, home
from pipeline.sdg.records import Sample, read_samples
from tui.output import Output


def review_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith review RUN [SAMPLE...]`: decide, then show where things stand."""
    run = find_run(home(), arguments.run)
    samples = _samples(run, arguments.variant)
    action = _action(arguments, samples)
    if action:
        append_decision(run.decisions_path, action)
    state = fold(read_decisions(run.decisions_path))
    first = run.recipe(arguments.variant).sdg.threshold
    threshold = first if state.threshold is None else state.threshold
    if not action:
        seed = run.recipe(arguments.variant).seed
        wanted = arguments.samples or queue_order(tuple(samples.values()), threshold, seed)
        for name in wanted:
            _show(_one(samples, name), state, threshold, output)
    kept = [s for s in samples.values() if is_kept(s, state.decisions.get(s.id), threshold)]
    fields = {
        "samples": len(samples),
        "kept": len(kept),
        "decided": len(state.decisions),
        "threshold": threshold,
    }
    output.say(
        f"{len(kept)} of {len(samples)} samples kept, {len(state.decisions)} decided by hand, "
        f"threshold {threshold:g}."
    )
    output.record("review", fields)
    return 0


def _samples(run: Run, variant: str) -> dict[str, Sample]:
    result = run.current("sdg", variant)
    if result is None:
        raise BadInput(
            f"{run.name} has no samples yet.",
            safe="Nothing was changed.",
            next_step=f"Write them with `embedsmith run {run.name} --to sdg`.",
        )
    return {sample.id: sample for sample in read_samples(result.folder)}


def _one(samples: dict[str, Sample], name: str) -> Sample:
    if name in samples:
        return samples[name]
    raise BadInput(
        f"There is no sample {name!r} in this run.",
        safe="Nothing was changed.",
        next_step="`embedsmith review RUN` lists all of them.",
    )


def _action(arguments: Namespace, samples: dict[str, Sample]) -> Action | None:
    names = tuple(_one(samples, name).id for name in arguments.samples)
    try:
        if arguments.threshold is not None:
            return Action("threshold", value=arguments.threshold)
        if arguments.edit is not None:
            return Action("edit", names, question=arguments.edit, source="edit")
        if arguments.action:
            source: Source = "bulk" if len(names) > 1 else "manual"
            return Action(arguments.action, names, reason=arguments.reason, source=source)
    except ValueError as error:
        raise BadInput(
            f"{error}.",
            safe="Nothing was decided.",
            next_step=f"Reasons are {', '.join(REASONS)}; --edit takes exactly one SAMPLE.",
        ) from error
    return None


def _show(sample: Sample, state: ReviewState, threshold: float, output: Output) -> None:
    decision = state.decisions.get(sample.id)
    kept = is_kept(sample, decision, threshold)
    score = "no score" if sample.score is None else f"{sample.score:.1f}"
    by_hand = f", {decision.verdict}ed by hand" if decision else ""
    output.say(f"{sample.id}  {score}  {'kept' if kept else 'dropped'}{by_hand}  {sample.role}")
    question = decision.question if decision and decision.question else sample.question
    output.say(f"  Q {question}")
    output.say(f"  A {sample.answer}")
    for quote in sample.quotes:
        output.say(f'  > "{quote.text}"  {quote.passage} {quote.start}-{quote.end}')
    for flag in sample.flags:
        output.say(f"  ! {flag.name}: {flag.reason}")
    output.say()
    output.record(
        "sample",
        {
            "id": sample.id,
            "question": question,
            "answer": sample.answer,
            "score": sample.score,
            "kept": kept,
            "decision": decision.verdict if decision else None,
            "role": sample.role,
            "flags": [flag.name for flag in sample.flags],
        },
    )
