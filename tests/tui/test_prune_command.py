"""`prune`: what it says of cached vectors, and when it removes them."""

import json

import numpy as np
import pytest

from pipeline.cache import EmbeddingCache, text_key
from pipeline.cache_files import in_use
from pipeline.run import cache_home, home
from tui.cli import main


@pytest.fixture
def space():
    """A cached vector."""
    cache = EmbeddingCache(cache_home() / "embeddings" / "ab12", 250_000)
    cache.add({text_key("a"): np.zeros(250_000, np.float32)})
    return cache.folder


def files(space):
    return [path.name for path in space.glob("*.npy")]


def test_cached_vectors_are_kept_up_to_a_bound_and_removed_beyond_it(space, capsys):
    assert main(["prune", "--yes"]) == 0
    assert "Cached vectors take 1.0 MB; up to 20 GB are kept." in capsys.readouterr().out
    assert main(["prune", "--vectors", "0"]) == 0
    out = capsys.readouterr().out
    assert "cache: embeddings/ab12  1.0 MB  not used since" in out
    assert "Could be removed with --yes: 1.0 MB." in out
    assert len(files(space)) == 1
    assert main(["prune", "--vectors", "0", "--yes", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert said["cache"] == "embeddings/ab12"
    assert said["bytes"] > 10**6
    assert files(space) == []


def test_a_run_s_own_pruning_leaves_the_cache_alone_unless_it_is_asked_for(
    space, rehearsal_run, capsys
):
    home().mkdir(parents=True)
    (home() / "pilot").symlink_to(rehearsal_run.path)
    assert main(["prune", "pilot", "--yes"]) == 0
    assert "vectors" not in capsys.readouterr().out
    assert len(files(space)) == 1
    assert main(["prune", "pilot", "--vectors", "0", "--yes"]) == 0
    assert "Removed 1.0 MB." in capsys.readouterr().out
    assert files(space) == []


def test_vectors_that_somebody_uses_stay_and_that_is_said(space, capsys):
    with in_use(space):
        assert main(["prune", "--vectors", "0", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "Cached vectors are in use; nothing of those is removed now." in out
    assert "Removed 0.0 MB." in out
    assert len(files(space)) == 1
