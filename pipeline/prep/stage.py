"""Kept samples to training data: hard negatives mined, files written for every reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context, Outcome
from pipeline.corpus.records import Passage, Role, read_passages
from pipeline.errors import BadInput
from pipeline.mining.mine import Mined, Miner
from pipeline.mining.rules import main_reason
from pipeline.prep.automodel import AUTOMODEL_FILES, write_automodel
from pipeline.prep.records import BEIR_FOLDERS, TRAINING, TrainingExample, write_training
from pipeline.prep.teacher import find_teacher, material_of, reranker_of
from pipeline.review.kept import load_kept
from pipeline.sdg.records import Sample
from pipeline.settings import PrepSettings
from pipeline.weights import folder_digest, weights_digest

FEW_TRAINING_ROWS = 100
FEW_EVAL_QUERIES = 50
"""The published recipe warns below these."""

_NAMED = 5
"""So many of the questions that can't be used are named in a message."""

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Kept:
    """The kept samples with their positives checked.

    Attributes:
        samples: by role; repeated and missing positives are taken out.
        missing: positives that the corpus doesn't have.
    """

    samples: Mapping[Role, tuple[Sample, ...]]
    missing: int


def execute(context: Context) -> Outcome:
    """Mine hard negatives for the training samples and write training and BEIR files.

    Raises:
        BadInput: no training sample is kept, or none of a sample's passages exists.
        MissingPart: the weights of the base model or the teacher are not on this machine.
        StageFailure: memory is full; then it has a remedy.
    """
    passages, kept = read_kept(context)
    held_out = _write_held_out(context, kept.samples, passages)
    examples, mined = _mine_training(context, kept.samples["train"], passages)
    write_training(context.folder, examples)
    context.events.artifact(TRAINING, "training examples with hard negatives")
    write_automodel(
        context.folder,
        _training_passages(examples, passages),
        examples,
        mined,
        _arguments(context),
    )
    context.events.artifact(AUTOMODEL_FILES[-1], "training file for NeMo Automodel")
    summary = summarise(examples, mined, kept, len(passages))
    for warning in summary["warnings"]:
        context.events.log(warning, level="warning")
    return Outcome(outputs=(TRAINING, *AUTOMODEL_FILES, *held_out), summary=summary)


def read_kept(context: Context) -> tuple[dict[str, Passage], Kept]:
    """The corpus's passages by id, and the kept samples checked against them.

    Raises:
        BadInput: no training sample is kept, or none of a sample's passages exists.
    """
    passages = {p.id: p for p in read_passages(context.inputs["corpus"].folder)}
    threshold = context.recipe.sdg.threshold
    samples = load_kept(context.run, context.inputs["sdg"].folder, threshold)
    return passages, check_kept(samples, passages)


def check_kept(samples: Iterable[Sample], passages: Mapping[str, Passage]) -> Kept:
    """Kept samples by role, each with its positives once.

    Raises:
        BadInput: no training sample is there, or none of a sample's passages exists.
    """
    by_role: dict[Role, list[Sample]] = {"train": [], "dev": [], "test": []}
    lost: list[str] = []
    missing = 0
    for sample in samples:
        asked = tuple(dict.fromkeys(sample.passages))
        there = tuple(key for key in asked if key in passages)
        if not there:
            lost.append(sample.id)
        missing += len(asked) - len(there)
        by_role[sample.role].append(_with_passages(sample, there))
    if lost:
        raise _without_passages(lost)
    if not by_role["train"]:
        raise _nothing_to_train({role: len(kept) for role, kept in by_role.items()})
    return Kept({role: tuple(kept) for role, kept in by_role.items()}, missing)


def summarise(
    examples: Sequence[TrainingExample], mined: Sequence[Mined], kept: Kept, passages: int
) -> dict[str, Any]:
    """The numbers and warnings of a finished prep."""
    negatives = [score for example in examples for _, score in example.negatives]
    short = [example for example in examples if example.shortfall]
    dev, test = len(kept.samples["dev"]), len(kept.samples["test"])
    return {
        "examples": len(examples),
        "dev_queries": dev,
        "test_queries": test,
        "passages": passages,
        "negatives_per_query": round(len(negatives) / len(examples), 3),
        "short_of_negatives": len(short),
        "short_by_reason": _short_by_reason(mined),
        "set_aside": _set_aside(mined),
        "positive_scores": _quantiles([score for one in mined for score in one.positive_scores]),
        "negative_scores": _quantiles(negatives),
        "warnings": _warnings(len(examples), dev, test, short, kept.missing),
    }


def _short_by_reason(mined: Sequence[Mined]) -> dict[str, int]:
    """Questions with fewer negatives than asked for, by what cost them most."""
    reasons = Counter(main_reason(one.set_aside) for one in mined if one.shortfall)
    return dict(sorted(reasons.items()))


def _set_aside(mined: Sequence[Mined]) -> dict[str, int]:
    """Candidates passed over, by reason."""
    aside: Counter[str] = Counter()
    for one in mined:
        aside.update(one.set_aside)
    return dict(sorted(aside.items()))


def _warnings(
    examples: int, dev: int, test: int, short: Sequence[TrainingExample], missing: int
) -> list[str]:
    said: list[str] = []
    if examples < FEW_TRAINING_ROWS:
        said.append(f"Only {examples} training questions: below {FEW_TRAINING_ROWS} expect little.")
    if not dev:
        said.append("No kept question is a dev question: training can't choose its best model.")
    if not test:
        said.append("No kept question is a test question: only your own eval sets can measure.")
    elif test < FEW_EVAL_QUERIES:
        said.append(f"Only {test} test questions: below {FEW_EVAL_QUERIES} metrics are noise.")
    if short:
        said.append(_short_of_negatives(short))
    if missing:
        said.append(f"{missing} positives name passages that the corpus doesn't have.")
    return said


def _short_of_negatives(short: Sequence[TrainingExample]) -> str:
    none = sum(not example.negatives for example in short)
    worst = min(short, key=lambda example: len(example.negatives))
    return (
        f"{len(short)} training questions have fewer hard negatives than asked for"
        f"{f', and {none} of them none' if none else ''}. {TRAINING} says why for each, such as: "
        f"{worst.shortfall}."
    )


def _mine_training(
    context: Context, samples: Sequence[Sample], passages: Mapping[str, Passage]
) -> tuple[list[TrainingExample], list[Mined]]:
    """Encode training questions and passages with the teacher, then mine."""
    teacher = find_teacher(context)
    material = material_of(context, teacher, samples, passages)
    mined = Miner(material.pool, context.device).mine(
        material.wanted,
        context.recipe.prep,
        partial(context.report, what="queries mined"),
        reranker_of(context),
    )
    return [_example(sample, one) for sample, one in zip(samples, mined, strict=True)], mined


def _example(sample: Sample, mined: Mined) -> TrainingExample:
    return TrainingExample(
        query=sample.id,
        question=sample.question,
        positives=sample.passages,
        negatives=mined.negatives,
        positive_score=min(mined.positive_scores),
        shortfall=mined.shortfall,
    )


def _write_held_out(
    context: Context,
    samples: Mapping[Role, Sequence[Sample]],
    passages: Mapping[str, Passage],
) -> list[str]:
    """Write dev and test questions over all passages; returns the folders."""
    texts = {key: passage.text for key, passage in passages.items()}
    written: list[str] = []
    for role, name in BEIR_FOLDERS.items():
        if not samples[role]:
            continue
        eval_set = EvalSet(
            queries={sample.id: sample.question for sample in samples[role]},
            passages=texts,
            qrels={sample.id: dict.fromkeys(sample.passages, 1) for sample in samples[role]},
            details={sample.id: _details(sample) for sample in samples[role]},
        )
        write_beir(context.folder / name, eval_set, role)
        context.events.artifact(name, f"{role} questions in BEIR form")
        written.append(name)
    return written


def _details(sample: Sample) -> dict[str, Any]:
    return {
        "kind": sample.kind,
        "hops": sample.hops,
        "complexity": sample.complexity,
        "quality_score": sample.score,
        "answer": sample.answer,
    }


def _training_passages(
    examples: Sequence[TrainingExample], passages: Mapping[str, Passage]
) -> dict[str, str]:
    """Text by id: the pool, and positives of an import that lie outside of it.

    Held-out passages stay out, so that mining again elsewhere can't turn one into a negative.
    """
    named = {key for example in examples for key in example.positives}
    return {
        key: passage.text
        for key, passage in passages.items()
        if passage.role == "train" or key in named
    }


def _arguments(context: Context) -> dict[str, Any]:
    prep, encoder = context.recipe.prep, context.recipe.encoder
    teacher = find_teacher(context)
    arguments = {
        "model_digest": weights_digest(teacher, context.cache),
        "hard_negatives_to_mine": prep.hard_negatives,
        "hard_neg_margin": prep.positive_percentage,
        "hard_neg_margin_type": "perc",
        "query_prefix": teacher.query_prefix,
        "passage_prefix": teacher.passage_prefix,
        "query_max_length": min(encoder.query_tokens, teacher.tokens_max),
        "passage_max_length": min(encoder.passage_tokens, teacher.tokens_max),
    }
    # The published names know a percentage and a margin; what else was set stands beside them.
    if prep.rule == "margin":
        arguments |= {"hard_neg_margin": prep.positive_margin, "hard_neg_margin_type": "abs"}
    elif prep.rule != "percentage":
        arguments |= {"hard_neg_margin": None, "hard_neg_margin_type": None}
    usual = PrepSettings()
    others = {
        entry.name: getattr(prep, entry.name)
        for entry in fields(prep)
        if getattr(prep, entry.name) != getattr(usual, entry.name)
    }
    if reranker := others.pop("reranker", ""):
        arguments["reranker_digest"] = folder_digest(Path(reranker).expanduser(), context.cache)
    published = ("hard_negatives", "positive_percentage", "search_depth", "teacher")
    return arguments | {name: value for name, value in others.items() if name not in published}


def _quantiles(scores: Sequence[float]) -> dict[str, float]:
    if not scores:
        return {}
    values = np.quantile(scores, _QUANTILES).round(4).tolist()
    return {f"{share:g}": value for share, value in zip(_QUANTILES, values, strict=True)}


def _with_passages(sample: Sample, passages: tuple[str, ...]) -> Sample:
    return sample if passages == sample.passages else replace(sample, passages=passages)


def _without_passages(lost: Sequence[str]) -> BadInput:
    named = ", ".join(lost[:_NAMED]) + (
        f" and {more} more" if (more := len(lost) - _NAMED) > 0 else ""
    )
    return BadInput(
        f"{len(lost)} kept questions name no passage that the corpus has: {named}.",
        safe="The samples and decisions are as they were.",
        next_step="Reject them in review, or make sdg again on this corpus.",
    )


def _nothing_to_train(found: Mapping[Role, int]) -> BadInput:
    if not any(found.values()):
        return BadInput(
            "No question is kept, so there is nothing to train on.",
            safe="The samples and decisions are as they were.",
            next_step="Lower the threshold or accept samples in review, or make more questions.",
        )
    return BadInput(
        f"None of the {sum(found.values())} kept questions is a training question "
        f"({found['dev']} dev, {found['test']} test).",
        safe="The samples and decisions are as they were.",
        next_step="Add documents, so that each role gets some, or accept training samples in "
        "review.",
    )
