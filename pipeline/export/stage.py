"""The stage `export`: the fine-tuned model as ONNX, proven to be the same model."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.context import Context, Outcome
from pipeline.encoder import Encoder, load_encoder
from pipeline.errors import BadRecipe, StageFailure
from pipeline.export.canaries import TEXTS, write_canaries
from pipeline.export.graph import DTYPES, OPSETS, make_graph, opset_of, write_onnx
from pipeline.export.parity import Reference, compare, open_session, parity_row
from pipeline.export.parity import take_reference as encode_reference
from pipeline.export.records import (
    CANARIES,
    CANARY_KINDS,
    MANIFEST,
    PARITY,
    PLAN,
    TOKENIZER,
    Manifest,
    Parity,
    graph_name,
    write_manifest,
)
from pipeline.export.tensorrt import Shapes, TensorRt, build_plan, open_tensorrt, plan_shapes
from pipeline.files import digest_file, write_json
from pipeline.packages import installed
from pipeline.prep.records import read_held_out
from pipeline.profiles import weights_folder

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)

_TOOLS = ("torch", "transformers", "onnx", "onnxruntime")

_QUERIES_COMPARED = 16
_PASSAGES_COMPARED = 32
"""Real texts in the parity check: enough for rankings, minutes for a large model on a CPU."""

_STEPS_BESIDES_GRAPHS = 2

_PLAN_WARNING = (
    "The TensorRT plan was built, not compared: verification measures it where it is served."
)


def execute(context: Context) -> Outcome:
    """Write every graph that the recipe asks for, and compare it with the encoder.

    Everything runs on the CPU in float32: the comparison is exact there, and repeats.

    Raises:
        BadRecipe: opset or TensorRT shapes can't be.
        MissingPart: TensorRT is asked for and not there, or the base weights are not.
        StageFailure: a graph is invalid, of another opset, or not the same model.
    """
    _check_opset(context.recipe.export.opset)
    library, shapes = _tensorrt(context)
    for name in (CANARIES, TOKENIZER):
        # Half-written files of an attempt that was killed would count as output.
        shutil.rmtree(context.folder / name, ignore_errors=True)
    model = context.inputs["finetune"].folder / "model"
    _step(context, 0, "fine-tuned model encoded")
    encoder = load_encoder(model, context.profile, context.recipe.encoder, "cpu")
    reference = encode_reference(encoder, *_real_texts(context))
    _write_canaries(context, encoder, "finetuned")
    files = _copy_tokenizer(model, context.folder)
    reports, graphs = _write_graphs(context, encoder, reference)
    files += graphs
    limits: dict[str, int] = {kind: encoder.tokens_max(kind) for kind in CANARY_KINDS}
    del encoder
    gc.collect()  # two models may not fit into memory
    _step(context, _steps(context) - 1, "base model encoded")
    base = load_encoder(
        weights_folder(context.profile), context.profile, context.recipe.encoder, "cpu"
    )
    _write_canaries(context, base, "base")
    plan = _write_plan(context, library, shapes)
    files += [PLAN] if plan else []
    write_manifest(context.folder, _manifest(context, reference, limits, files, plan))
    # Without a poll: what is finished is kept, whatever is asked now.
    context.events.progress(_steps(context), _steps(context), "exported")
    return Outcome(
        outputs=(MANIFEST, PARITY, TOKENIZER, CANARIES, *graphs, *([PLAN] if plan else [])),
        summary=_summary(context, reports, plan),
    )


def _check_opset(opset: int) -> None:
    if opset not in OPSETS:
        raise BadRecipe(
            f"export.opset = {opset}, but it must be one of {OPSETS[0]} to {OPSETS[-1]}.",
            safe="Nothing was changed.",
            next_step="Correct it; 17 is what serving is tested with.",
        )


def _tensorrt(context: Context) -> tuple[TensorRt | None, Shapes | None]:
    """TensorRT and its shapes where they are asked for, before any long work is done."""
    if not context.recipe.export.tensorrt:
        return None, None
    shapes = plan_shapes(context.recipe.export, context.recipe.encoder)
    return open_tensorrt(), shapes


def _real_texts(context: Context) -> tuple[Sequence[str], Sequence[str]]:
    """Held-out questions, with passages that answer them first; without any, the canaries."""
    prep = context.inputs.get("prep")
    held_out = read_held_out(prep.folder, "test") if prep else None
    if held_out is None:
        return TEXTS[:_QUERIES_COMPARED], TEXTS
    chosen = list(held_out.queries)[:_QUERIES_COMPARED]
    relevant = [passage for query in chosen for passage in held_out.qrels[query]]
    passages = list(dict.fromkeys([*relevant, *held_out.passages]))[:_PASSAGES_COMPARED]
    return [held_out.queries[q] for q in chosen], [held_out.passages[p] for p in passages]


def _write_graphs(
    context: Context, encoder: Encoder, reference: Reference
) -> tuple[list[Parity], list[str]]:
    """Every graph with its report; the report is written before it can fail the stage."""
    reports: list[Parity] = []
    names: list[str] = []
    # fp32 first whatever the recipe's order: the model is changed in place.
    for done, dtype in enumerate(d for d in DTYPES if d in context.recipe.export.dtypes):
        _step(context, done + 1, f"{dtype} graph written and compared")
        graph = make_graph(encoder, dtype)
        path = context.folder / graph_name(dtype)
        written = write_onnx(graph, path, context.recipe.export.opset)
        names += written
        report = compare(open_session(path), graph, reference, dtype, opset_of(path))
        reports.append(report)
        write_json(context.folder / PARITY, {"graphs": [parity_row(each) for each in reports]})
        if report.faults:
            raise _another_model(path, report)
        context.events.artifact(path.name, f"ONNX graph, {dtype}, opset {report.opset}")
    return reports, names


def _another_model(path: Path, report: Parity) -> StageFailure:
    return StageFailure(
        f"{path.name} is not the fine-tuned model: {'; '.join(report.faults)}.",
        safe="The fine-tuned model is finished and kept; the graph is not used.",
        next_step=f"{path.parent / PARITY} has every figure. Install the versions of "
        "constraints.txt, or leave this precision out of export.dtypes, and export again.",
    )


def _write_canaries(context: Context, encoder: Encoder, model: str) -> None:
    def poll(done: int, total: int) -> None:
        context.control.poll()

    write_canaries(context.folder, encoder, model, poll)


def _copy_tokenizer(model: Path, folder: Path) -> list[str]:
    (folder / TOKENIZER).mkdir(parents=True)
    copied = [name for name in _TOKENIZER_FILES if (model / name).is_file()]
    for name in copied:
        shutil.copyfile(model / name, folder / TOKENIZER / name)
    return [f"{TOKENIZER}/{name}" for name in copied]


def _write_plan(
    context: Context, library: TensorRt | None, shapes: Shapes | None
) -> Mapping[str, Any]:
    if library is None or shapes is None:
        return {}
    onnx = context.folder / graph_name(context.recipe.export.dtypes[0])
    plan = build_plan(library, onnx, context.folder / PLAN, shapes)
    context.events.artifact(PLAN, f"TensorRT {library.__version__} plan")
    context.events.log(_PLAN_WARNING, level="warning")
    return plan


def _manifest(
    context: Context,
    reference: Reference,
    limits: Mapping[str, int],
    files: Sequence[str],
    plan: Mapping[str, Any],
) -> Manifest:
    profile, recipe = context.profile, context.recipe
    dimension = recipe.encoder.dimension or profile.dimension
    return Manifest(
        model=context.inputs["finetune"].digest,
        profile=profile.title,
        rehearsal=profile.rehearsal,
        dtypes=recipe.export.dtypes,
        opset=recipe.export.opset,
        pooling=profile.pooling,
        normalize=profile.normalize,
        dimension=dimension,
        matryoshka=(*(d for d in profile.matryoshka if d < dimension), dimension),
        query_prefix=profile.query_prefix,
        passage_prefix=profile.passage_prefix,
        query_tokens=limits["query"],
        passage_tokens=limits["passage"],
        padding_side="right",
        padding_token=reference.padding,
        files={name: digest_file(context.folder / name) for name in files},
        tensorrt=plan,
        versions={tool: version(_distribution(tool)) for tool in _TOOLS},
    )


def _distribution(tool: str) -> str:
    return "onnxruntime-gpu" if tool == "onnxruntime" and not installed(tool) else tool


def _summary(
    context: Context, reports: Sequence[Parity], plan: Mapping[str, Any]
) -> dict[str, Any]:
    graphs = [
        {
            "file": graph_name(report.dtype),
            "dtype": report.dtype,
            "opset": report.opset,
            "megabytes": round(_size(context.folder, report.dtype) / 1e6, 1),
            "cosine": min(case.cosine for case in report.cases),
            "difference": max(case.absolute for case in report.cases),
            "misplaced": report.misplaced,
        }
        for report in reports
    ]
    said = [
        f"{graph['file']} (opset {graph['opset']}, {graph['megabytes']} MB) is the model: "
        f"cosine >= {graph['cosine']:.6f}, rankings equal."
        for graph in graphs
    ]
    return {
        "headline": " ".join(said),
        "graphs": graphs,
        "tensorrt": dict(plan),
        "warnings": [_PLAN_WARNING] if plan else [],
    }


def _size(folder: Path, dtype: str) -> int:
    name = graph_name(dtype)
    return sum(path.stat().st_size for path in folder.glob(f"{name}*"))


def _steps(context: Context) -> int:
    return len(context.recipe.export.dtypes) + _STEPS_BESIDES_GRAPHS


def _step(context: Context, done: int, what: str) -> None:
    context.report(done, _steps(context), what)
