"""Passes over the parts of a batch: forward without their loss, then backward with its gradients.

One after another, or on a CPU side by side: threads that have a pass each are done sooner than
threads that share one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol, TypeVar

import torch

from pipeline.dropout import draw_seeds, noise_from
from pipeline.finetune.kernels import is_checkpointed, is_compiled
from pipeline.finetune.randomness import TorchState
from pipeline.threads import lanes

Tokens = Sequence[Sequence[int]]
Forward = Callable[[Tokens], torch.Tensor]
Result = TypeVar("Result")


class Passes(Protocol):
    """Parts of one batch on their way through the model, once."""

    def forward(self) -> list[torch.Tensor]:
        """Vectors of each part, without a graph."""

    def backward(self, gradients: Sequence[torch.Tensor]) -> None:
        """Add to the weights' gradients what the parts' vectors pass on, given theirs."""


class InTurn:
    """One pass after another.

    Args:
        forward: token ids to vectors.
        parts: their texts.
        kept: of each part, whether its graph is held; the others are computed once more for their
            gradient, with the same random numbers.
    """

    def __init__(self, forward: Forward, parts: Sequence[Tokens], kept: Sequence[bool]) -> None:
        self._forward = forward
        self._parts = parts
        self._kept = kept
        self._graphs: list[tuple[int, torch.Tensor]] = []
        self._again: list[tuple[int, TorchState]] = []

    def forward(self) -> list[torch.Tensor]:
        """See `Passes`."""
        outputs = []
        for number, part in enumerate(self._parts):
            state = TorchState.now()
            with torch.set_grad_enabled(self._kept[number]):
                output = self._forward(part)
            outputs.append(output.detach())
            if self._kept[number]:
                self._graphs.append((number, output))
            else:
                self._again.append((number, state))
        return outputs

    def backward(self, gradients: Sequence[torch.Tensor]) -> None:
        """See `Passes`."""
        while self._graphs:
            number, output = self._graphs.pop()
            torch.autograd.backward(output, gradients[number])
        # The last of them ends where the random numbers were: they are the last in both passes.
        for number, state in self._again:
            state.restore()
            torch.autograd.backward(self._forward(self._parts[number]), gradients[number])


class SideBySide:
    """Passes that threads of a CPU compute side by side, each its own share.

    The same bits at any time: every part has a seed, a lane always the same parts, and sums one
    order.

    Args:
        forward: token ids to vectors; draws no random numbers but noise of `pipeline.dropout`.
        parts: their texts.
        kept: as of `InTurn`.
        model: what `forward` runs.
        count: of lanes; at most as many as parts.
    """

    def __init__(
        self,
        forward: Forward,
        parts: Sequence[Tokens],
        kept: Sequence[bool],
        model: torch.nn.Module,
        count: int,
    ) -> None:
        self._forward = forward
        self._parts = parts
        self._kept = kept
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._seeds = draw_seeds(len(parts))
        self._shares = shares([sum(map(len, part)) for part in parts], count)
        self._graphs: dict[int, torch.Tensor] = {}

    def forward(self) -> list[torch.Tensor]:
        """See `Passes`."""
        found = {number: one for part in self._run(self._embed) for number, one in part.items()}
        self._graphs = {number: one for number, one in found.items() if self._kept[number]}
        return [found[number].detach() for number in range(len(self._parts))]

    def backward(self, gradients: Sequence[torch.Tensor]) -> None:
        """See `Passes`."""

        def work(share: Sequence[int]) -> Sequence[torch.Tensor | None]:
            return self._gradients(share, gradients)

        for weight, *found in zip(self._weights, *self._run(work), strict=True):
            weight.grad = reduce(_sum, found, weight.grad)

    def _run(self, work: Callable[[Sequence[int]], Result]) -> list[Result]:
        with lanes(len(self._shares)) as pool:
            return list(pool.map(work, self._shares))

    def _embed(self, share: Sequence[int]) -> dict[int, torch.Tensor]:
        return {number: self._pass(number, self._kept[number]) for number in share}

    def _pass(self, number: int, graph: bool) -> torch.Tensor:
        with noise_from(self._seeds[number]), torch.set_grad_enabled(graph):
            return self._forward(self._parts[number])

    def _gradients(
        self, share: Sequence[int], gradients: Sequence[torch.Tensor]
    ) -> Sequence[torch.Tensor | None]:
        """Sums over a share's parts, of each weight; what is held goes first, and is freed."""
        total: list[torch.Tensor | None] = [None] * len(self._weights)
        for number in sorted(share, key=lambda number: not self._kept[number]):
            output = self._graphs.pop(number) if self._kept[number] else self._pass(number, True)
            found = torch.autograd.grad(output, self._weights, gradients[number], allow_unused=True)
            for place, gradient in enumerate(found):
                total[place] = _sum(total[place], gradient)
        return total


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    """A tensor of its own: what autograd hands out may be another's view."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def shares(work: Sequence[int], count: int) -> list[list[int]]:
    """Numbers of pieces of work, dealt so that nobody has much more than others.

    Largest first, to whom has least: Graham, "Bounds on Multiprocessing Timing Anomalies" (1969).
    """
    dealt: list[list[int]] = [[] for _ in range(count)]
    sums = [0] * count
    for number in sorted(range(len(work)), key=lambda number: -work[number]):
        least = sums.index(min(sums))
        dealt[least].append(number)
        sums[least] += work[number]
    return dealt


def lanes_for(forward: Forward, sample: Tokens, model: torch.nn.Module, memory: int) -> int:
    """How many passes may be computed side by side at most.

    As many as torch has threads, on a CPU, where a pass draws nothing from torch's generator, which
    all threads share. Neither compilers nor checkpointed layers know about our noise.

    Args:
        forward: token ids to vectors, in training.
        sample: texts to try it with.
        model: what `forward` runs.
        memory: bytes for gradients: of all weights, one pass's and a lane's sums.
    """
    on_cpu = all(weight.device.type == "cpu" for weight in model.parameters())
    if not on_cpu or is_checkpointed(model) or is_compiled(model):
        return 1
    state = TorchState.now()
    with noise_from(0), torch.no_grad():
        forward(sample)
    draws = not torch.equal(state.cpu, torch.get_rng_state())
    state.restore()
    weights = sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    return 1 if draws else max(1, min(torch.get_num_threads(), memory // (2 * weights)))
