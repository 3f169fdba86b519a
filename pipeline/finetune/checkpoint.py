"""Where a training can go on from: everything that its next step depends on.

`state-<step>.safetensors` holds weights, optimizer moments and torch's random states,
`best-<step>.safetensors` the best weights so far. `manifest.json` names both with their hashes and
is replaced last, so a torn checkpoint is never picked up and a damaged one is seen.

Tensors are copied to host memory and written by a thread while training goes on. One write is in
flight at most: the next one waits for it, and so does whoever asks for its result.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.errors import BadInput, StageFailure
from pipeline.files import digest_file, read_json, replacing, write_json
from pipeline.finetune.randomness import TorchState, library_states, restore_library_states
from pipeline.finetune.validation import mean
from pipeline.tensor_files import save_tensors

FORMAT = 2
"""Version of the files; a checkpoint of another one is set aside, and that is said."""

_MANIFEST = "manifest.json"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: finished optimizer steps; also the sampler's cursor.
        validated: the step that was validated last; 0 is the base.
        best_step: the step of the best weights, or 0 before trained ones were validated.
        best: their dev nDCG@10 by query; empty before.
        without_gain: validations since then.
        stopped: whether early stopping has ended the training.
        loss: of the last step.
        samples: rows trained on, in all attempts.
        seconds: spent in training steps, in all attempts.
        pass_tokens: of the engine's `Fitted`; 0 before the first step.
        kept_tokens: as well.
        lanes: as well.
        bf16: as well.
    """

    step: int = 0
    validated: int = 0
    best_step: int = 0
    best: tuple[float, ...] = ()
    without_gain: int = 0
    stopped: bool = False
    loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    pass_tokens: int = 0
    kept_tokens: int = 0
    lanes: int = 1
    bf16: bool = False

    @property
    def best_score(self) -> float:
        """Mean dev nDCG@10 of the best weights; -1 before trained ones were validated."""
        return mean(self.best) if self.best else -1.0


class Checkpoints:
    """The checkpoint of one result; there is at most one, and its best weights.

    Args:
        folder: where it lies.
        warn: told in one line when what lies there can't be used.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self._warn = warn
        self._digests: dict[str, str] = {}
        self._attached: set[str] = set()
        self._host: dict[str, torch.Tensor] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._written_step = 0
        self._found: dict[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    @property
    def written_step(self) -> int:
        """The step of the checkpoint that is whole on the disk; 0 without one."""
        return self._written_step

    def save(
        self, progress: Progress, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Replace the checkpoint by this one, in the background.

        Returns once everything is copied; the write before is finished then.

        Raises:
            OSError: the disk is full, found by the write before; the checkpoint on the disk is
                whole.
        """
        self.wait()
        tensors = {f"weight.{name}": value for name, value in _weights(model)}
        for name, parameter in model.named_parameters():
            for moment, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{moment}.{name}"] = value
        random_state = TorchState.now()
        tensors["random.cpu"] = random_state.cpu
        if random_state.cuda is not None:
            tensors["random.cuda"] = random_state.cuda
        name = f"state-{progress.step:08d}.safetensors"
        manifest = {
            "format": FORMAT,
            "state": name,
            "threads": torch.get_num_threads(),
            "random": library_states(),
            "progress": asdict(progress),
        }
        copies = self._copied(tensors)
        self._writing = self._writer.submit(self._write_state, name, copies, manifest)

    def save_best(self, step: int, model: torch.nn.Module) -> None:
        """Keep these weights as the best, in the background; see `save`.

        The ones before stay until the next checkpoint.
        """
        self.wait()
        copies = self._copied({f"weight.{name}": value for name, value in _weights(model)})
        self._writing = self._writer.submit(self._write_best, step, copies)

    def attach(self, name: str) -> None:
        """Make a file beside the checkpoint part of all that follow, instead of those before.

        What training depends on and cannot make again: without it, or with another content, a
        checkpoint is damaged.
        """
        self.wait()
        for other in self._attached:
            self._digests.pop(other, None)
        self._attached = {name}
        self._digests[name] = digest_file(self._folder / name)

    def is_attached(self, name: str) -> bool:
        """Whether a file is part of the checkpoint."""
        return name in self._attached

    def wait(self) -> None:
        """Wait for the write in flight.

        Raises:
            OSError: it failed; the disk is full, for one.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def settle(self) -> None:
        """Let the write in flight end, well or not: something else has failed already."""
        if self._writing is not None:
            self._writing.exception()
            self._writing = None

    def threads(self) -> int | None:
        """On how many threads the checkpoint's training ran; None without a usable one."""
        manifest = self._usable()
        return int(manifest["threads"]) if manifest else None

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Put everything back as it was.

        Returns:
            None, and nothing changed, without a checkpoint. One that is damaged is said so and
            deleted, one of another version said so and set aside. Where the best weights alone are
            damaged, that is said, and the progress is of a training that was never validated: the
            restored weights are measured where a validation is due, then or at the end.
        """
        manifest = self._usable()
        if manifest is None:
            return None
        tensors = load_file(self._folder / str(manifest["state"]))
        _set_weights(model, {n: tensors[f"weight.{n}"] for n, _ in _weights(model)})
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
        self._digests = dict(manifest["digests"])
        self._attached = set(manifest["attached"])
        return _progress(manifest)

    def restore_best(self, step: int, model: torch.nn.Module) -> None:
        """Load the best weights into `model`.

        Raises:
            StageFailure: they can't be read any more.
            OSError: the write in flight failed.
        """
        self.wait()
        path = self._folder / _best_name(step)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise StageFailure(
                f"The best weights, of step {step}, can't be read from {path}: {error}",
                safe="Training data and every earlier result are kept.",
                next_step="Run the same command again: it goes on from the last checkpoint.",
            ) from error
        _set_weights(model, {n: tensors[f"weight.{n}"] for n, _ in _weights(model)})

    def remove(self) -> None:
        """Delete everything, what was set aside too: the training has its result."""
        self._delete()
        shutil.rmtree(self._aside, ignore_errors=True)

    @property
    def _aside(self) -> Path:
        """Where a checkpoint of another version lies; one at most, so the disk never fills."""
        return self._folder.with_name(f"{self._folder.name}.other-version")

    def _delete(self) -> None:
        """Delete the checkpoint, the manifest first."""
        self.settle()
        (self._folder / _MANIFEST).unlink(missing_ok=True)
        if self._folder.is_dir():
            shutil.rmtree(self._folder)
        self._digests, self._attached, self._found = {}, set(), None
        self._written_step = 0

    def _copied(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copies in host memory, in buffers that are used again: the write before is over."""
        for name, value in tensors.items():
            buffer = self._host.get(name)
            if buffer is None or buffer.shape != value.shape or buffer.dtype != value.dtype:
                buffer = torch.empty(
                    value.shape, dtype=value.dtype, pin_memory=value.device.type == "cuda"
                )
                self._host[name] = buffer
            buffer.copy_(value.detach(), non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return {name: self._host[name] for name in tensors}

    def _write_best(self, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
        self._write(_best_name(step), tensors)

    def _write_state(
        self, name: str, tensors: Mapping[str, torch.Tensor], manifest: dict[str, Any]
    ) -> None:
        best = _best_name(manifest["progress"]["best_step"])
        self._write(name, tensors)
        kept = {name, best, *self._attached}
        self._digests = {key: digest for key, digest in self._digests.items() if key in kept}
        beside = {"digests": self._digests, "attached": sorted(self._attached)}
        write_json(self._folder / _MANIFEST, manifest | beside)
        self._found = None  # what was found before is no longer there
        self._written_step = int(manifest["progress"]["step"])
        self._keep_only({name, best})

    def _write(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        with replacing(self._folder / name) as temporary:
            save_tensors(tensors, temporary)
            digest = digest_file(temporary)
        self._digests[name] = digest

    def _usable(self) -> dict[str, Any] | None:
        """The manifest of what can be gone on from; what can't be used is said and put away."""
        if self._found is not None:
            return self._found
        path = self._folder / _MANIFEST
        if not path.is_file():
            return None
        known = True
        try:
            manifest = read_json(path)
            known = manifest["format"] == FORMAT
            fault = self._fault(manifest) if known else ""
        except (BadInput, OSError) as error:
            fault = str(error)
        except (KeyError, TypeError, ValueError):
            fault = f"{_MANIFEST} is damaged"
        if fault:
            self._warn(f"The checkpoint can't be used: {fault}. Training begins anew.")
            self._delete()
            return None
        if not known:
            self._set_aside(manifest["format"])
            return None
        self._found = self._with_usable_best(manifest)
        self._written_step = int(manifest["progress"]["step"])
        return self._found

    def _fault(self, manifest: Any) -> str:
        """What is wrong with what a training can't go on without; empty for nothing."""
        needed = {manifest["state"], *manifest["digests"]}
        needed -= {_best_name(_progress(manifest).best_step)}
        damages = (self._damage(name, manifest) for name in sorted(needed))
        return next(filter(None, damages), "")

    def _damage(self, name: str, manifest: Mapping[str, Any]) -> str:
        """What is wrong with one file of a checkpoint; empty for nothing."""
        path = self._folder / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            whole = digest_file(path) == manifest["digests"].get(name)
        except OSError as error:
            return f"{name} can't be read ({error.strerror})"
        return "" if whole else f"{name} is damaged"

    def _with_usable_best(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The manifest itself, or one without best weights where those are damaged.

        An end that was reached stays one: its last weights are measured and kept. That they are
        worse than the lost ones is possible; a training of hours is not thrown away for it.
        """
        progress = _progress(manifest)
        damage = self._damage(_best_name(progress.best_step), manifest)
        if not progress.best_step or not damage:
            return manifest
        self._warn(
            f"The best weights so far, of step {progress.best_step}, can't be used: {damage}. "
            f"Training goes on from step {progress.step}, and only weights from there on can be "
            f"kept. To train anew instead, stop it, delete {self._folder} and run the same "
            "command again."
        )
        unmeasured = replace(progress, validated=0, best_step=0, best=(), without_gain=0)
        return manifest | {"progress": asdict(unmeasured)}

    def _set_aside(self, version: object) -> None:
        """Move a checkpoint of another version away, in place of the one before."""
        shutil.rmtree(self._aside, ignore_errors=True)
        self._folder.rename(self._aside)
        self._warn(
            f"The checkpoint was written by another version of embedsmith (format {version}; this "
            f"one reads {FORMAT}). It lies in {self._aside} until the training is over. Training "
            "begins anew."
        )

    def _keep_only(self, names: set[str]) -> None:
        """Delete other states and best weights, and what was half written of them."""
        half_written = (".state-*", ".best-*", f".{_MANIFEST}*", ".tmp*")  # safetensors' the last
        for pattern in ("state-*", "best-*", *half_written):
            for path in self._folder.glob(pattern):
                if path.name not in names:
                    path.unlink()


def _progress(manifest: Mapping[str, Any]) -> Progress:
    told = manifest["progress"]
    return Progress(**{**told, "best": tuple(told["best"])})


def _best_name(step: int) -> str:
    return f"best-{step:08d}.safetensors"


def _weights(model: torch.nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    """What training changes; a model with adapters has frozen weights too."""
    return ((n, p.detach()) for n, p in model.named_parameters() if p.requires_grad)


def _set_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in _weights(model):
            parameter.copy_(weights[name])
