"""The command depends on nobody's folder or PYTHONPATH, and themes are found as data."""

import os
import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement

from pipeline.launch import worker_environment

COMMAND = Path(sys.executable).parent / "embedsmith"


def test_foreign_packages_of_the_same_names_are_not_taken_for_ours(tmp_path):
    for name in ("pipeline", "tui"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [COMMAND, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    worker = subprocess.run(
        [sys.executable, "-P", "-m", "pipeline.worker", "--help"],
        cwd=tmp_path,
        env=worker_environment(environment),
        capture_output=True,
        text=True,
    )
    assert "--stage" in worker.stdout


def test_themes_are_read_as_package_data():
    assert (files("themes") / "__init__.py").is_file()


def test_the_extras_that_overwrite_one_another_share_no_package():
    extras = {"cpu": set(), "gpu": set()}
    for text in requires("embedsmith") or []:
        requirement = Requirement(text)
        for extra, names in extras.items():
            if requirement.marker and requirement.marker.evaluate({"extra": extra}):
                names.add(requirement.name)
    base = {Requirement(t).name for t in requires("embedsmith") or [] if "extra ==" not in t}
    assert extras["cpu"] - base == {"faiss-cpu", "onnxruntime"}
    assert extras["gpu"] - base == {"faiss-gpu", "onnxruntime-gpu"}


def test_the_torch_range_admits_the_cpu_build_and_nothing_that_pulls_another_cuda():
    torch = next(Requirement(t) for t in requires("embedsmith") or [] if t.startswith("torch"))
    assert torch.specifier.contains("2.13.0+cpu")
    assert torch.specifier.contains("2.13.0")
    assert not torch.specifier.contains("2.14.0")
