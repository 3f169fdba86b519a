"""`embedsmith prep RUN --preview`, without a worker: what is said of a finished preview."""

from __future__ import annotations

import json

import pytest

from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import create_run, home
from tui.cli import main
from tui.commands.preview import preview_lines

SHOWN = {
    "questions": 2,
    "passages": 9,
    "wanted": 5,
    "edges": [0.4, 0.45, 0.5],
    "positives": [0, 2],
    "candidates": [1, 1],
    "above": 1,
    "rules": [
        {
            "rule": "top", "chosen": False, "negatives_per_query": 5.0, "full": 2, "short": 0,
            "without": 0, "mean_score": 0.4125, "set_aside": {},
        },
        {
            "rule": "percentage 0.95", "chosen": True, "negatives_per_query": 0.0, "full": 0,
            "short": 2, "without": 2, "mean_score": None,
            "set_aside": {"answers": 2, "too_close": 16},
        },
    ],
}  # fmt: skip


def test_a_preview_reads_as_two_histograms_and_a_table():
    lines = preview_lines(SHOWN)
    assert "2 training questions, 9 passages." in lines
    (low,) = [line for line in lines if line.startswith("  0.40-  0.45")]
    assert low.split() == ["0.40-", "0.45", "0", "############", "1"]
    (chosen,) = [line for line in lines if line.startswith("* percentage")]
    assert chosen.split()[-5:] == ["0.00", "0", "2", "2", "-"]
    assert lines[-1].split(maxsplit=1) == ["16", "score too close to one that does"]
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_preview_waits_for_the_stages_before_it(options, own_home, capsys):
    create_run(home() / "run", find_profile(REHEARSAL_PROFILE), {}, "test")
    code = main(["prep", "run", "--preview", "--json", *options])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    if options:
        assert code == 0
        assert said[-1]["reason"] == "corpus comes first"
    else:
        assert code != 0
        assert "preview can't start: corpus comes first" in said[-1]["happened"]
