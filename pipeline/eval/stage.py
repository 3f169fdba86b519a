"""The stage `eval`: base, fine-tuned and BM25 measured on every eval set of the run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.beir import Metrics, Ranking, write_beir
from pipeline.context import Context, Outcome
from pipeline.errors import StageFailure
from pipeline.eval.records import (
    METRICS,
    QUERIES_MIN,
    SETS,
    SPLIT,
    SYSTEMS,
    EvalResult,
    SetResult,
    System,
    eval_row,
    per_query_path,
    rankings_path,
)
from pipeline.eval.search import Found, search
from pipeline.eval.sets import NamedSet, synthetic_set, user_sets
from pipeline.eval.statistics import headline_metric, paired_differences, verdict_of
from pipeline.files import write_json, write_jsonl
from pipeline.metrics import evaluate, first_relevant, mean_metrics

_FOLDERS = ("per_query", "rankings", "vectors", SETS)


def execute(context: Context) -> Outcome:
    """Measure every system on every set.

    Raises:
        BadInput: an eval set cannot be used; nothing was encoded then.
        StageFailure: there is no eval set at all, or a model gives numbers that are not finite.
        MissingPart: the base weights are not on this machine.
    """
    sets, warnings = _sets(context)
    for name in _FOLDERS:
        # Half-written files of an attempt that was killed would count as output.
        shutil.rmtree(context.folder / name, ignore_errors=True)
    for warning in warnings:
        context.events.log(warning, level="warning")
    for each in sets:
        write_beir(context.folder / SETS / each.name, each.content, SPLIT)
    found = search(context, sets)
    result = EvalResult(tuple(_measure(context, each, found) for each in sets))
    write_json(context.folder / METRICS, eval_row(result))
    context.events.artifact(METRICS, "metrics of every system on every set")
    return Outcome(
        outputs=(METRICS, *_FOLDERS),
        summary={"sets": [_headline(each) for each in result.sets], "warnings": warnings},
    )


def _sets(context: Context) -> tuple[list[NamedSet], list[str]]:
    """The sets to measure, all read and checked, and what to warn of."""
    synthetic = synthetic_set(context.inputs["prep"].folder)
    sets = [*([synthetic] if synthetic else []), *user_sets(context.run)]
    if not sets:
        raise StageFailure(
            "There is nothing to measure with: no kept question is a test question, and the run "
            "has no eval set of its own.",
            safe="The fine-tuned model is finished and kept.",
            next_step="Give an eval set (`embedsmith eval RUN --eval-set PATH`) or more documents.",
        )
    warnings = [
        f"The set {each.name} has {len(each.content.queries)} queries; under {QUERIES_MIN} no "
        "difference is called clear."
        for each in sets
        if len(each.content.queries) < QUERIES_MIN
    ]
    if synthetic is None:
        warnings.insert(0, "No kept question is a test question: the synthetic set is skipped.")
    return sets, warnings


def _measure(context: Context, each: NamedSet, found: Found) -> SetResult:
    """One set's metrics; rankings and per-query metrics are written."""
    qrels, rows = each.content.qrels, []
    per_query: dict[System, dict[str, Metrics]] = {}
    for system in SYSTEMS:
        rankings = found[each.name, system]
        _write_rankings(rankings_path(context.folder, each.name, system), rankings)
        per_query[system] = evaluate(qrels, rankings, context.recipe.eval.k)
        rows += [
            {
                "query": query,
                "system": system,
                "metrics": metrics,
                "first_relevant": first_relevant(rankings[query], qrels[query]),
            }
            for query, metrics in per_query[system].items()
        ]
    write_jsonl(per_query_path(context.folder, each.name), rows)
    difference = paired_differences(
        list(per_query["finetuned"].values()), list(per_query["base"].values())
    )
    headline = headline_metric(difference)
    return SetResult(
        name=each.name,
        queries=len(qrels),
        passages=len(each.content.passages),
        systems={system: mean_metrics(per_query[system]) for system in SYSTEMS},
        difference=difference,
        headline=headline,
        verdict=verdict_of(difference[headline], len(qrels)),
    )


def _write_rankings(path: Path, rankings: Mapping[str, Ranking]) -> None:
    write_jsonl(path, ({"query": query, "passages": list(r)} for query, r in rankings.items()))


def _headline(each: SetResult) -> dict[str, Any]:
    """What a screen says of one set: two metrics, the difference, the verdict."""
    rank = each.headline.partition("@")[2]
    shown = (each.headline, f"recall@{rank}")
    difference = each.difference[each.headline]
    return {
        "name": each.name,
        "queries": each.queries,
        "passages": each.passages,
        "headline": each.headline,
        "systems": {
            system: {name: metrics[name] for name in shown}
            for system, metrics in each.systems.items()
        },
        "difference": {"mean": difference.mean, "low": difference.low, "high": difference.high},
        "verdict": each.verdict,
    }
