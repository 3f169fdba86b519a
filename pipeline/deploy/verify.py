"""The stage `verify`: evaluation once more, through the endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.context import Context, Outcome
from pipeline.deploy.client import EndpointClient, Vectors
from pipeline.deploy.contract import Check, check_contract
from pipeline.deploy.services import KEY_VARIABLE, find_service
from pipeline.deploy.tolerance import (
    Drift,
    Identity,
    Row,
    SetCheck,
    Verdict,
    compare_metrics,
    flipped_queries,
    identify,
    judge,
    measure_drift,
)
from pipeline.errors import EndpointFailure
from pipeline.eval.records import (
    SetResult,
    read_eval,
    read_per_query,
    read_set,
    read_vectors,
)
from pipeline.export.records import (
    CANARY_KINDS,
    Canaries,
    CanaryKind,
    Manifest,
    read_canaries,
    read_manifest,
)
from pipeline.files import write_json
from pipeline.metrics import evaluate, mean_metrics
from pipeline.rankings import rank_vectors
from pipeline.status import service_name

REPORT = "verify.json"
FORMAT = 1


@dataclass(frozen=True)
class Verification:
    """Everything that verification found.

    Attributes:
        verdict: in one word.
        reasons: why not PASS; empty for PASS.
        identity: which model it is.
        contract: what the protocol promises.
        sets: every eval set.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    identity: Identity
    contract: tuple[Check, ...]
    sets: tuple[SetCheck, ...]


class _Counter:
    """Texts sent so far; a safe point after each request."""

    def __init__(self, context: Context, total: int) -> None:
        self._context, self._total, self._done = context, total, 0

    def add(self, texts: int) -> None:
        self._context.control.poll()
        self._done += texts
        self._context.events.progress(self._done, self._total, "texts verified")


def execute(context: Context) -> Outcome:
    """Measure through the endpoint and compare. A FAIL is a result, too.

    Raises:
        EndpointFailure: there is no endpoint, or it can't be reached, refuses, or answers
            something else than vectors of the model's dimension.
        BadInput: evaluation or export is damaged.
    """
    url = _url(context)
    client = EndpointClient(
        url, os.environ.get(KEY_VARIABLE, ""), context.recipe.encoder.batch_size
    )
    manifest = read_manifest(context.inputs["export"].folder)
    canaries = read_canaries(context.inputs["export"].folder)
    evaluation = read_eval(context.inputs["eval"].folder)
    texts = sum(each.queries + each.passages for each in evaluation.sets)
    counter = _Counter(context, texts + len(CANARY_KINDS) * len(canaries.texts))
    served = {kind: client.embed(canaries.texts, kind, counter.add) for kind in CANARY_KINDS}
    _require_dimension(client, manifest, served["query"])
    identity = _identify(canaries, served)
    contract = check_contract(client, manifest, canaries.texts, served["query"], served["passage"])
    sets = tuple(_check_set(context, each, client, counter.add) for each in evaluation.sets)
    faults = [*identity.faults, *(f"{c.name}: {c.found}" for c in contract if not c.passed)]
    found = Verification(*judge(faults, sets), identity, contract, sets)
    write_json(context.folder / REPORT, {"format": FORMAT, **_report(found)})
    return Outcome(outputs=(REPORT,), summary=_summary(found, client))


def _url(context: Context) -> str:
    if url := context.options.get("url"):
        return url
    name = service_name(context.variant, context.recipe)
    service = find_service(context.run, name)
    if service is None:
        raise EndpointFailure(
            f"The run {context.run.name} has no service {name!r} to verify.",
            safe="Evaluation and export are kept.",
            next_step=f"Start it (`embedsmith deploy {context.run.name}`), or give --url.",
        )
    return service.url


def _identify(canaries: Canaries, served: Mapping[CanaryKind, Vectors]) -> Identity:
    """The worse one of queries and passages."""
    vectors = canaries.vectors
    found = [
        identify(served[kind], vectors["finetuned", kind], vectors["base", kind])
        for kind in CANARY_KINDS
    ]
    return min(found, key=lambda identity: (-identity.nearer_to_base, identity.cosine))


def _require_dimension(client: EndpointClient, manifest: Manifest, served: Vectors) -> None:
    if served.shape[1] != manifest.dimension:
        raise EndpointFailure(
            f"The endpoint {client.url} gives vectors of {served.shape[1]} numbers; the exported "
            f"model has {manifest.dimension}.",
            safe="Evaluation and export are kept; nothing was written.",
            next_step="It serves another model: check the URL, or deploy the export again.",
        )


def _check_set(
    context: Context, each: SetResult, client: EndpointClient, on_batch: Callable[[int], None]
) -> SetCheck:
    folder = context.inputs["eval"].folder
    content, stored = read_set(folder, each.name), read_vectors(folder, each.name)
    queries = [content.queries[key] for key in stored.query_ids]
    passages = [content.passages[key] for key in stored.passage_ids]
    query_vectors = client.embed(queries, "query", on_batch)
    passage_vectors = client.embed(passages, "passage", on_batch)
    measured = each.systems["finetuned"]
    ks = sorted({int(metric.partition("@")[2]) for metric in measured})
    ranked = rank_vectors(query_vectors, passage_vectors, stored.passage_ids, max(ks))
    rankings = dict(zip(stored.query_ids, ranked, strict=True))
    per_query = evaluate(content.qrels, rankings, ks)
    before = {
        row.query: row.metrics
        for row in read_per_query(folder, each.name)
        if row.system == "finetuned"
    }
    settings = context.recipe.verify
    return SetCheck(
        name=each.name,
        queries=each.queries,
        rows=compare_metrics(measured, mean_metrics(per_query), each.queries, settings),
        query_drift=measure_drift(stored.queries, query_vectors, stored.query_ids, queries),
        passage_drift=measure_drift(stored.passages, passage_vectors, stored.passage_ids, passages),
        flipped=flipped_queries(before, per_query),
    )


def _row(row: Row) -> dict[str, Any]:
    return {**asdict(row), "difference": row.difference}


def _report(found: Verification) -> dict[str, Any]:
    report = asdict(found)
    for each, row in zip(found.sets, report["sets"], strict=True):
        row["rows"] = [_row(metric) for metric in each.rows]
        row["resolution"] = 1 / each.queries
    return report


def _summary(found: Verification, client: EndpointClient) -> dict[str, Any]:
    reasons = f" {'; '.join(found.reasons)}." if found.reasons else ""
    return {
        "headline": f"{found.verdict}.{reasons}",
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "url": client.url,
        "model": client.model,
        "identity": asdict(found.identity),
        "contract": [asdict(check) for check in found.contract],
        "sets": [
            {
                "name": each.name,
                "queries": each.queries,
                "resolution": 1 / each.queries,
                "rows": [_row(row) for row in each.rows],
                "drift": {
                    "queries": _drift_row(each.query_drift),
                    "passages": _drift_row(each.passage_drift),
                },
                "flipped": list(each.flipped),
            }
            for each in found.sets
        ],
    }


def _drift_row(drift: Drift) -> dict[str, float]:
    return {"mean": drift.mean, "low": drift.low, "min": drift.min}
