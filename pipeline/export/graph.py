"""The encoder as one ONNX graph: attention mask, pooling, dimension cut and normalisation inside.

The TorchScript exporter writes the opset that it is asked for; the newer one writes 18 when
asked for 17. Attention is eager: the fused kind brings guards into the graph that cost time and
block TensorRT's own fusion, and in fp16 it makes BERT's graph invalid.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import onnx
import torch
from torch.nn import functional

from pipeline.encoder import Encoder
from pipeline.errors import StageFailure, brief
from pipeline.export.records import INPUTS, OUTPUT
from pipeline.files import sync_folder

OPSETS = range(17, 21)
"""17 is the first with LayerNormalization, 20 the last that the TorchScript exporter writes."""

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}

_BIDIRECTIONAL = frozenset({"llama_bidirectional", "ministral3_bidirectional"})
"""Architectures whose library mask is causal by nature and depends on the version."""

_MEAN_FLOOR = 1e-9
"""Keeps an all-padding row from dividing by zero."""


class EmbeddingGraph(torch.nn.Module):
    """Token ids and mask to vectors, in operations that export alike in every version.

    A decoder gets our own 4-D mask, which the library hands through untouched: so neither its
    causal default nor its tracing matters. Other models get the mask that the encoder gives.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._model = encoder.model
        self._pooling = encoder.profile.pooling
        self._dimension = encoder.dimension
        self._normalize = encoder.profile.normalize
        self._own_mask = encoder.profile.architecture in _BIDIRECTIONAL

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors, (batch, dimension) float32.

        Args:
            input_ids: (batch, sequence) int64, padded on the right.
            attention_mask: the same shape, 1 for a token and 0 for padding.
        """
        hidden = self.hidden(input_ids, attention_mask).float()
        pooled = self._pool(hidden, attention_mask)[:, : self._dimension]
        return functional.normalize(pooled, dim=1) if self._normalize else pooled

    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Last hidden states, (batch, sequence, width), in the model's precision."""
        mask = self._mask(attention_mask) if self._own_mask else attention_mask
        states: torch.Tensor = self._model(
            input_ids=input_ids, attention_mask=mask
        ).last_hidden_state
        return states

    def _mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """Added to attention scores: 0 for a token, the lowest number for padding."""
        batch, length = attention_mask.shape
        keep = attention_mask.bool()[:, None, None, :].expand(batch, 1, length, length)
        dtype = self._model.dtype
        return torch.zeros(keep.shape, dtype=dtype).masked_fill(~keep, torch.finfo(dtype).min)

    def _pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self._pooling == "cls":
            return hidden[:, 0]
        if self._pooling == "last":
            last = attention_mask.sum(dim=1) - 1
            place = last[:, None, None].expand(-1, 1, hidden.shape[2])
            return hidden.gather(1, place)[:, 0]
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=_MEAN_FLOOR)


def make_graph(encoder: Encoder, dtype: str) -> EmbeddingGraph:
    """The graph in one precision. It changes the encoder's model in place, to save memory."""
    encoder.model.set_attn_implementation("eager")
    torch.nn.Module.to(encoder.model, DTYPES[dtype])
    graph = EmbeddingGraph(encoder)
    # The exporter restores the mode it found: a graph in training mode would bring dropout back.
    graph.train(False)
    return graph


def write_onnx(graph: torch.nn.Module, path: Path, opset: int) -> tuple[str, ...]:
    """Write one graph; returns the names of its files.

    Weights above 2 GB, which the exporter scatters over many files, go into one beside it.

    Raises:
        StageFailure: the written file is no valid ONNX, or of another opset.
        OSError: the disk is full.
    """
    beside = path.parent / f".{path.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    written = beside / path.name
    _trace(graph, written, opset)
    if len(list(beside.iterdir())) > 1:
        model = onnx.load(str(written))
        shutil.rmtree(beside)
        beside.mkdir()
        onnx.save_model(
            model,
            str(written),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=f"{path.name}.data",
        )
        del model
    check_onnx(written, opset)
    names = sorted(each.name for each in beside.iterdir())
    for name in names:
        (beside / name).replace(path.parent / name)
    beside.rmdir()
    sync_folder(path.parent)
    return tuple(names)


def check_onnx(path: Path, opset: int) -> None:
    """Check a written graph.

    Raises:
        StageFailure: the checker refuses it, or its opset isn't the one asked for.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _refused(f"The ONNX checker refuses {path.name}: {brief(error)}") from error
    found = opset_of(path)
    if found != opset:
        raise _refused(f"{path.name} has opset {found}, but {opset} was asked for.")


def opset_of(path: Path) -> int:
    """The opset of the written file; what the exporter was asked for proves nothing."""
    model = onnx.load(str(path), load_external_data=False)
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return int(versions[0])


def _trace(graph: torch.nn.Module, path: Path, opset: int) -> None:
    ids = torch.tensor([[1, 2, 3, 4, 0, 0], [1, 2, 3, 4, 5, 6]])
    # Padded, so that no tracer can take the mask for a constant.
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    axes = {name: {0: "batch", 1: "sequence"} for name in INPUTS}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that this exporter is deprecated, and tracing's
        torch.onnx.export(
            graph,
            (ids, mask),
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={**axes, OUTPUT: {0: "batch"}},
            opset_version=opset,
            dynamo=False,
        )


def _refused(happened: str) -> StageFailure:
    return StageFailure(
        happened,
        safe="The fine-tuned model is finished and kept.",
        next_step="Install the versions of constraints.txt and export again.",
    )
