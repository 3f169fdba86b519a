"""What `export` writes, and deploying and verification read.

model.onnx, model.fp16.onnx        the graphs, with `.data` beside them from 2 GB on
tokenizer/                         the tokenizer's files
canaries/                          fixed texts with vectors of the fine-tuned and the base model
manifest.json                      how a text becomes a vector, and the hash of every file
parity.json                        how far each graph lies from the encoder
model.plan                         TensorRT, where it was asked for
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import BadInput
from pipeline.files import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT = 1
"""Version of `manifest.json`."""

MANIFEST = "manifest.json"
PARITY = "parity.json"
TOKENIZER = "tokenizer"
CANARIES = "canaries"
PLAN = "model.plan"

INPUTS = ("input_ids", "attention_mask")
"""The graph's inputs: int64, batch x sequence, padded on the right."""

OUTPUT = "embeddings"
"""The graph's output: float32, batch x dimension."""

CanaryKind = Literal["query", "passage"]
CANARY_KINDS: tuple[CanaryKind, ...] = ("query", "passage")
CANARY_MODELS = ("finetuned", "base")


@dataclass(frozen=True)
class Manifest:
    """How the exported model turns a text into a vector.

    Attributes:
        model: digest of the fine-tuned result that was exported.
        profile: the base model's title.
        rehearsal: whether this is a rehearsal's model, which is not for use.
        dtypes: the graphs that were written; the first one is served.
        opset: of every graph.
        pooling: `mean`, `cls` or `last`; inside the graph, as all of the following three.
        normalize: whether vectors are scaled to length 1.
        dimension: numbers a vector has.
        matryoshka: what a vector may be cut to by a server, `dimension` included.
        query_prefix: put before every query by whoever tokenises.
        passage_prefix: put before every passage.
        query_tokens: the longest query, special tokens included.
        passage_tokens: the longest passage.
        padding_side: where the graph expects padding.
        padding_token: its id.
        files: SHA-256 of every graph, plan and tokenizer file, by relative path.
        tensorrt: version and shapes of the plan; empty without one.
        versions: of the tools that wrote this.
    """

    model: str
    profile: str
    rehearsal: bool
    dtypes: tuple[str, ...]
    opset: int
    pooling: str
    normalize: bool
    dimension: int
    matryoshka: tuple[int, ...]
    query_prefix: str
    passage_prefix: str
    query_tokens: int
    passage_tokens: int
    padding_side: str
    padding_token: int
    files: Mapping[str, str]
    tensorrt: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def served(self) -> str:
        """The file name of the graph that is served."""
        return graph_name(self.dtypes[0])


@dataclass(frozen=True)
class Gate:
    """What a graph of one precision has to reach.

    Attributes:
        absolute: largest difference of one number, vectors scaled to length 1; None reports only.
        cosine: smallest cosine.
        tie: scores closer than this may change places in a ranking.
    """

    absolute: float | None
    cosine: float
    tie: float


@dataclass(frozen=True)
class Measured:
    """How far the graph lies from the encoder for some texts.

    Attributes:
        name: the case.
        rows: how many texts.
        width: tokens, padding included.
        absolute: largest difference of one number, vectors scaled to length 1.
        cosine: smallest cosine.
        norm: largest distance of a vector's length from 1; 0 where none is asked for.
    """

    name: str
    rows: int
    width: int
    absolute: float
    cosine: float
    norm: float


@dataclass(frozen=True)
class Parity:
    """One graph's report.

    Attributes:
        dtype: its precision.
        opset: of the written file.
        cases: the grid, then real queries and passages.
        misplaced: passages, of the first `RANKS` of every query, at another place than ties allow.
        bidirectional: whether the first token's state moves with the last token.
        faults: what is wrong, in words; empty when the graph is the model.
    """

    dtype: str
    opset: int
    cases: tuple[Measured, ...]
    misplaced: int
    bidirectional: bool
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Canaries:
    """Fixed texts with the vectors that they must have.

    Attributes:
        texts: without prefix.
        vectors: `[texts, dimension]` float32, by model (`finetuned`, `base`) and kind.
    """

    texts: tuple[str, ...]
    vectors: Mapping[tuple[str, CanaryKind], npt.NDArray[np.float32]]


def graph_name(dtype: str) -> str:
    """The file name of the graph of one precision."""
    return "model.onnx" if dtype == "fp32" else f"model.{dtype}.onnx"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`."""
    write_json(folder / MANIFEST, {"format": FORMAT, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export.

    Raises:
        BadInput: it is missing, damaged or of a later format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise _unusable(path, "is missing")
    row = read_json(path)
    if not isinstance(row, dict) or row.pop("format", None) != FORMAT:
        raise _unusable(path, "has a format that this version doesn't know")
    for name in ("dtypes", "matryoshka"):
        row[name] = tuple(row[name])
    return Manifest(**row)


def read_parity(folder: Path) -> tuple[tuple[Parity, Gate], ...]:
    """Every graph's report with the gate that it had to pass; none where none was written.

    A graph that is not the model has its report, too, in the folder of the attempt that failed.

    Raises:
        BadInput: it is damaged or of a later format.
    """
    path = folder / PARITY
    if not path.is_file():
        return ()
    try:
        return tuple(_parity(dict(each)) for each in read_json(path)["graphs"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _unusable(path, "has a format that this version doesn't know") from None


def _parity(graph: dict[str, Any]) -> tuple[Parity, Gate]:
    gate = Gate(**graph.pop("gate"))
    cases = tuple(Measured(**case) for case in graph.pop("cases"))
    return Parity(**{**graph, "cases": cases, "faults": tuple(graph["faults"])}), gate


def canaries_path(folder: Path, model: str, kind: CanaryKind) -> Path:
    """Where the canaries' vectors by one model lie."""
    return folder / CANARIES / f"{model}.{kind}.npy"


def canary_texts_path(folder: Path) -> Path:
    """Where the canaries' texts lie."""
    return folder / CANARIES / "texts.json"


def read_canaries(folder: Path) -> Canaries:
    """The canaries of an export."""
    # Here, so that reading a manifest doesn't wait for numpy.
    import numpy as np

    vectors = {
        (model, kind): np.load(canaries_path(folder, model, kind), allow_pickle=False)
        for model in CANARY_MODELS
        for kind in CANARY_KINDS
    }
    return Canaries(tuple(read_json(canary_texts_path(folder))), vectors)


def _unusable(path: Path, what: str) -> BadInput:
    return BadInput(
        f"{path} {what}.",
        safe="Nothing was changed.",
        next_step="Export the model again: `embedsmith export RUN`.",
    )
