"""Locks: one holder, named to the next one, gone with its process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.errors import Busy
from pipeline.locks import Lock, gpu_lock, holder_of, is_held

HOLD = """
import sys, time
from pathlib import Path
from pipeline.locks import Lock
Lock(Path(sys.argv[1]), "It").take()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_a_second_taker_is_told_who_holds_it(holder):
    path, process = holder
    with pytest.raises(Busy, match=f"process {process.pid} on "):
        Lock(path, "The corpus result").take()
    assert is_held(path)
    assert holder_of(path).pid == process.pid


def test_kill_9_frees_the_lock(holder):
    path, process = holder
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not is_held(path)
    with Lock(path, "It"):
        assert is_held(path)
    assert not is_held(path)


def test_looking_never_makes_a_taker_fail(tmp_path):
    path = tmp_path / "lock"
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        with Lock(path, "It"):
            pass
        assert not is_held(path)


def test_a_gpu_s_lock_is_one_file_for_the_whole_machine():
    assert gpu_lock("GPU-1/2")._path == gpu_lock("GPU-1/2")._path
    assert gpu_lock("GPU-1/2")._path.parent.is_dir()
