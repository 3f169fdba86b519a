"""Checkpoints: whole or not there."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pipeline.finetune.checkpoint import Checkpoints, Progress


def trained_pair():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
    return model, optimizer


def fresh_pair():
    torch.manual_seed(9)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def test_everything_that_the_next_step_needs_comes_back(tmp_path):
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(tmp_path / "checkpoint")
    progress = Progress(step=3, validated=2, best_step=2, best_score=0.25, loss=1.5, samples=6)
    checkpoints.save(progress, model, optimizer)
    drawn = random.random(), np.random.rand(), torch.rand(2)

    again, its_optimizer = fresh_pair()
    assert checkpoints.restore(again, its_optimizer) == progress
    assert (random.random(), np.random.rand()) == drawn[:2]
    assert torch.equal(torch.rand(2), drawn[2])
    for one, other in ((model, optimizer), (again, its_optimizer)):
        other.zero_grad()
        one(torch.ones(2, 3)).sum().backward()
        other.step()
    for first, second in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second)
    assert checkpoints.threads() == torch.get_num_threads()


def test_there_is_no_checkpoint_without_a_manifest(tmp_path):
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Progress(step=3), model, optimizer)
    (tmp_path / "manifest.json").unlink()
    again, its_optimizer = fresh_pair()
    before = [parameter.detach().clone() for parameter in again.parameters()]
    assert checkpoints.restore(again, its_optimizer) is None
    assert all(map(torch.equal, again.parameters(), before))
    assert checkpoints.threads() is None


def test_a_torn_later_checkpoint_is_never_picked_up_and_goes_with_the_next(tmp_path):
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(3, model)
    checkpoints.save(Progress(step=3, best_step=3), model, optimizer)
    (tmp_path / "state-00000004.safetensors").write_bytes(b"half a fi")
    (tmp_path / ".state-00000004.safetensors.x.part").write_bytes(b"ha")
    checkpoints.save_best(4, model)  # its training was killed before the next checkpoint
    restored = checkpoints.restore(*fresh_pair())
    assert restored is not None
    assert restored.best_step == 3
    checkpoints.restore_best(3, model)
    checkpoints.save(Progress(step=6, best_step=3), model, optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-00000003.safetensors",
        "manifest.json",
        "state-00000006.safetensors",
    ]


def test_a_checkpoint_of_another_format_is_left_alone(tmp_path):
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Progress(step=3), model, optimizer)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    assert checkpoints.restore(*fresh_pair()) is None


@pytest.mark.parametrize("there", [True, False])
def test_removing_leaves_nothing(tmp_path, there):
    checkpoints = Checkpoints(tmp_path / "checkpoint")
    if there:
        checkpoints.save(Progress(step=3), *trained_pair())
    checkpoints.remove()
    assert not (tmp_path / "checkpoint").exists()
