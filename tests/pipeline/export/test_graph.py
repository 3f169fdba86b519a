"""Graphs of small decoders are the encoder, whatever is tampered with is found."""

import numpy as np
import onnx
import pytest
import torch

from pipeline.errors import StageFailure
from pipeline.export.graph import EmbeddingGraph, check_onnx, make_graph, opset_of, write_onnx
from pipeline.export.parity import GATES, compare, count_misplaced, open_session, run_graph
from pipeline.export.parity import take_reference as encode_reference

TEXTS = [f"w{n} w{n + 1} w{n + 2} w{n % 5}" for n in range(0, 40, 2)]


def compared(encoder, path, make=make_graph, dtype="fp32"):
    reference = encode_reference(encoder, TEXTS[:6], TEXTS)
    graph = make(encoder, dtype)
    write_onnx(graph, path, 17)
    return compare(open_session(path), graph, reference, dtype, opset_of(path))


@pytest.mark.parametrize(
    ("what", "dtype"),
    [
        ("llama", "fp32"),
        ("llama", "fp16"),
        ("ministral", "fp32"),
        ("ministral", "fp16"),
        ("cut", "fp32"),
        ("last", "fp32"),
        ("cls", "fp16"),
    ],
)
def test_a_decoder_exports_as_the_encoder_over_the_whole_grid(make_decoder, tmp_path, what, dtype):
    report = compared(make_decoder(what), tmp_path / "model.onnx", dtype=dtype)
    assert report.faults == ()
    assert report.opset == 17
    assert report.bidirectional
    assert [case.name for case in report.cases] == [
        "1x3",
        "1x3 padded",
        "2x7",
        "4x33 mixed",
        "3x128 mixed",
        "2x128 mixed",
        "queries",
        "passages",
    ]
    if dtype == "fp32":
        assert max(case.absolute for case in report.cases) < 1e-5


class Causal(EmbeddingGraph):
    """What the library does when nobody hands it a mask of four dimensions."""

    def _mask(self, attention_mask):
        length = attention_mask.shape[1]
        seen = torch.tril(torch.ones(length, length, dtype=torch.bool))
        lowest = torch.finfo(self._model.dtype).min
        return super()._mask(attention_mask).masked_fill(~seen, lowest)


class LeakyPadding(EmbeddingGraph):
    """Attends to padding."""

    def _mask(self, attention_mask):
        return super()._mask(torch.ones_like(attention_mask))


class UnmaskedMean(EmbeddingGraph):
    """Averages padding too."""

    def _pool(self, hidden, attention_mask):
        return hidden.mean(dim=1)


class NotNormalized(EmbeddingGraph):
    """Forgets the length."""

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask) * 1.5


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (Causal, "attention goes one way"),
        (LeakyPadding, "cosine"),
        (UnmaskedMean, "cosine"),
        (NotNormalized, "length off"),
    ],
)
def test_a_tampered_graph_fails_parity(small_llama, tmp_path, kind, fault):
    def tampered(encoder, dtype):
        make_graph(encoder, dtype)
        return kind(encoder).train(False)

    report = compared(small_llama, tmp_path / "model.onnx", tampered)
    assert any(fault in text for text in report.faults), report.faults


def test_a_graph_with_numbers_that_are_not_finite_fails_parity(small_llama, tmp_path):
    class Broken(EmbeddingGraph):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids, attention_mask) / (attention_mask[:, -1:] - 1)

    def tampered(encoder, dtype):
        make_graph(encoder, dtype)
        return Broken(encoder).train(False)

    report = compared(small_llama, tmp_path / "model.onnx", tampered)
    assert report.faults
    assert min(case.cosine for case in report.cases) == -1


def test_the_opset_of_the_written_file_counts(small_llama, tmp_path):
    path = tmp_path / "model.onnx"
    write_onnx(make_graph(small_llama, "fp32"), path, 17)
    assert [(e.domain, e.version) for e in onnx.load(path).opset_import] == [("", 17)]
    with pytest.raises(StageFailure, match=r"model\.onnx has opset 17, but 18 was asked for"):
        check_onnx(path, 18)


def test_a_damaged_graph_is_refused_by_the_checker(small_llama, tmp_path):
    path = tmp_path / "model.onnx"
    write_onnx(make_graph(small_llama, "fp32"), path, 17)
    model = onnx.load(path)
    del model.graph.node[3]
    onnx.save(model, path)
    with pytest.raises(StageFailure, match="ONNX checker refuses"):
        check_onnx(path, 17)


def test_a_file_of_the_same_model_is_the_same_file(small_llama, tmp_path):
    graph = make_graph(small_llama, "fp32")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert write_onnx(graph, tmp_path / name / "model.onnx", 17) == ("model.onnx",)
    one, two = ((tmp_path / n / "model.onnx").read_bytes() for n in ("one", "two"))
    assert one == two
    assert str(tmp_path).encode() not in one


def test_batch_and_sequence_are_dynamic_and_the_dimension_is_known(small_llama, tmp_path):
    path = tmp_path / "model.onnx"
    write_onnx(make_graph(small_llama, "fp32"), path, 17)
    session = open_session(path)
    assert [entry.shape for entry in session.get_inputs()] == [["batch", "sequence"]] * 2
    (output,) = session.get_outputs()
    assert (output.name, output.shape, output.type) == (
        "embeddings",
        ["batch", 64],
        "tensor(float)",
    )
    alone = run_graph(session, [[7, 8, 9]], 3, 0)
    among = run_graph(session, [[9, 8], [7, 8, 9], [5] * 40], 50, 0)
    assert np.abs(alone[0] - among[1]).max() < 1e-6


def test_ties_may_change_places_and_others_may_not():
    expected = np.array([[0.9, 0.5, 0.49999, 0.1]], dtype=np.float32)
    tie = GATES["fp32"].tie
    swapped_tie = np.array([[0.9, 0.49999, 0.5, 0.1]], dtype=np.float32)
    assert count_misplaced(expected, swapped_tie, tie) == 0
    swapped = np.array([[0.9, 0.1, 0.49999, 0.5]], dtype=np.float32)
    assert count_misplaced(expected, swapped, tie) == 1
