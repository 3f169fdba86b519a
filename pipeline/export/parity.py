"""Whether a graph is the same model: compared with the encoder's own code path.

The encoder gets every text alone and unpadded; the graph gets them padded and mixed. So a mask
that leaks, a wrong pooling and a vector that depends on its neighbours all show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from pipeline.bidirectional import is_bidirectional
from pipeline.encoder import Encoder
from pipeline.export.graph import EmbeddingGraph
from pipeline.export.records import INPUTS, OUTPUT, Gate, Measured, Parity

Vectors = NDArray[np.float32]

RANKS = 10
"""How many of the best passages have to come in the same order."""

NORM_TOLERANCE = 1e-3
"""How far a normalised vector's length may lie from 1."""

_TEXTS_A_BATCH = 8
_MOVES = 1e-6
_PROBE_TOKENS = 8
_GRID_SEED = 0


GATES = {"fp32": Gate(1e-4, 0.99999, 1e-4), "fp16": Gate(None, 0.9999, 5e-3)}
"""fp32 is 1e-7 in practice, so 1e-4 means a fault; fp16 has 11 bits, so a vector's numbers move
by some 1e-4, and scores by less than the ties here."""


@dataclass(frozen=True)
class Case:
    """A batch: token ids a row, and the width that the graph gets it padded to."""

    name: str
    token_ids: tuple[tuple[int, ...], ...]
    width: int


@dataclass(frozen=True)
class Reference:
    """What the encoder says, before the model is changed for export.

    Attributes:
        cases: the grid of batches and lengths.
        vectors: the encoder's, for each case.
        queries: token ids of real queries.
        passages: token ids of real passages.
        query_vectors: the encoder's.
        passage_vectors: the encoder's.
        bidirectional: whether the first token's state moves with the last token.
        padding: the padding token's id.
        normalized: whether vectors have length 1.
    """

    cases: tuple[Case, ...]
    vectors: tuple[Vectors, ...]
    queries: list[list[int]]
    passages: list[list[int]]
    query_vectors: Vectors
    passage_vectors: Vectors
    bidirectional: bool
    padding: int
    normalized: bool


def take_reference(encoder: Encoder, queries: Sequence[str], passages: Sequence[str]) -> Reference:
    """Encode the grid and the real texts with the encoder, each text alone."""
    cases = make_grid(encoder)
    with torch.inference_mode():
        vectors = tuple(
            np.concatenate([encoder.forward([row]).cpu().numpy() for row in case.token_ids])
            for case in cases
        )
    return Reference(
        cases=cases,
        vectors=vectors,
        queries=encoder.tokenize(queries, "query"),
        passages=encoder.tokenize(passages, "passage"),
        query_vectors=encoder.encode(queries, "query"),
        passage_vectors=encoder.encode(passages, "passage"),
        bidirectional=is_bidirectional(encoder.model, encoder.tokenizer),
        padding=int(encoder.tokenizer.pad_token_id),
        normalized=encoder.profile.normalize,
    )


def make_grid(encoder: Encoder) -> tuple[Case, ...]:
    """Batches and lengths: single, padded, mixed, and the longest text that the model is given."""
    longest = max(encoder.tokens_max("query"), encoder.tokens_max("passage"))
    shapes: tuple[tuple[str, tuple[int, ...], int], ...] = (
        ("1x3", (3,), 3),
        ("1x3 padded", (3,), 16),
        ("2x7", (7, 7), 7),
        ("4x33 mixed", (33, 1, 17, 32), 33),
        ("3x128 mixed", (128, 5, 64), 128),
        (f"2x{longest} mixed", (longest, 9), longest),
    )
    special = set(encoder.tokenizer.all_special_ids)
    usable = np.array([t for t in range(len(encoder.tokenizer)) if t not in special])
    chance = np.random.default_rng(_GRID_SEED)
    return tuple(
        Case(
            name,
            tuple(
                tuple(int(t) for t in chance.choice(usable, min(length, longest)))
                for length in lengths
            ),
            min(width, longest),
        )
        for name, lengths, width in shapes
    )


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """The graph on the CPU, in an order of operations that repeats."""
    options = onnxruntime.SessionOptions()
    options.use_deterministic_compute = True
    # Threads that wait by spinning cost a shared machine more than they gain.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_graph(
    session: onnxruntime.InferenceSession,
    token_ids: Sequence[Sequence[int]],
    width: int,
    padding: int,
) -> Vectors:
    """Vectors of one batch, padded on the right to `width`."""
    ids = np.full((len(token_ids), width), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    vectors: Vectors = session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0]
    return vectors


def compare(
    session: onnxruntime.InferenceSession,
    graph: EmbeddingGraph,
    reference: Reference,
    dtype: str,
    opset: int,
) -> Parity:
    """Measure one written graph against the encoder.

    Args:
        session: the written file.
        graph: the module that was written, for its hidden states.
        reference: what the encoder says.
        dtype: `fp32` or `fp16`.
        opset: of the written file.
    """
    cases = [
        _measure(
            case.name,
            run_graph(session, case.token_ids, case.width, reference.padding),
            expected,
            case.width,
            reference.normalized,
        )
        for case, expected in zip(reference.cases, reference.vectors, strict=True)
    ]
    queries = _in_batches(session, reference.queries, reference.padding)
    passages = _in_batches(session, reference.passages, reference.padding)
    for name, found, expected, tokens in (
        ("queries", queries, reference.query_vectors, reference.queries),
        ("passages", passages, reference.passage_vectors, reference.passages),
    ):
        width = max(len(row) for row in tokens)
        cases.append(_measure(name, found, expected, width, reference.normalized))
    with np.errstate(invalid="ignore"):  # numbers that are not finite were found above
        scores = queries @ passages.T
    expected_scores = reference.query_vectors @ reference.passage_vectors.T
    misplaced = count_misplaced(expected_scores, scores, GATES[dtype].tie)
    moves = moves_first_token(graph, reference.cases[-1].token_ids[0])
    return Parity(
        dtype=dtype,
        opset=opset,
        cases=tuple(cases),
        misplaced=misplaced,
        bidirectional=moves,
        faults=_faults(cases, misplaced, moves, reference, GATES[dtype]),
    )


def count_misplaced(expected: NDArray[np.float32], found: NDArray[np.float32], tie: float) -> int:
    """How many of the best passages stand at another place than ties allow.

    Args:
        expected: scores by the encoder, `[queries, passages]`.
        found: scores by the graph.
        tie: expected scores closer than this are one rank.
    """
    misplaced = 0
    for before, after in zip(expected, found, strict=True):
        order = np.argsort(-after, kind="stable")[:RANKS]
        left = np.ones(len(before), dtype=bool)
        for passage in order:
            misplaced += int(before[left].max() - before[passage] > tie)
            left[passage] = False
    return misplaced


def moves_first_token(graph: EmbeddingGraph, tokens: Sequence[int]) -> bool:
    """Whether the first of the first tokens' states moves when the last of them changes."""
    *start, last, other = tokens[:_PROBE_TOKENS]
    mask = torch.ones((1, len(start) + 1), dtype=torch.long)
    with torch.inference_mode():
        states = [
            graph.hidden(torch.tensor([[*start, end]]), mask)[0, 0].float() for end in (last, other)
        ]
    return float((states[0] - states[1]).abs().max()) > _MOVES


def parity_row(parity: Parity) -> dict[str, Any]:
    """A report as the JSON object of `parity.json`, with the gate that it had to pass."""
    return {**asdict(parity), "gate": asdict(GATES[parity.dtype])}


def _in_batches(
    session: onnxruntime.InferenceSession, token_ids: Sequence[Sequence[int]], padding: int
) -> Vectors:
    batches = [
        token_ids[start : start + _TEXTS_A_BATCH]
        for start in range(0, len(token_ids), _TEXTS_A_BATCH)
    ]
    return np.concatenate(
        [run_graph(session, batch, max(map(len, batch)), padding) for batch in batches]
    )


def _measure(
    name: str, found: Vectors, expected: Vectors, width: int, normalized: bool
) -> Measured:
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = ((found / norms) * (expected / lengths)).sum(axis=1)
        worst = float(np.abs((found - expected) / lengths).max())
    finite = bool(np.isfinite(found).all())
    return Measured(
        name=name,
        rows=len(found),
        width=width,
        # JSON has no NaN; these are as far off as can be.
        absolute=worst if finite else 2.0,
        cosine=float(cosines.min()) if finite else -1.0,
        norm=float(np.abs(norms - 1).max()) if normalized and finite else 0.0,
    )


def _faults(
    cases: Sequence[Measured], misplaced: int, moves: bool, reference: Reference, gate: Gate
) -> tuple[str, ...]:
    faults = []
    worst = min(cases, key=lambda case: case.cosine)
    if worst.cosine < gate.cosine:
        faults.append(f"cosine {worst.cosine:.6f} < {gate.cosine} for {worst.name}")
    widest = max(cases, key=lambda case: case.absolute)
    if gate.absolute is not None and widest.absolute > gate.absolute:
        faults.append(f"difference {widest.absolute:.2e} > {gate.absolute} for {widest.name}")
    longest = max(cases, key=lambda case: case.norm)
    if longest.norm > NORM_TOLERANCE:
        faults.append(f"vector length off by {longest.norm:.2e} for {longest.name}")
    if misplaced:
        faults.append(f"{misplaced} passages ranked at another place")
    if moves != reference.bidirectional:
        faults.append(f"attention goes {'both ways' if moves else 'one way'}, unlike the encoder's")
    return tuple(faults)
