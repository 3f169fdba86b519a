"""The stage writes graphs that are the fine-tuned MiniLM, and everything that serving needs."""

import filecmp
import json
from dataclasses import replace

import numpy as np
import pytest
from surroundings import Control
from tokenizers import Tokenizer

from pipeline.errors import BadRecipe, Cancelled, MissingPart, StageFailure
from pipeline.export import stage
from pipeline.export.canaries import TEXTS
from pipeline.export.graph import EmbeddingGraph, make_graph
from pipeline.export.parity import open_session, run_graph
from pipeline.export.records import read_canaries, read_manifest, write_manifest
from pipeline.files import digest_file


def test_both_precisions_pass_and_every_output_is_there(exported):
    context, outcome = exported
    assert set(outcome.outputs) == {
        "model.onnx",
        "model.fp16.onnx",
        "manifest.json",
        "parity.json",
        "tokenizer",
        "canaries",
    }
    assert all((context.folder / name).exists() for name in outcome.outputs)
    graphs = json.loads((context.folder / "parity.json").read_text())["graphs"]
    assert [(graph["dtype"], graph["opset"]) for graph in graphs] == [("fp32", 17), ("fp16", 17)]
    assert all(graph["faults"] == [] and graph["misplaced"] == 0 for graph in graphs)
    assert min(case["cosine"] for case in graphs[0]["cases"]) > 0.999999
    assert "opset 17" in outcome.summary["headline"]
    assert context.events.steps[-1][0] == context.events.steps[-1][1]


def test_the_manifest_says_how_a_text_becomes_a_vector(exported):
    context, _ = exported
    manifest = read_manifest(context.folder)
    assert (manifest.model, manifest.rehearsal, manifest.opset) == ("d2", True, 17)
    # The recipe's order: the first one is served.
    assert manifest.dtypes == ("fp16", "fp32")
    assert manifest.served == "model.fp16.onnx"
    assert (manifest.dimension, manifest.matryoshka) == (384, (384,))
    assert (manifest.query_tokens, manifest.passage_tokens) == (256, 256)
    assert {"model.onnx", "model.fp16.onnx", "tokenizer/tokenizer.json"} <= set(manifest.files)
    for name, digest in manifest.files.items():
        assert digest_file(context.folder / name) == digest
    assert set(manifest.versions) == {"torch", "transformers", "onnx", "onnxruntime"}


def test_tokenizer_and_graph_alone_give_the_encoders_vectors(exported):
    context, _ = exported
    manifest, canaries = read_manifest(context.folder), read_canaries(context.folder)
    tokenizer = Tokenizer.from_file(str(context.folder / "tokenizer" / "tokenizer.json"))
    session = open_session(context.folder / "model.onnx")
    assert canaries.texts == TEXTS
    for row, text in enumerate(TEXTS):
        ids = tokenizer.encode(manifest.query_prefix + text).ids
        vector = run_graph(session, [ids], len(ids), manifest.padding_token)[0]
        assert np.abs(vector - canaries.vectors["finetuned", "query"][row]).max() < 1e-5


def test_canaries_tell_the_fine_tuned_model_from_the_base_model(exported):
    canaries = read_canaries(exported[0].folder)
    for kind in ("query", "passage"):
        finetuned, base = canaries.vectors["finetuned", kind], canaries.vectors["base", kind]
        assert finetuned.shape == base.shape == (len(TEXTS), 384)
        assert finetuned.dtype == np.float32
        assert ((finetuned * base).sum(axis=1) < 0.9999).all()


def test_a_repeated_export_is_bit_equal_and_cleans_up_after_a_kill(exported, make_context):
    first, _ = exported
    again = make_context(dtypes=["fp16", "fp32"])
    for left in ("canaries/left.npy", ".model.onnx.part/model.onnx", "model.fp16.onnx"):
        (again.folder / left).parent.mkdir(exist_ok=True)
        (again.folder / left).write_bytes(b"torn")
    stage.execute(again)
    names = sorted(str(p.relative_to(first.folder)) for p in first.folder.rglob("*") if p.is_file())
    assert names == sorted(
        str(p.relative_to(again.folder)) for p in again.folder.rglob("*") if p.is_file()
    )
    equal, *others = filecmp.cmpfiles(first.folder, again.folder, names, shallow=False)
    assert (equal, others) == (names, [[], []])


def test_a_cancel_at_the_first_step_comes_after_the_step_was_said(make_context):
    context = replace(make_context(), control=Control(Cancelled()))
    with pytest.raises(Cancelled):
        stage.execute(context)
    assert context.events.steps == [(0, 3, "fine-tuned model encoded")]


def test_a_cancel_that_comes_when_all_is_written_loses_nothing(make_context, monkeypatch):
    context = make_context(dtypes=["fp32"])

    def written_then_cancelled(*arguments):
        write_manifest(*arguments)
        context.control.error = Cancelled()

    monkeypatch.setattr(stage, "write_manifest", written_then_cancelled)
    # The graphs take long, and what comes after them is looked at.
    monkeypatch.setattr(stage, "_write_graphs", lambda *_: ([], []))
    assert "manifest.json" in stage.execute(context).outputs
    assert context.events.steps[-1] == (3, 3, "exported")


def test_a_failed_parity_fails_the_stage_and_keeps_its_report(make_context, monkeypatch):
    class WrongPooling(EmbeddingGraph):
        def _pool(self, hidden, attention_mask):
            return hidden[:, 0]

    def tampered(encoder, dtype):
        make_graph(encoder, dtype)
        return WrongPooling(encoder).train(False)

    monkeypatch.setattr(stage, "make_graph", tampered)
    context = make_context()
    with pytest.raises(StageFailure, match=r"model\.onnx is not the fine-tuned model") as caught:
        stage.execute(context)
    assert "parity.json" in caught.value.next_step
    (graph,) = json.loads((context.folder / "parity.json").read_text())["graphs"]
    assert graph["faults"]
    assert not (context.folder / "manifest.json").exists()


@pytest.mark.parametrize("opset", [13, 21])
def test_an_opset_that_cannot_be_is_refused_before_any_work(make_context, opset):
    with pytest.raises(BadRecipe, match=f"export.opset = {opset}"):
        stage.execute(make_context(opset=opset))


def test_tensorrt_that_is_not_there_is_said_before_any_work(make_context):
    context = make_context(tensorrt=True)
    with pytest.raises(MissingPart, match="TensorRT can't be loaded") as caught:
        stage.execute(context)
    assert "export.tensorrt=false" in caught.value.next_step
    assert not (context.folder / "model.onnx").exists()
