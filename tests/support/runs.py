"""Run folders that look as if their stages had run, and a training that only writes its journal.

A real worker plans, locks, writes the journal, `done.json` and `current.json`; only the stage that
it carries out is one of the functions here. So identities, digests and states are the real ones.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pipeline.attempt import execute as work
from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context, Outcome
from pipeline.corpus.records import Passage, read_passages
from pipeline.files import write_json, write_jsonl, write_text
from pipeline.job import plan_job
from pipeline.journal import Event, read_journal
from pipeline.launch import worker_environment
from pipeline.prep.records import BEIR_FOLDERS, TRAINING, TrainingExample, write_training
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.review.kept import load_kept
from pipeline.run import Run, cache_home, create_run
from pipeline.sdg.records import FUNNEL, SAMPLES, Flag, Quote, Sample, sample_id
from pipeline.sdg.scoring import LEVELS, score_of, weights_of
from pipeline.settings import SdgSettings

Execute = Callable[[Context], Outcome]
Through = Literal["corpus", "sdg", "prep"]

_SAMPLES_A_DOCUMENT = 100
_DOCUMENTS_MIN, _DOCUMENTS_MAX = 12, 100
_SECTIONS = 8
_PARTS: tuple[str, ...] = (
    "intake valve",
    "coolant pump",
    "relay board",
    "pressure gauge",
    "drive shaft",
)
_PARTS += ("control rod", "filter housing", "safety latch", "feed hopper", "spindle motor")
_DOES = ("opens", "stops", "is replaced", "is calibrated", "sounds an alarm", "switches over")
_WHEN = ("the outer ring exceeds", "the operator sets", "the log shows", "the supply falls below")
_UNITS = ("bar", "degrees", "litres a minute", "volts", "hours")
_LEVELS = (2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 0.0)
_FLAGS = (
    Flag("ungrounded", "1 of its quotes stand in no passage", False),
    Flag("pointing", "the question says 'shown above'", True),
    Flag("unjudged", "the judge gave it no grades", True),
)


def make_run(
    home: Path,
    samples: int = 200,
    *,
    name: str = "pilot",
    through: Through = "sdg",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """A rehearsal's run folder whose stages are done up to `through`; needs the main thread.

    The corpus is made by its real stage from documents beside the home; samples, and with them
    scores, flags and quotes that stand in the passages, are made up. 10,000 take a few seconds.

    Args:
        home: the folder of runs, as EMBEDSMITH_HOME.
        samples: how many questions.
        name: of the run.
        through: the last stage that is done.
        seed: of everything made up.
        settings: of the recipe, by dotted name, beyond the rehearsal's.
    """
    source = home.parent / f"{name}-documents"
    wanted = samples // _SAMPLES_A_DOCUMENT
    write_manuals(source, min(_DOCUMENTS_MAX, max(_DOCUMENTS_MIN, wanted)), seed)
    overrides = {
        "corpus.source": str(source),
        "seed": seed,
        # Review and funnel count what was asked for.
        "sdg.questions_per_document": max(1, wanted),
        **(settings or {}),
    }
    run = create_run(home / name, find_profile(REHEARSAL_PROFILE), overrides, "a test")
    _do(run, "corpus", None, {})
    if through != "corpus":
        _do(run, "sdg", write_made_up_samples, {"samples": str(samples)})
    if through == "prep":
        _do(run, "prep", write_made_up_training_file, {})
    return run


def write_manuals(folder: Path, count: int, seed: int = 0) -> None:
    """Markdown files of some 1,000 words, no two of them alike."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        sections = [f"# Manual {number}"]
        for section in range(_SECTIONS):
            text = " ".join(_sentence(draw) for _ in range(9))
            sections.append(f"## Part {section}: {draw.choice(_PARTS)}\n\n{text}")
        (folder / f"manual-{number:03d}.md").write_text("\n\n".join(sections) + "\n")


def _sentence(draw: random.Random) -> str:
    return (
        f"The {draw.choice(_PARTS)} {draw.choice(('A', 'B', 'C'))}{draw.randrange(1000)} "
        f"{draw.choice(_DOES)} when {draw.choice(_WHEN)} {draw.randrange(1, 500)} "
        f"{draw.choice(_UNITS)}."
    )


def _do(run: Run, stage: str, execute: Execute | None, options: Mapping[str, str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        code = carry_out(run, stage, execute, options)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert code == 0, f"{stage} ended with {code}"


def carry_out(run: Run, stage: str, execute: Execute | None, options: Mapping[str, str]) -> int:
    """A worker's work on one stage, in this process.

    Args:
        run: the run.
        stage: the stage.
        execute: does it; None: the stage itself.
        options: for `execute`.

    Returns:
        The worker's exit code.
    """
    cache = cache_home()
    job = plan_job(run, "", stage, {}, cache)
    if execute:
        entry = ModuleType("made_up_stage")
        entry.execute = execute  # type: ignore[attr-defined]
        sys.modules[entry.__name__] = entry
        status = replace(job.status, stage=replace(job.stage, entry=entry.__name__))
        job = replace(job, status=status, options=options)
    return work(job, cache)


def write_made_up_samples(context: Context) -> Outcome:
    """What `sdg` leaves: samples about random passages, and the funnel."""
    draw = random.Random(context.recipe.seed)
    passages = list(read_passages(context.inputs["corpus"].folder))
    neighbours: dict[str, list[Passage]] = {}
    for passage in passages:
        neighbours.setdefault(passage.document, []).append(passage)
    count = int(context.options["samples"])
    made: dict[str, Sample] = {}
    while len(made) < count:
        first = draw.choice(passages)
        hops = min(draw.choice((1, 1, 1, 2, 3)), len(neighbours[first.document]))
        others = [p for p in draw.sample(neighbours[first.document], hops) if p != first]
        sample = _sample(draw, (first, *others[: hops - 1]), context.recipe.sdg.model, len(made))
        made[sample.id] = sample
    samples = list(made.values())
    write_jsonl(context.folder / SAMPLES, map(asdict, samples))
    funnel = {
        "asked": count,
        "written": count,
        "scored": sum(sample.score is not None for sample in samples),
        "unblocked": sum(not any(f.blocking for f in sample.flags) for sample in samples),
        "repeated": 0,
        "flags": {
            flag.name: sum(flag in sample.flags for sample in samples)
            for flag in sorted(_FLAGS, key=lambda flag: flag.name)
        },
        "documents": len(neighbours),
        "roles": {
            role: sum(sample.role == role for sample in samples)
            for role in sorted({sample.role for sample in samples})
        },
        "lost": [],
    }
    write_json(context.folder / FUNNEL, funnel)
    context.events.progress(count, count, "questions written")
    summary = {name: value for name, value in funnel.items() if not isinstance(value, list)}
    summary |= {"writer": context.recipe.sdg.model, "tokens": 0, "warnings": []}
    return Outcome((SAMPLES, FUNNEL), summary)


def _sample(draw: random.Random, evidence: Sequence[Passage], model: str, number: int) -> Sample:
    quotes = tuple(_quote(draw, passage) for passage in evidence)
    subject = draw.choice(_PARTS)
    unit = draw.choice(_UNITS)
    question = f"What makes the {subject} of unit {number} act, and at how many {unit}?"
    levels = {name: draw.choice(_LEVELS) for name in LEVELS}
    flags = (draw.choice(_FLAGS),) if draw.random() < 0.08 else ()
    judged = not any(flag.blocking for flag in flags)
    return Sample(
        id=sample_id([passage.text for passage in evidence], question),
        question=question,
        answer=" ".join(quote.text for quote in quotes),
        passages=tuple(passage.id for passage in evidence),
        quotes=quotes,
        role=evidence[0].role,
        score=score_of(levels, weights_of(SdgSettings())) if judged else None,
        levels=levels if judged else {},
        flags=flags,
        complexity=draw.randint(2, 5),
        hops=len(evidence),
        kind=f"{draw.choice(('contextual', 'structural', 'multi_hop'))} factual",
        writer=model,
    )


def _quote(draw: random.Random, passage: Passage) -> Quote:
    """One sentence of the passage, where it stands."""
    ends = [place + 1 for place, character in enumerate(passage.text) if character == "."]
    number = draw.randrange(len(ends)) if ends else 0
    start = ends[number - 1] + 1 if number else 0
    end = ends[number] if ends else len(passage.text)
    return Quote(passage.id, start, end, passage.text[start:end])


def write_made_up_training_file(context: Context) -> Outcome:
    """What `prep` leaves, as far as a screen reads it: examples and held-out questions."""
    draw = random.Random(context.recipe.seed)
    passages = {p.id: p.text for p in read_passages(context.inputs["corpus"].folder)}
    threshold = context.recipe.sdg.threshold
    kept = load_kept(context.run, context.inputs["sdg"].folder, threshold)
    examples = [
        TrainingExample(
            sample.id,
            sample.question,
            sample.passages,
            tuple((key, 0.5) for key in draw.sample(sorted(passages), 2)),
            0.8,
            "",
        )
        for sample in kept
        if sample.role == "train"
    ]
    write_training(context.folder, examples)
    outputs = [TRAINING]
    for role, folder in BEIR_FOLDERS.items():
        held_out = [sample for sample in kept if sample.role == role]
        if held_out:
            queries = {sample.id: sample.question for sample in held_out}
            qrels = {sample.id: dict.fromkeys(sample.passages, 1) for sample in held_out}
            write_beir(context.folder / folder, EvalSet(queries, passages, qrels), role)
            outputs.append(folder)
    return Outcome(tuple(outputs), {"examples": len(examples), "warnings": []})


def train_without_learning(context: Context) -> Outcome:
    """What a training tells its journal, at a given pace; it answers requests like a real one."""
    steps, hz = int(context.options["steps"]), float(context.options["hz"])
    draw = random.Random(context.recipe.seed)
    validation = max(1, steps // 10)
    base = best = 0.41
    best_step, began = 0, time.monotonic()
    context.events.metric(step=0, ndcg_at_10=base, base_ndcg_at_10=base)
    done = 0
    for step in range(1, steps + 1):
        context.control.poll()
        if context.control.finish_asked and done:
            break
        time.sleep(max(0.0, began + step / hz - time.monotonic()))
        done = step
        _tell_step(context, step, steps, hz, draw)
        if step % validation == 0 or step == steps:
            score = round(base + 0.2 * step / steps + draw.gauss(0, 0.01), 6)
            if score > best:
                best, best_step = score, step
            context.events.metric(
                step=step,
                ndcg_at_10=score,
                base_ndcg_at_10=base,
                best_step=best_step,
                best_ndcg_at_10=best,
            )
    write_text(context.folder / "model" / "README.md", "# No model\n")
    summary = {"steps": done, "steps_planned": steps, "best_step": best_step, "warnings": []}
    return Outcome(("model",), summary, partial=done < steps)


def _tell_step(context: Context, step: int, steps: int, hz: float, draw: random.Random) -> None:
    """The fields of `pipeline.finetune.loop._tell`."""
    settings = context.recipe.finetune
    context.events.metric(
        step=step,
        steps=steps,
        epoch=round(settings.epochs * step / steps, 4),
        loss=0.2 + 2.5 * 0.995**step + draw.uniform(0, 0.1),
        learning_rate=settings.learning_rate * (1 - step / (steps + 1)),
        gradient_norm=round(draw.uniform(0.5, 2.0), 4),
        samples_per_second=round(settings.batch_size * hz, 3),
        tokens_per_second=round(settings.batch_size * hz * 180, 1),
        negatives_per_query=635.0,
        hard_negatives_per_query=4.0,
        masked_per_query=round(draw.uniform(0, 2), 2),
        mfu=round(draw.uniform(0.3, 0.4), 4),
        memory_bytes=61_200_000_000,
        seconds_left=round((steps - step) / hz, 1),
    )
    context.events.progress(step, steps, "training steps")


@contextmanager
def training_journal(run: Run, steps: int, hz: float) -> Iterator[subprocess.Popen[bytes]]:
    """A worker on finetune, in a process of its own, that trains nothing.

    It holds the lock, beats, writes the journal as a real one does, and answers pause, resume,
    finish, cancel and SIGTERM. Leaving the block kills it.

    Args:
        run: made with `through="prep"`.
        steps: of the training.
        hz: steps a second.
    """
    command = [sys.executable, "-P", __file__, str(run.path), str(steps), str(hz)]
    environment = worker_environment(os.environ)
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        until = time.monotonic() + 20
        while not any(event.type == "metric" for event in _said(run)):
            assert process.poll() is None, f"the training ended with {process.returncode}"
            assert time.monotonic() < until, "the training doesn't begin"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def _said(run: Run) -> list[Event]:
    journals = (folder / "journal.jsonl" for folder in run.attempts("finetune"))
    return [event for journal in journals for event in read_journal(journal)]


if __name__ == "__main__":
    _path, _steps, _hz = sys.argv[1:]
    sys.exit(
        carry_out(
            Run(Path(_path)), "finetune", train_without_learning, {"steps": _steps, "hz": _hz}
        )
    )
