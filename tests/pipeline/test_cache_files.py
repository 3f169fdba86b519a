"""Which cached vectors can go: the least recently used beyond a bound, and none in use."""

import os
import subprocess
import sys

import numpy as np
import pytest

import pipeline.cache
import pipeline.cache_files
from pipeline.cache import EmbeddingCache, fill_missing, text_key
from pipeline.cache_files import beyond, in_use, read_spaces, remove_spare

KEYS = [text_key(str(number)) for number in range(6)]
ROWS = np.arange(24, dtype=np.float32).reshape(6, 4)


def put(cache, number):
    """A segment of one vector; returns its file."""
    before = set(cache.folder.glob("*.npy"))
    cache.add({KEYS[number]: ROWS[number]})
    (path,) = set(cache.folder.glob("*.npy")) - before
    return path


@pytest.fixture
def caches(tmp_path):
    """Two spaces of three segments each, used in turn: 0, 2, 4 and 1, 3, 5."""
    return [EmbeddingCache(tmp_path / "embeddings" / name, 4) for name in ("even", "odd")]


@pytest.fixture
def paths(caches):
    """Their files, each used so many seconds after 1970."""
    paths = [put(caches[number % 2], number) for number in range(6)]
    for cache in caches:
        cache.settle()
    for number, path in enumerate(paths):
        os.utime(path, ns=(number * 10**9, path.stat().st_mtime_ns))
    return paths


def prune(tmp_path, most):
    return sum(remove_spare(spare) for spare in beyond(read_spaces(tmp_path), most))


def test_what_was_used_least_recently_goes_first_whatever_its_space(tmp_path, caches, paths):
    size = paths[0].stat().st_size
    assert prune(tmp_path, 6 * size) == 0
    spares = beyond(read_spaces(tmp_path), 4 * size)
    assert [(spare.folder.name, spare.size) for spare in spares] == [("even", size), ("odd", size)]
    assert all(path.exists() for path in paths), "looking removes nothing"
    assert prune(tmp_path, 4 * size) == 2 * size
    assert [path.exists() for path in paths] == [False, False, True, True, True, True]
    assert list(caches[0].find(KEYS)) == [KEYS[2], KEYS[4]]
    assert prune(tmp_path, 0) == 4 * size
    assert not list(tmp_path.rglob("index"))
    assert caches[0].find(KEYS) == {}


def test_reading_a_vector_is_using_it_and_makes_no_index_stale(
    tmp_path, caches, paths, monkeypatch
):
    index = (caches[0].folder / "index").read_bytes()
    # No file system notes this time by itself.
    monkeypatch.setattr(pipeline.cache_files.time, "time_ns", lambda: 4 * 10**18)
    caches[0].find([KEYS[0]])
    caches[0].settle()
    assert (caches[0].folder / "index").read_bytes() == index
    assert [path.stat().st_atime_ns for path in paths[::2]] == [4 * 10**18, 2 * 10**9, 4 * 10**9]
    prune(tmp_path, 5 * paths[0].stat().st_size)
    assert [path.exists() for path in paths] == [True, False, True, True, True, True]


def test_a_vector_that_is_used_after_it_was_shown_stays(tmp_path, caches, paths):
    spares = beyond(read_spaces(tmp_path), 0)
    caches[0].find([KEYS[0]])
    for spare in spares:
        remove_spare(spare)
    assert [path.exists() for path in paths] == [True, *[False] * 5]


USER = """
import sys
from pathlib import Path
from pipeline.cache_files import in_use
with in_use(Path(sys.argv[1])):
    print("in use", flush=True)
    sys.stdin.read()
"""


def test_nothing_of_a_space_goes_while_another_process_uses_it(tmp_path, caches, paths):
    command = [sys.executable, "-c", USER, str(caches[0].folder)]
    shown = beyond(read_spaces(tmp_path), 0)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        user.stdout.readline()
        assert [space.busy for space in read_spaces(tmp_path)] == [True, False]
        for spare in shown:
            remove_spare(spare)
        assert [path.exists() for path in paths] == [True, False] * 3
        assert beyond(read_spaces(tmp_path), 0) == []
        user.kill()
    assert prune(tmp_path, 0) > 0
    assert not any(path.exists() for path in paths)


def test_a_space_is_in_use_while_its_missing_vectors_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.cache, "SEGMENT_TEXTS", 2)
    cache = EmbeddingCache(tmp_path / "rerankings" / "one", 4)
    vectors = np.zeros((6, 4), np.float32)
    removed = []

    def compute(places, done, total):
        removed.append(prune(tmp_path, 0))
        return ROWS[places]

    fill_missing(cache, KEYS, vectors, compute)
    assert removed == [0, 0, 0]
    assert np.array_equal(vectors, ROWS)
    assert [space.busy for space in read_spaces(tmp_path)] == [False]
    assert prune(tmp_path, 0) > 0


def test_what_a_killed_writer_left_goes_and_what_a_writer_makes_stays(tmp_path, caches, paths):
    half = caches[0].folder / ".x.npy.abc.part"
    half.write_bytes(b"half")
    with in_use(caches[0].folder):
        assert prune(tmp_path, 10**9) == 0
    assert prune(tmp_path, 10**9) == 4
    assert not half.exists()
    assert all(path.exists() for path in paths)


def test_other_files_of_the_cache_are_left_alone(tmp_path, paths):
    others = [tmp_path / name for name in ("weights.json", "nim/a/b.npy", "embeddings/c.npy")]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    prune(tmp_path, 0)
    assert all(path.exists() for path in others)
    assert read_spaces(tmp_path / "nowhere") == ()
