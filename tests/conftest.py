"""What every test relies on: no hub, a home and a cache of its own, helpers on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pipeline.launch import SPIN_COUNT

sys.path.insert(0, str(Path(__file__).parent / "support"))

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if not os.environ.get("EMBEDSMITH_TEST_ON_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Before torch is imported; see pipeline.launch.
os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
# Test processes share the cores: threads that wait for a core make all of them slower.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _PROCESSES)))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Runs and caches of a test never touch the user's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EMBEDSMITH_HOME", str(home / "runs"))
    for name in ("cache", "config", "state", "data"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(home / name))
    for name in ("NVIDIA_API_KEY", "NGC_API_KEY", "EMBEDSMITH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return home
