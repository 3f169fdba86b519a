"""The benchmark's path on a CPU: it still runs, fails in parts, and counts what it says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gpu import Goal, Measured, goals
from workload import LLAMA_1B, TINY, Workload, floors, make_workload

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    output = tmp_path_factory.mktemp("gpu") / "figures.json"
    done = subprocess.run(
        [sys.executable, HERE / "gpu.py", "--cpu", "--output", output],
        capture_output=True,
        text=True,
        timeout=570,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text()), done.stdout


def test_every_section_measures_on_the_cpu_or_says_what_it_lacks(measured):
    sections = measured[0]["sections"]
    # FlashAttention needs a GPU, so this one shows that a section fails alone.
    assert "FlashAttention2" in sections.pop("flash")["error"]
    assert "finetune.liger" in sections.pop("ours-fused")["error"]
    assert {name: each["error"] for name, each in sections.items()} == dict.fromkeys(sections, "")
    for name in ("ours", "ours-compiled", "published", "published-trimmed", "merged", "cached"):
        figures = sections[name]["figures"]
        assert figures["tokens a second"] > 0
        assert figures["steps"] >= 1
        workload = make_workload(TINY)
        tokens_a_row = figures["tokens a second"] / figures["rows a second"]
        assert tokens_a_row == pytest.approx(workload.row_tokens)


def test_packed_passes_are_compared_with_padded_ones(measured):
    figures = measured[0]["sections"]["parity"]["figures"]
    assert figures["packs, 1 is yes"] == 1
    assert 0 < figures["float32, packed - padded"] < 1e-5
    assert figures["bfloat16, packed - padded"] < 0.02


def test_the_search_finds_what_brute_force_finds(measured):
    assert measured[0]["sections"]["search"]["figures"]["share of brute force's best"] == 1


def test_the_table_has_all_sections_and_judges_no_tiny_model(measured):
    document, table = measured
    assert all(name in table for name in document["sections"])
    assert "MFU in training" in table
    assert "MISSED" not in table
    assert "not measured: ImportError" in table


def test_flops_of_the_1b_shape_are_those_counted_by_hand():
    # 16 layers of 60.8 million weights; 300 tokens: 2 x 973 million + 4 x 300 x 2,048 x 16 each.
    assert LLAMA_1B.weights == pytest.approx(973.1e6, rel=1e-3)
    one = LLAMA_1B.forward_flops(np.array([300]))
    assert one == pytest.approx(300 * 1.985e9, rel=1e-3)


def test_floors_of_the_published_case():
    queries, passages = np.full(8, 30), np.full((8, 5), 300)
    found = floors(Workload(LLAMA_1B, queries, passages), 790e12)
    assert found["training at 100 % MFU, s"] == pytest.approx(519, rel=0.01)
    assert found["tokens a second at 100 % MFU"] == pytest.approx(132_700, rel=0.01)
    assert found["search, s"] == pytest.approx(0.078, rel=0.01)


def test_goals_compare_with_the_fastest_peer_and_know_what_was_not_measured():
    found = {
        "ours": Measured(1.0, {"tokens a second": 130.0, "FLOP a second": 60.0}),
        "rate": Measured(1.0, {"FLOP a second": 100.0}),
        "merged": Measured(1.0, {"tokens a second": 65.0}),
        "cached": Measured(1.0, {"tokens a second": 104.0}),
        "published": Measured(1.0, error="out of memory"),
    }
    by_name = {goal.what: goal for goal in goals(found)}
    assert by_name["MFU in training"].value == 0.6
    assert by_name["MFU in training"].met is True
    assert by_name["tokens/s, ours / sentence-transformers' best"].value == 1.25
    assert by_name["tokens/s, ours / sentence-transformers' best"].met is False
    assert by_name["tokens/s, ours / published"].met is None
    assert Goal("memory", 81.0, most=80.0).met is False


def test_an_unknown_section_is_refused_with_those_that_there_are():
    command = [sys.executable, HERE / "gpu.py", "--cpu", "--only", "cooking"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "cooking: the sections are prepare, rate, ours" in done.stderr
