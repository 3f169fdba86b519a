"""A disk that fills up: a small file system in memory, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_NO_NAMESPACE = 77

_IN_NAMESPACE = f"""
mount -t tmpfs -o size=$1 none "$2" || exit {_NO_NAMESPACE}
shift 2
exec "$0" -c "$@"
"""


def on_a_full_disk(folder, size, script, *arguments):
    """Run a Python script with `folder` on a file system of `size` bytes; returns its lines.

    The script finds the folder in `sys.argv[1]`, then `arguments`. Skips the test where this
    machine allows no mount namespace.
    """
    command = ["unshare", "-rm", "sh", "-c", _IN_NAMESPACE, sys.executable, size, folder]
    done = subprocess.run(
        list(map(str, [*command, script, folder, *arguments])), capture_output=True, text=True
    )
    if done.returncode == _NO_NAMESPACE or "unshare" in done.stderr:
        pytest.skip("this machine allows no mount namespace")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
