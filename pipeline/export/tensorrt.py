"""An ONNX graph as a TensorRT plan, for TensorRT 10 and 11.

A plan belongs to one TensorRT version and one GPU; the ONNX file is the portable artefact.
Version 11 has no precision flags any more: a strongly typed network takes the graph's own
precision, and version 10 does so too when asked.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import BadRecipe, MissingPart, StageFailure
from pipeline.export.records import INPUTS
from pipeline.files import replacing
from pipeline.settings import EncoderSettings, ExportSettings

_MAJOR_VERSIONS = ("10", "11")


class TensorRt(Protocol):
    """The part of the package `tensorrt` that is used; its classes come without types."""

    __version__: str
    Logger: Any
    Builder: Any
    OnnxParser: Any
    NetworkDefinitionCreationFlag: Any


@dataclass(frozen=True)
class Shapes:
    """Minimum, optimum and maximum of a plan's batch and sequence."""

    batch: tuple[int, int, int]
    sequence: tuple[int, int, int]


def open_tensorrt() -> TensorRt:
    """The installed TensorRT.

    Raises:
        MissingPart: it isn't installed, lacks its libraries, or is of another major version.
    """
    try:
        # Any: the package has no types, and may not be there.
        library: Any = importlib.import_module("tensorrt")
    except ImportError as error:
        raise _missing(f"TensorRT can't be loaded: {error}.") from error
    if library.__version__.partition(".")[0] not in _MAJOR_VERSIONS:
        raise _missing(f"TensorRT {library.__version__} is neither 10 nor 11.")
    found: TensorRt = library
    return found


def plan_shapes(export: ExportSettings, encoder: EncoderSettings) -> Shapes:
    """The shapes of the recipe, the longest sequence widened to what the model was trained on.

    Raises:
        BadRecipe: a setting isn't three numbers in ascending order.
    """
    batch = _three("export.tensorrt_batch", export.tensorrt_batch)
    low, middle, high = _three("export.tensorrt_sequence", export.tensorrt_sequence)
    trained = max(encoder.query_tokens, encoder.passage_tokens)
    return Shapes(batch, (low, middle, max(high, trained)))


def build_plan(library: TensorRt, onnx: Path, plan: Path, shapes: Shapes) -> Mapping[str, Any]:
    """Build and write a plan; returns what the manifest says of it.

    Raises:
        StageFailure: TensorRT can't parse the graph, refuses the shapes, or builds nothing.
        OSError: the disk is full.
    """
    logger = library.Logger(library.Logger.WARNING)
    builder = library.Builder(logger)
    # Needed on 10, where it is an option; on 11 every network is so.
    strongly_typed = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = library.OnnxParser(network, logger)
    # From the file, not from memory: weights may lie beside it.
    if not parser.parse_from_file(str(onnx)):
        errors = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        raise _failed(f"can't parse {onnx.name}: {'; '.join(errors)[:600] or 'no reason given'}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name in INPUTS:
        profile.set_shape(name, *zip(shapes.batch, shapes.sequence, strict=True))
    if config.add_optimization_profile(profile) < 0:
        raise _failed(f"refuses the shapes {shapes.batch} x {shapes.sequence}")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _failed("built no engine; its own messages are in the worker's log")
    with replacing(plan) as temporary:
        temporary.write_bytes(bytes(engine))
    return {
        "version": library.__version__,
        "source": onnx.name,
        "batch": list(shapes.batch),
        "sequence": list(shapes.sequence),
    }


def _three(name: str, values: tuple[int, ...]) -> tuple[int, int, int]:
    if len(values) != 3 or not 1 <= values[0] <= values[1] <= values[2]:
        raise BadRecipe(
            f"{name} = {list(values)}, but it must be a minimum, an optimum and a maximum.",
            safe="Nothing was changed.",
            next_step=f"Correct it, for example --set '{name}=[1, 16, 64]'.",
        )
    return values[0], values[1], values[2]


def _missing(happened: str) -> MissingPart:
    return MissingPart(
        happened,
        safe="The fine-tuned model is finished and kept.",
        next_step="Install embedsmith[tensorrt] (its libraries come from pypi.nvidia.com), or "
        "export ONNX alone: `--set export.tensorrt=false`.",
    )


def _failed(what: str) -> StageFailure:
    return StageFailure(
        f"TensorRT {what}.",
        safe="The fine-tuned model is finished and kept; the ONNX graphs were written.",
        next_step="Export ONNX alone (`--set export.tensorrt=false`), or use another TensorRT.",
    )
