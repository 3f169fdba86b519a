"""Checkpoints: whole or not there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import on_a_full_disk

from pipeline.encoder import load_encoder
from pipeline.errors import SystemRefusal, Terminated
from pipeline.files import digest_folder
from pipeline.finetune import checkpoint, stage
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.stage import execute
from pipeline.finetune.validation import mean, measure
from pipeline.prep.records import read_held_out


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
    progress = Progress(step=3, validated=2, best_step=2, best=(0.25, 0.5), loss=1.5, samples=6)
    checkpoints.save_best(2, model)
    checkpoints.save(progress, model, optimizer)
    checkpoints.wait()
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
    checkpoints.wait()
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
    checkpoints.wait()
    (tmp_path / "state-00000004.safetensors").write_bytes(b"half a fi")
    (tmp_path / ".state-00000004.safetensors.x.part").write_bytes(b"ha")
    (tmp_path / ".tmpODXcHb").write_bytes(b"safetensors' own half")
    checkpoints.save_best(4, model)  # its training was killed before the next checkpoint
    restored = checkpoints.restore(*fresh_pair())
    assert restored is not None
    assert restored.best_step == 3
    checkpoints.restore_best(3, model)
    checkpoints.save(Progress(step=6, best_step=3), model, optimizer)
    checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-00000003.safetensors",
        "manifest.json",
        "state-00000006.safetensors",
    ]


def of_another_version(folder, step):
    """A checkpoint of that step, as another version would have written it."""
    written(folder, step)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))


def test_a_checkpoint_of_another_format_is_set_aside_and_said(tmp_path):
    folder, aside = tmp_path / "checkpoint", tmp_path / "checkpoint.other-version"
    for step in (2, 3):
        of_another_version(folder, step)
        before = digest_folder(folder)
        warnings = []
        checkpoints = Checkpoints(folder, warnings.append)
        assert checkpoints.threads() is None
        assert checkpoints.restore(*fresh_pair()) is None
        (warning,) = warnings
        assert "format 3" in warning
        assert str(aside) in warning
        assert digest_folder(aside) == before
        assert sorted(path.name for path in tmp_path.iterdir()) == [aside.name], "one at most"
    checkpoints.save(Progress(step=1), *trained_pair())
    checkpoints.wait()
    assert Checkpoints(folder).restore(*fresh_pair()) == Progress(step=1)
    assert digest_folder(aside) == before
    checkpoints.remove()
    assert not list(tmp_path.iterdir()), "the training has its result"


def test_of_several_checkpoints_the_newest_comes_back(tmp_path):
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(Progress(step=step), model, optimizer)
        checkpoints.wait()
        assert checkpoints.threads()
    assert checkpoints.restore(*fresh_pair()) == Progress(step=2)


@pytest.mark.parametrize("there", [True, False])
def test_removing_leaves_nothing(tmp_path, there):
    checkpoints = Checkpoints(tmp_path / "checkpoint")
    if there:
        checkpoints.save(Progress(step=3), *trained_pair())
    checkpoints.remove()
    assert not (tmp_path / "checkpoint").exists()


def written(folder, step=3):
    """A whole checkpoint with best weights; returns what was saved."""
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(folder)
    checkpoints.save_best(step, model)
    checkpoints.save(Progress(step=step, best_step=step, best=(0.5,)), model, optimizer)
    checkpoints.wait()
    return checkpoints


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("state-00000003.safetensors", truncate, "state-00000003.safetensors is damaged"),
        ("state-00000003.safetensors", flip, "state-00000003.safetensors is damaged"),
        ("state-00000003.safetensors", lambda path: path.unlink(), "is missing"),
        ("manifest.json", truncate, "line"),
        ("manifest.json", lambda path: path.write_text("[]"), "is damaged"),
        ("manifest.json", lambda path: path.write_text("{}"), "is damaged"),
        ("manifest.json", lambda path: path.write_text('{"format": 2}'), "is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_said_and_deleted_never_used(tmp_path, name, damage, said):
    written(tmp_path)
    damage(tmp_path / name)
    warnings = []
    checkpoints = Checkpoints(tmp_path, warnings.append)
    again, its_optimizer = fresh_pair()
    before = [parameter.detach().clone() for parameter in again.parameters()]
    assert checkpoints.threads() is None
    assert checkpoints.restore(again, its_optimizer) is None
    assert all(map(torch.equal, again.parameters(), before))
    (warning,) = warnings
    assert said in warning
    assert "begins anew" in warning
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [(truncate, "is damaged"), (flip, "is damaged"), (lambda path: path.unlink(), "is missing")],
)
def test_without_its_best_weights_a_checkpoint_is_gone_on_from_unmeasured(tmp_path, damage, said):
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(2, model)
    progress = Progress(
        step=6, validated=6, best_step=2, best=(0.5,), without_gain=2, stopped=True, samples=12
    )
    checkpoints.save(progress, model, optimizer)
    checkpoints.wait()
    damage(tmp_path / "best-00000002.safetensors")
    warnings = []
    checkpoints = Checkpoints(tmp_path, warnings.append)
    again, its_optimizer = fresh_pair()
    assert checkpoints.threads() == torch.get_num_threads()
    restored = checkpoints.restore(again, its_optimizer)
    assert restored == Progress(step=6, stopped=True, samples=12)
    assert all(map(torch.equal, again.parameters(), model.parameters()))
    (warning,) = warnings
    assert "of step 2" in warning
    assert f"best-00000002.safetensors {said}" in warning
    assert "goes on from step 6" in warning
    assert str(tmp_path) in warning
    checkpoints.save_best(6, again)
    checkpoints.save(Progress(step=7, best_step=6, best=(0.25,)), again, its_optimizer)
    checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-00000006.safetensors",
        "manifest.json",
        "state-00000007.safetensors",
    ]
    assert Checkpoints(tmp_path, warnings.append).restore(*fresh_pair()) is not None
    assert len(warnings) == 1


RESTLESS = {
    "finetune.epochs": 3,
    # So high a rate goes up and down from step to step: the best weights aren't the last.
    "finetune.learning_rate": 5e-2,
    "finetune.validation_steps": 1,
}


def lose_best(context):
    (best,) = (context.folder / "checkpoint").glob("best-*")
    truncate(best)
    return int(best.stem.removeprefix("best-"))


def test_a_training_without_its_best_weights_goes_on_and_keeps_the_best_of_the_rest(toy, scripted):
    stopped = toy.context(overrides=RESTLESS, control=scripted(stop_at=150, error=Terminated))
    with pytest.raises(Terminated):
        execute(stopped)
    at = stopped.events.of("metric", "loss")[-1]["step"]
    lose_best(stopped)
    again = toy.context(overrides=RESTLESS)
    outcome = execute(again)
    assert again.events.of("resumed") == [{"step": at}]
    assert [event["step"] for event in again.events.of("metric", "loss")] == list(range(at + 1, 19))
    told = {e["step"]: e["ndcg_at_10"] for e in again.events.of("metric", "ndcg_at_10")}
    assert list(told) == list(range(at, 19)), "the restored weights are measured too"
    assert outcome.summary["dev_ndcg_at_10"] == max(told.values())
    assert told[outcome.summary["best_step"]] == max(told.values())
    model = load_encoder(again.folder / "model", again.profile, again.recipe.encoder, "cpu")
    dev = read_held_out(again.inputs["prep"].folder, "dev")
    assert mean(measure(dev, model.encode)) == outcome.summary["dev_ndcg_at_10"]


def test_at_the_end_of_a_training_its_last_weights_take_the_place_of_lost_best_ones(
    toy, monkeypatch
):
    overrides = RESTLESS | {"finetune.interpolate": True}

    def stopped(*_):
        raise Terminated

    context = toy.context(overrides=overrides)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "bring_to_end", stopped)
        with pytest.raises(Terminated):
            execute(context)
    assert lose_best(context) < 18, "the toy no longer tells"
    again = toy.context(overrides=overrides)
    outcome = execute(again)
    assert not again.events.of("metric", "loss"), "nothing is trained again"
    last = context.events.of("metric", "ndcg_at_10")[-1]
    (measured,) = again.events.of("metric", "ndcg_at_10")
    assert (measured["step"], measured["ndcg_at_10"]) == (18, last["ndcg_at_10"])
    assert outcome.summary["best_step"] == 18
    assert any("only weights from there on" in e["message"] for e in again.events.of("log"))


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    started, go_on = threading.Event(), threading.Event()
    whole = checkpoint.save_tensors

    def slow(*arguments):
        started.set()
        assert go_on.wait(10)
        whole(*arguments)

    monkeypatch.setattr(checkpoint, "save_tensors", slow)
    model, optimizer = trained_pair()
    saved = [parameter.detach().clone() for parameter in model.parameters()]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Progress(step=3), model, optimizer)
    assert started.wait(10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert checkpoints.written_step == 0
    go_on.set()
    checkpoints.wait()
    assert checkpoints.written_step == 3
    again, its_optimizer = fresh_pair()
    assert Checkpoints(tmp_path).restore(again, its_optimizer) == Progress(step=3)
    assert all(map(torch.equal, again.parameters(), saved))


def test_a_write_waits_for_the_one_before(tmp_path, monkeypatch):
    at_work, most = [0], [0]
    whole = checkpoint.save_tensors

    def counted(*arguments):
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.02)
        whole(*arguments)
        at_work[0] -= 1

    monkeypatch.setattr(checkpoint, "save_tensors", counted)
    model, optimizer = trained_pair()
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save_best(step, model)
        checkpoints.save(Progress(step=step, best_step=step, best=(0.5,)), model, optimizer)
    checkpoints.wait()
    assert most == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-00000003.safetensors",
        "manifest.json",
        "state-00000003.safetensors",
    ]


_FULL = """
import sys
from pathlib import Path
import torch
from pipeline.errors import as_failure
from pipeline.finetune.checkpoint import Checkpoints, Progress
folder = Path(sys.argv[1]) / "checkpoint"
model = torch.nn.Linear(200, 200)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
model(torch.ones(1, 200)).sum().backward()
optimizer.step()
checkpoints = Checkpoints(folder)
checkpoints.save_best(3, model)
checkpoints.save(Progress(step=3, best_step=3, best=(0.5,)), model, optimizer)
checkpoints.wait()
checkpoints.save(Progress(step=4, best_step=3, best=(0.5,)), model, optimizer)
try:
    checkpoints.save(Progress(step=5, best_step=3, best=(0.5,)), model, optimizer)
except Exception as error:
    print(as_failure(error).exit_code, as_failure(error).happened)
print(checkpoints.written_step, Checkpoints(folder).restore(model, optimizer).step)
print(*sorted(path.name for path in folder.iterdir()))
"""


def test_a_full_disk_surfaces_and_the_checkpoint_before_is_whole(tmp_path):
    # A state takes 480 kB, the best weights 160.
    failed, left, names = on_a_full_disk(tmp_path, 1_000_000, _FULL)
    assert failed.startswith(f"{SystemRefusal.exit_code} The disk is full")
    assert left == "3 3"
    assert names == "best-00000003.safetensors manifest.json state-00000003.safetensors"


def test_a_file_beside_it_is_part_of_the_checkpoints_that_follow(tmp_path):
    checkpoints = written(tmp_path)
    (tmp_path / "negatives-1.json").write_text("[]")
    checkpoints.attach("negatives-1.json")
    again = Checkpoints(tmp_path)
    assert again.restore(*fresh_pair()) is not None
    assert not again.is_attached("negatives-1.json"), "the one on the disk is older"
    checkpoints.save(Progress(step=4, best_step=3, best=(0.5,)), *trained_pair())
    checkpoints.wait()
    again = Checkpoints(tmp_path)
    assert again.restore(*fresh_pair()) is not None
    assert again.is_attached("negatives-1.json")
    (tmp_path / "negatives-1.json").write_text("[[]]")
    assert Checkpoints(tmp_path).restore(*fresh_pair()) is None


_KILLED = """
import sys
from pathlib import Path
import torch
from pipeline.finetune import checkpoint
from pipeline.finetune.checkpoint import Checkpoints, Progress
model = torch.nn.Linear(400, 400)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
checkpoints = Checkpoints(Path(sys.argv[1]))
for step in range(1, 10_000):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    checkpoints.save_best(step, model)
    checkpoints.save(Progress(step=step, best_step=step, best=(0.5,)), model, optimizer)
    print(step, flush=True)
"""


def test_a_kill_at_any_instant_leaves_a_whole_checkpoint(tmp_path):
    chance = random.Random()
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        with subprocess.Popen(
            [sys.executable, "-c", _KILLED, str(folder)],
            env=os.environ | {"PYTHONPATH": str(Path(checkpoint.__file__).parents[2])},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            for _ in range(3 + attempt):
                process.stdout.readline()
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
        model = torch.nn.Linear(400, 400)
        warnings = []
        checkpoints = Checkpoints(folder, warnings.append)
        restored = checkpoints.restore(model, torch.optim.AdamW(model.parameters()))
        assert restored is not None, warnings
        assert restored.step >= 1
        assert torch.all(model.weight == restored.step)
        checkpoints.restore_best(restored.best_step, model)
        assert torch.all(model.weight == restored.best_step)
