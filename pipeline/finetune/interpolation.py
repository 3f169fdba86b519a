"""Weights between base and tuned: nearly all of the gain for a part of what is forgotten.

(1 - alpha) * base + alpha * tuned, WiSE-FT (Wortsman et al., "Robust fine-tuning of zero-shot
models", 2022), for embedding models LM-Cocktail (Xiao et al., 2023). The mean costs nothing at
inference. Five of them are measured on the dev questions and on the probe, one is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from pipeline.errors import BadInput
from pipeline.files import read_json, replacing, write_json
from pipeline.finetune.forgetting import fell_too_far
from pipeline.tensor_files import save_tensors

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the tuned weights that are tried; 0 is the base."""

_TUNED = "tuned.safetensors"
_SWEEP = "sweep.json"


@dataclass(frozen=True)
class Point:
    """One mean of weights.

    Attributes:
        alpha: share of the tuned weights.
        dev: nDCG@10 on the dev questions.
        probe: nDCG@10 on the probe; None without one.
    """

    alpha: float
    dev: float
    probe: float | None


def choose(points: Sequence[Point], tolerance: float) -> Point:
    """The point that is kept.

    Among those that lose at most `tolerance` on the probe against alpha = 0, which is always one
    of them, the one with the best dev score; of equals the smallest alpha, which moved the least.

    Args:
        points: one of them with alpha 0.
        tolerance: `finetune.probe_tolerance`.
    """
    base = next(point for point in points if point.alpha == 0)
    within = [
        point
        for point in points
        if base.probe is None
        or point.probe is None
        or not fell_too_far(base.probe, point.probe, tolerance)
    ]
    return min(within, key=lambda point: (-point.dev, point.alpha))


class Sweep:
    """The points of one training, measured one after another; a killed sweep goes on.

    Args:
        folder: beside the checkpoint.
        of: what the tuned weights are; points of other weights are measured anew.
    """

    def __init__(self, folder: Path, of: Mapping[str, int | float]) -> None:
        self._folder = folder
        self._of = dict(of)
        self._points = self._read()

    def run(
        self,
        model: torch.nn.Module,
        load_base: Callable[[], torch.nn.Module],
        measure: Callable[[], tuple[float, float | None]],
        known: Sequence[Point],
    ) -> tuple[Point, ...]:
        """Measure every alpha; `model` ends with some of the weights, see `apply`.

        Beside the model there is one copy of the base in host memory; the tuned weights are read
        from the disk, tensor by tensor.

        Args:
            model: with the tuned weights.
            load_base: the base once more, with the same parameters.
            measure: dev and probe nDCG@10 of the model as it is.
            known: points that need no measuring.

        Raises:
            OSError: the disk is full.
        """
        parameters = model.named_parameters()
        tuned = {name: value.detach().cpu().contiguous() for name, value in parameters}
        with replacing(self._folder / _TUNED) as temporary:
            save_tensors(tuned, temporary)
        del tuned
        base = dict(load_base().named_parameters())
        have = {point.alpha: point for point in (*self._points, *known)}
        for alpha in ALPHAS:
            if alpha not in have:
                self._blend(model, base, alpha)
                have[alpha] = Point(alpha, *measure())
                self._write([have[alpha] for alpha in ALPHAS if alpha in have])
        self._base = base
        return tuple(have[alpha] for alpha in ALPHAS)

    def apply(self, model: torch.nn.Module, alpha: float) -> None:
        """Put the weights of one point into `model`, after `run`."""
        self._blend(model, self._base, alpha)

    def _blend(
        self, model: torch.nn.Module, base: Mapping[str, torch.Tensor], alpha: float
    ) -> None:
        with torch.no_grad(), safe_open(self._folder / _TUNED, framework="pt") as tuned:
            for name, parameter in model.named_parameters():
                parameter.copy_(mean_of(base[name].detach(), tuned.get_tensor(name), alpha))

    def _read(self) -> list[Point]:
        path = self._folder / _SWEEP
        if not path.is_file():
            return []
        try:
            document = read_json(path)
            points = [Point(**point) for point in document["points"]]
        except (BadInput, KeyError, TypeError):
            return []  # replaced as a whole, so somebody else damaged it: measured anew
        return points if document.get("of") == self._of else []

    def _write(self, points: Sequence[Point]) -> None:
        write_json(
            self._folder / _SWEEP, {"of": self._of, "points": [asdict(point) for point in points]}
        )


def mean_of(base: torch.Tensor, tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """(1 - alpha) * base + alpha * tuned; at 0 and 1 the one or the other, bit for bit.

    Args:
        base: of any shape, float.
        tuned: of the same shape and type.
        alpha: from 0 to 1.
    """
    if alpha in (0.0, 1.0):
        return tuned if alpha else base
    return (1 - alpha) * base + alpha * tuned
