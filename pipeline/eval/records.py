"""What `eval` writes, and `export`'s parity, verification, reports and screens read.

metrics.json                       every system on every set, differences, verdicts
per_query/<set>.jsonl              one line a query and system
rankings/<set>/<system>.jsonl      one line a query: the passages found, best first
vectors/<set>/{queries,passages}.npy, .ids.json    the fine-tuned model's vectors
sets/<set>/                        the set itself, in BEIR form
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pipeline.beir import EvalSet, Metrics, Ranking, read_beir
from pipeline.files import read_json, read_jsonl

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

System = Literal["base", "finetuned", "bm25"]
SYSTEMS: tuple[System, ...] = ("base", "finetuned", "bm25")

Verdict = Literal["better", "worse", "no clear difference", "too few queries"]

SYNTHETIC = "synthetic"
"""The name of the set of held-out synthetic questions."""

SPLIT: Final = "test"
"""The split that every stored set has."""

QUERIES_MIN = 50
"""Fewer queries give no verdict: error rates of comparisons are known from 50 topics on
(Voorhees and Buckley, "The effect of topic set size on retrieval experiment error", SIGIR 2002)."""

METRICS = "metrics.json"
SETS = "sets"


@dataclass(frozen=True)
class Difference:
    """Fine-tuned minus base, mean over the queries.

    Attributes:
        mean: the mean difference.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SetResult:
    """One eval set, measured.

    Attributes:
        name: the set's folder name, or `SYNTHETIC`.
        queries: how many queries.
        passages: how many passages.
        systems: means over the queries, by system.
        difference: fine-tuned minus base, by metric.
        headline: the metric that the verdict is about.
        verdict: the headline's difference in words.
    """

    name: str
    queries: int
    passages: int
    systems: Mapping[System, Metrics]
    difference: Mapping[str, Difference]
    headline: str
    verdict: Verdict


@dataclass(frozen=True)
class EvalResult:
    """Every eval set of a run, the synthetic one first."""

    sets: tuple[SetResult, ...]


@dataclass(frozen=True)
class QueryResult:
    """One query by one system.

    Attributes:
        query: its id.
        system: who ranked.
        metrics: its values.
        first_relevant: rank, from 1, of the first relevant passage; None when none was found.
    """

    query: str
    system: System
    metrics: Metrics
    first_relevant: int | None


@dataclass(frozen=True)
class StoredVectors:
    """Vectors of the fine-tuned model for one set.

    Attributes:
        query_ids: in the order of the rows.
        queries: `[queries, dimension]`, float32.
        passage_ids: in the order of the rows.
        passages: `[passages, dimension]`, float32.
    """

    query_ids: tuple[str, ...]
    queries: npt.NDArray[np.float32]
    passage_ids: tuple[str, ...]
    passages: npt.NDArray[np.float32]


def read_eval(folder: Path) -> EvalResult:
    """The metrics of an eval result."""
    return EvalResult(tuple(_set_result(row) for row in read_json(folder / METRICS)["sets"]))


def sets_of(folder: Path) -> tuple[str, ...]:
    """The names of the sets of an eval result, in its order."""
    return tuple(each.name for each in read_eval(folder).sets)


def eval_row(result: EvalResult) -> dict[str, Any]:
    """A result as the JSON object of `metrics.json`."""
    return asdict(result)


def read_set(folder: Path, name: str) -> EvalSet:
    """An eval set as it was measured."""
    return read_beir(folder / SETS / name, SPLIT)


def read_per_query(folder: Path, name: str) -> Iterator[QueryResult]:
    """Every query of a set by every system, system by system."""
    return (QueryResult(**row) for row in read_jsonl(per_query_path(folder, name)))


def read_rankings(folder: Path, name: str, system: System) -> dict[str, Ranking]:
    """The passages that a system found, by query id."""
    return {
        row["query"]: tuple((passage, score) for passage, score in row["passages"])
        for row in read_jsonl(rankings_path(folder, name, system))
    }


def read_vectors(folder: Path, name: str) -> StoredVectors:
    """The fine-tuned model's vectors for a set."""
    # Here, so that reading metrics for a screen doesn't wait for numpy.
    import numpy as np

    arrays, ids = {}, {}
    for what in ("queries", "passages"):
        path = vectors_path(folder, name, what)
        arrays[what] = np.load(path, allow_pickle=False)
        ids[what] = tuple(read_json(path.with_suffix(".ids.json")))
    return StoredVectors(ids["queries"], arrays["queries"], ids["passages"], arrays["passages"])


def per_query_path(folder: Path, name: str) -> Path:
    """Where the per-query metrics of a set lie."""
    return folder / "per_query" / f"{name}.jsonl"


def rankings_path(folder: Path, name: str, system: System) -> Path:
    """Where the rankings of a set by one system lie."""
    return folder / "rankings" / name / f"{system}.jsonl"


def vectors_path(folder: Path, name: str, what: str) -> Path:
    """Where the vectors of a set's `queries` or `passages` lie; ids stand beside them."""
    return folder / "vectors" / name / f"{what}.npy"


def _set_result(row: Mapping[str, Any]) -> SetResult:
    differences = {name: Difference(**value) for name, value in row["difference"].items()}
    return SetResult(**{**row, "difference": differences})
