"""A small eval result as the stage writes it, from rankings that a test makes up."""

from __future__ import annotations

from pipeline.beir import EvalSet, write_beir
from pipeline.eval.records import (
    METRICS,
    SETS,
    SPLIT,
    SYSTEMS,
    EvalResult,
    SetResult,
    eval_row,
    per_query_path,
    rankings_path,
)
from pipeline.files import write_json, write_jsonl

KS = (1, 10)


def measure(folder, name, eval_set, rankings):
    """Write one set's files and return its result.

    Args:
        folder: the eval result.
        name: the set's.
        eval_set: queries, passages, relevance.
        rankings: by system, then query: passage ids, best first.
    """
    from pipeline.eval.statistics import headline_metric, paired_differences, verdict_of
    from pipeline.metrics import evaluate, first_relevant, mean_metrics

    write_beir(folder / SETS / name, eval_set, SPLIT)
    rows, metrics = [], {}
    for system in SYSTEMS:
        scored = {
            query: tuple((key, 1.0 - place / 100) for place, key in enumerate(order))
            for query, order in rankings[system].items()
        }
        write_jsonl(
            rankings_path(folder, name, system),
            ({"query": query, "passages": list(found)} for query, found in scored.items()),
        )
        metrics[system] = evaluate(eval_set.qrels, scored, KS)
        rows += [
            {
                "query": query,
                "system": system,
                "metrics": values,
                "first_relevant": first_relevant(scored[query], eval_set.qrels[query]),
            }
            for query, values in metrics[system].items()
        ]
    write_jsonl(per_query_path(folder, name), rows)
    difference = paired_differences(
        list(metrics["finetuned"].values()), list(metrics["base"].values())
    )
    headline = headline_metric(difference)
    return SetResult(
        name=name,
        queries=len(eval_set.qrels),
        passages=len(eval_set.passages),
        systems={system: mean_metrics(metrics[system]) for system in SYSTEMS},
        difference=difference,
        headline=headline,
        verdict=verdict_of(difference[headline], len(eval_set.qrels)),
    )


def write_evaluation(folder, sets):
    """Write a whole result; `sets` are names with their `eval_set` and `rankings`."""
    results = tuple(measure(folder, name, *given) for name, given in sets.items())
    write_json(folder / METRICS, eval_row(EvalResult(results)))
    return results


def ranked_set(places, passages=30):
    """An eval set with one relevant passage a query, at the given place of each system's list.

    Args:
        places: for each query id the ranks of base, fine-tuned and BM25; None for not in the list.
        passages: how many there are besides the relevant ones.
    """
    others = [f"p-other-{number:02d}" for number in range(passages)]
    right = {query: f"p-{query}" for query in places}
    eval_set = EvalSet(
        queries={query: f"What is {query}?" for query in places},
        passages={key: f"About {key}." for key in (*right.values(), *others)},
        qrels={query: {key: 1} for query, key in right.items()},
    )
    rankings = {system: {} for system in SYSTEMS}
    for query, ranks in places.items():
        for system, rank in zip(SYSTEMS, ranks, strict=True):
            order = list(others)
            if rank is not None:
                order.insert(rank - 1, right[query])
            rankings[system][query] = order
    return eval_set, rankings
