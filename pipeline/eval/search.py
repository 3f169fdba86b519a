"""Every system's rankings of every eval set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.beir import Ranking
from pipeline.cache import Vector, encode_cached
from pipeline.context import Context
from pipeline.encoder import Kind, load_encoder
from pipeline.eval.records import System, vectors_path
from pipeline.eval.sets import NamedSet
from pipeline.files import canonical_json, replacing, write_text
from pipeline.memory import memory_failures
from pipeline.profiles import weights_folder
from pipeline.rankings import rank_bm25, rank_vectors
from pipeline.weights import weights_digest

Found = Mapping[tuple[str, System], Mapping[str, Ranking]]
"""Rankings by query id, by set and system."""


@dataclass(frozen=True)
class Model:
    """One model to search with.

    Attributes:
        system: its name in the results.
        folder: where its weights lie.
        digest: their identity, for the embedding cache.
    """

    system: System
    folder: Path
    digest: str


class _Counter:
    """Texts encoded so far, over all sets and models."""

    def __init__(self, context: Context, total: int) -> None:
        self._context = context
        self._total = total
        self._before = 0

    def on_batch(self, texts: int) -> Callable[[int, int], None]:
        """What reports (done, total) of the uncached among the next `texts`."""

        def report(done: int, uncached: int) -> None:
            self._say(self._before + texts - uncached + done)

        return report

    def add(self, texts: int) -> None:
        """Say that the next `texts` are all encoded."""
        self._before += texts
        self._say(self._before)

    def _say(self, done: int) -> None:
        self._context.report(done, self._total, "texts encoded")


def search(context: Context, sets: Sequence[NamedSet]) -> Found:
    """Rank every set by base, fine-tuned and BM25; the fine-tuned model's vectors are written.

    Raises:
        StageFailure: a model gives numbers that are not finite, or memory is full.
        MissingPart: the base weights are not on this machine.
    """
    finetuned = context.inputs["finetune"]
    base_digest = weights_digest(context.profile, context.cache)
    models = (
        Model("base", weights_folder(context.profile), base_digest),
        Model("finetuned", finetuned.folder / "model", finetuned.digest),
    )
    texts = sum(len(each.content.queries) + len(each.content.passages) for each in sets)
    counter = _Counter(context, texts * len(models))
    found: dict[tuple[str, System], Mapping[str, Ranking]] = {}
    for model in models:
        found |= _search_with_model(context, model, sets, counter)
    depth = max(context.recipe.eval.k)
    for each in sets:
        queries, passages = each.content.queries, each.content.passages
        ranked = rank_bm25(queries.values(), list(passages.values()), list(passages), depth)
        found[each.name, "bm25"] = _by_query(context, queries, ranked)
    return found


def _search_with_model(
    context: Context, model: Model, sets: Sequence[NamedSet], counter: _Counter
) -> Found:
    """One model at a time: two may not fit into memory, and this one goes with the call."""
    encoder = load_encoder(model.folder, context.profile, context.recipe.encoder, context.device)

    def encode(texts: Sequence[str], kind: Kind) -> Vector:
        report = counter.on_batch(len(texts))
        with memory_failures(context.recipe, context.device, "encoder.batch_size"):
            vectors = encode_cached(encoder, texts, kind, model.digest, context.cache, report)
        counter.add(len(texts))
        return vectors

    found: dict[tuple[str, System], Mapping[str, Ranking]] = {}
    for each in sets:
        queries = encode(list(each.content.queries.values()), "query")
        passages = encode(list(each.content.passages.values()), "passage")
        if model.system == "finetuned":
            _write_vectors(context.folder, each.name, "queries", each.content.queries, queries)
            _write_vectors(context.folder, each.name, "passages", each.content.passages, passages)
        ids, depth = list(each.content.passages), max(context.recipe.eval.k)
        ranked = rank_vectors(queries, passages, ids, depth)
        found[each.name, model.system] = _by_query(context, each.content.queries, ranked)
    return found


def _by_query(
    context: Context, queries: Iterable[str], ranked: Iterable[Ranking]
) -> dict[str, Ranking]:
    rankings = {}
    for query, ranking in zip(queries, ranked, strict=True):
        context.control.poll()
        rankings[query] = ranking
    return rankings


def _write_vectors(folder: Path, name: str, what: str, ids: Iterable[str], rows: Vector) -> None:
    path = vectors_path(folder, name, what)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)
    write_text(path.with_suffix(".ids.json"), canonical_json(list(ids)) + "\n")
