"""The never-rules, where a static graph can't see them: what really loads, and who reads whom."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pipeline

ROOT = Path(pipeline.__file__).parent
STAGES = ("corpus", "sdg", "review", "prep", "finetune", "eval", "export", "deploy")
HEAVY = (
    *("torch", "transformers", "sentence_transformers", "datasets", "faiss", "beir", "onnx"),
    *("onnxruntime", "openai", "tokenizers", "pyarrow", "numpy"),
)


@pytest.mark.parametrize("arguments", [["--help"], ["check"], ["runs"], ["show", "nothing"]])
def test_a_command_loads_no_heavy_library(arguments, own_home):
    code = (
        "import sys, io, contextlib\n"
        "from tui.cli import main\n"
        "nowhere = io.StringIO()\n"
        "with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):\n"
        "    try:\n"
        f"        main({arguments!r})\n"
        "    except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["check"]])
def test_the_command_stands_in_well_under_a_second(arguments):
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "tui.cli", *arguments], capture_output=True)
        times.append(time.monotonic() - began)
    assert min(times) < 1.0


def test_a_stage_reads_records_of_earlier_stages_and_nothing_else_of_them():
    foreign = []
    for path in sorted(ROOT.rglob("*.py")):
        stage = path.relative_to(ROOT).parts[0]
        if stage not in STAGES:
            continue
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != "pipeline" or len(parts) < 2 or parts[1] not in STAGES:
                continue
            if parts[1] != stage and parts[2:3] not in (["records"], ["kept"]):
                foreign.append(f"{path.relative_to(ROOT)} imports {name}")
    assert foreign == []


def test_no_stage_prints():
    printing = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert printing == []


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names
