"""Between base and tuned weights: what is chosen, and that a killed sweep goes on."""

from __future__ import annotations

import pytest
import torch
from full_disk import on_a_full_disk

from pipeline.errors import SystemRefusal
from pipeline.finetune.interpolation import ALPHAS, Point, Sweep, choose, mean_of


def points(dev, probe):
    return [Point(*point) for point in zip(ALPHAS, dev, probe, strict=True)]


@pytest.mark.parametrize(
    ("dev", "probe", "alpha"),
    [
        pytest.param((0.5, 0.6, 0.7, 0.8, 0.9), (0.8,) * 5, 1.0, id="nothing is forgotten"),
        pytest.param(
            (0.5, 0.6, 0.7, 0.8, 0.9), (0.8, 0.8, 0.79, 0.75, 0.6), 0.5, id="the most it may"
        ),
        pytest.param((0.5, 0.6, 0.9, 0.8, 0.7), (0.8,) * 5, 0.5, id="the middle is best"),
        pytest.param((0.5, 0.7, 0.7, 0.7, 0.7), (0.8,) * 5, 0.25, id="of equals the least"),
        pytest.param((0.5, 0.6, 0.7, 0.8, 0.9), (0.8, 0.1, 0.1, 0.1, 0.1), 0.0, id="all forget"),
        pytest.param((0.5, 0.6, 0.7, 0.8, 0.9), (None,) * 5, 1.0, id="no probe"),
        pytest.param((0.5, 0.4, 0.3, 0.2, 0.1), (0.8,) * 5, 0.0, id="training made it worse"),
    ],
)
def test_the_best_dev_score_within_the_tolerance_is_chosen(dev, probe, alpha):
    assert choose(points(dev, probe), tolerance=0.02).alpha == alpha


def test_the_ends_are_base_and_tuned_bit_for_bit():
    base, tuned = torch.rand(50), torch.rand(50)
    assert torch.equal(mean_of(base, tuned, 0.0), base)
    assert torch.equal(mean_of(base, tuned, 1.0), tuned)
    assert torch.allclose(mean_of(base, tuned, 0.25), base + 0.25 * (tuned - base))


class Measuring:
    """Scores that depend on the weights; ends after some of them, as a kill does."""

    def __init__(self, model, ends_after=99):
        self.model, self.left, self.seen = model, ends_after, []

    def __call__(self):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen.append(float(self.model.weight.detach().sum()))
        return self.seen[-1], -self.seen[-1]


def linear(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 2)


KNOWN = [Point(0.0, 0.25, 0.5), Point(1.0, 0.75, 0.25)]


def test_a_killed_sweep_goes_on_with_what_it_had(tmp_path):
    model = linear(2)
    calm = Sweep(tmp_path / "calm", {"step": 3}).run(
        model, lambda: linear(1), Measuring(model), KNOWN
    )
    model = linear(2)
    measuring = Measuring(model, ends_after=2)
    with pytest.raises(KeyboardInterrupt):
        Sweep(tmp_path / "killed", {"step": 3}).run(model, lambda: linear(1), measuring, KNOWN)
    model = linear(2)
    again = Measuring(model)
    sweep = Sweep(tmp_path / "killed", {"step": 3})
    assert sweep.run(model, lambda: linear(1), again, KNOWN) == calm
    assert len(again.seen) == 1, "two of three were measured before"
    assert [point.alpha for point in calm] == list(ALPHAS)
    sweep.apply(model, 0.5)
    expected = 0.5 * linear(1).weight + 0.5 * linear(2).weight
    assert torch.equal(model.weight, expected)


@pytest.mark.parametrize("damage", [None, b"{half a fi", b"[]", b'{"of": {}, "points": [{}]}'])
def test_points_of_other_weights_or_a_damaged_file_are_measured_anew(tmp_path, damage):
    model = linear(2)
    Sweep(tmp_path, {"step": 3}).run(model, lambda: linear(1), Measuring(model), KNOWN)
    if damage:
        (tmp_path / "sweep.json").write_bytes(damage)
    model = linear(2)
    again = Measuring(model)
    of = {"step": 3} if damage else {"step": 4}
    Sweep(tmp_path, of).run(model, lambda: linear(1), again, KNOWN)
    assert len(again.seen) == 3


_FULL = """
import sys
from pathlib import Path
import torch
from pipeline.errors import as_failure
from pipeline.finetune.interpolation import Sweep
folder = Path(sys.argv[1])
try:
    Sweep(folder, {"step": 3}).run(torch.nn.Linear(200, 200), None, None, [])
except Exception as error:
    print(as_failure(error).exit_code, as_failure(error).happened)
print(len(list(folder.iterdir())))
"""


def test_a_full_disk_is_told_as_one_and_nothing_half_written_is_left(tmp_path):
    failed, left = on_a_full_disk(tmp_path, 100_000, _FULL)
    assert failed.startswith(f"{SystemRefusal.exit_code} The disk is full")
    assert left == "0"
