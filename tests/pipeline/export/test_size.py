"""How large a graph will be is known from the weights' headers alone."""

import pytest

from pipeline.errors import BadInput
from pipeline.export.records import graph_name, read_manifest, read_parity
from pipeline.export.size import graph_sizes


def test_the_estimate_is_the_size_of_the_written_graph_within_a_fifth(exported, finetuned_folder):
    context, _ = exported
    estimated = graph_sizes(finetuned_folder / "model")
    for dtype, size in estimated.items():
        written = (context.folder / graph_name(dtype)).stat().st_size
        assert written == pytest.approx(size, rel=0.2)
    assert estimated["fp32"] == 2 * estimated["fp16"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08\0\0\0\0\0\0\0no json", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]"],
    ids=["empty", "no JSON", "endless header", "no tensors"],
)
def test_damaged_weights_are_named(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match=r"model\.safetensors is damaged"):
        graph_sizes(tmp_path)


def test_a_model_without_weights_is_named(tmp_path):
    with pytest.raises(BadInput, match="has no weights"):
        graph_sizes(tmp_path)


def test_the_report_is_read_as_it_was_written(exported):
    context, outcome = exported
    graphs = read_parity(context.folder)
    assert [parity.dtype for parity, _ in graphs] == ["fp32", "fp16"]
    assert {parity.dtype for parity, _ in graphs} == set(read_manifest(context.folder).dtypes)
    for (parity, gate), summed in zip(graphs, outcome.summary["graphs"], strict=True):
        assert min(case.cosine for case in parity.cases) == summed["cosine"] >= gate.cosine
        assert parity.faults == ()


@pytest.mark.parametrize("text", ["[]", '{"graphs": [{}]}', '{"graphs": 1}'])
def test_a_damaged_report_is_named(tmp_path, text):
    (tmp_path / "parity.json").write_text(text)
    with pytest.raises(BadInput, match=r"parity\.json has a format"):
        read_parity(tmp_path)


def test_no_report_is_no_graphs(tmp_path):
    assert read_parity(tmp_path) == ()
