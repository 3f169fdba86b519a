"""Where a training can go on from: everything that its next step depends on.

`state-<step>.safetensors` holds weights, optimizer moments and torch's random states,
`best-<step>.safetensors` the best weights so far. `manifest.json` names both and is replaced
last, so a torn checkpoint is never picked up.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.files import read_json, replacing, write_json
from pipeline.finetune.randomness import TorchState, library_states, restore_library_states

FORMAT = 1
"""Version of the files; a checkpoint of another one is not picked up."""

_MANIFEST = "manifest.json"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: finished optimizer steps; also the sampler's cursor.
        validated: the step that was validated last; 0 is the base.
        best_step: the step of the best weights, or 0 before trained ones were validated.
        best_score: their dev nDCG@10, or -1.
        loss: of the last step.
        samples: rows trained on, in all attempts.
        seconds: spent in training steps, in all attempts.
    """

    step: int = 0
    validated: int = 0
    best_step: int = 0
    best_score: float = -1.0
    loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0


class Checkpoints:
    """The checkpoint of one result; there is at most one, and its best weights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(
        self,
        progress: Progress,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Replace the checkpoint by this one.

        Raises:
            OSError: the disk is full; the checkpoint before is whole.
        """
        tensors = {f"weight.{name}": value for name, value in _weights(model)}
        for name, parameter in model.named_parameters():
            for moment, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{moment}.{name}"] = value
        random_state = TorchState.now()
        tensors["random.cpu"] = random_state.cpu
        if random_state.cuda is not None:
            tensors["random.cuda"] = random_state.cuda
        name = f"state-{progress.step:08d}.safetensors"
        _write(self._folder / name, tensors)
        write_json(
            self._folder / _MANIFEST,
            {
                "format": FORMAT,
                "state": name,
                "threads": torch.get_num_threads(),
                "random": library_states(),
                "progress": asdict(progress),
            },
        )
        self._keep_only({name, _best_name(progress.best_step)})

    def save_best(self, step: int, model: torch.nn.Module) -> None:
        """Keep these weights as the best; the ones before stay until the next checkpoint."""
        _write(self._folder / _best_name(step), dict(_weights(model)))

    def threads(self) -> int | None:
        """On how many threads the checkpoint's training ran; None without a checkpoint."""
        manifest = self._manifest()
        return int(manifest["threads"]) if manifest else None

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Put everything back as it was; None, and nothing changed, without a checkpoint."""
        manifest = self._manifest()
        if manifest is None:
            return None
        tensors = load_file(self._folder / str(manifest["state"]))
        _set_weights(model, {n: tensors[f"weight.{n}"] for n, _ in model.named_parameters()})
        for name, parameter in model.named_parameters():
            moments = {
                moment: tensors[f"{moment}.{name}"]
                for moment in _MOMENTS
                if f"{moment}.{name}" in tensors
            }
            if moments:
                optimizer.state[parameter] = {
                    key: value.to(parameter.device) for key, value in moments.items()
                }
        restore_library_states(manifest["random"])
        TorchState(tensors["random.cpu"], tensors.get("random.cuda")).restore()
        return Progress(**manifest["progress"])

    def restore_best(self, step: int, model: torch.nn.Module) -> None:
        """Load the best weights into `model`."""
        _set_weights(model, load_file(self._folder / _best_name(step)))

    def remove(self) -> None:
        """Delete everything, the manifest first."""
        (self._folder / _MANIFEST).unlink(missing_ok=True)
        if self._folder.is_dir():
            shutil.rmtree(self._folder)

    def _manifest(self) -> dict[str, Any] | None:
        path = self._folder / _MANIFEST
        if not path.is_file():
            return None
        manifest: dict[str, Any] = read_json(path)
        return manifest if manifest.get("format") == FORMAT else None

    def _keep_only(self, names: Iterable[str]) -> None:
        kept = {*names, _MANIFEST}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()


def _best_name(step: int) -> str:
    return f"best-{step:08d}.safetensors"


def _weights(model: torch.nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    return ((name, parameter.detach()) for name, parameter in model.named_parameters())


def _set_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    with replacing(path) as temporary:
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary)
