"""The benchmark still runs, and says all that it should; never how fast."""

import json
import math
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "compare.py"
SMALL = {"rounds": 1, "passages": 24, "questions": 6, "batch": 2, "steps": 1, "requests": 2}


def run(*arguments):
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    command = [sys.executable, SCRIPT, *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_mining_is_measured_on_both_sides():
    done = run("--only", "mining", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = {row["what"]: row for row in document["rows"]}
    size = "6 questions, 24 passages"
    assert set(rows) == {
        f"{size}, empty cache, wall s",
        f"{size}, empty cache, CPU s",
        f"{size}, full cache, wall s",
        f"{size}, full cache, CPU s",
        "peak memory, MB",
        "questions kept",
        "questions with 5 negatives",
        "their negatives that are ours too, share",
    }
    same = rows.pop("their negatives that are ours too, share")
    assert same["theirs"] is None
    assert 0.9 <= same["ours"] <= 1
    for row in rows.values():
        assert math.isfinite(row["ours"])
        assert math.isfinite(row["theirs"])
        assert row["ours"] > 0
        assert row["theirs"] > 0
        assert row["ratio"] == row["ours"] / row["theirs"]
        assert row["better"] in ("lower", "higher")
    assert document["settings"] == document["settings"] | SMALL
    assert document["machine"]["cores"] >= 1


def test_an_unknown_part_is_refused_with_the_parts_that_there_are():
    done = run("--only", "mining,cooking")
    assert done.returncode == 2
    assert "cooking: the parts are mining, training, serving" in done.stderr
