"""The one place where a batch's texts become vectors and its loss becomes gradients.

The loss is over the whole batch, but the activations of a whole batch don't fit: a batch of
64 queries with 5 passages each of 256 tokens would need 25 GB on MiniLM. So micro-batches are
kept until a memory budget is spent, and the others are embedded twice: once without a graph for
the loss, once more with one for its gradient. That is gradient caching (Gao et al., "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", 2021), for the part that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch

from pipeline.finetune.passes import Forward, InTurn, Passes, SideBySide, Tokens, lanes_for
from pipeline.finetune.randomness import TorchState
from pipeline.memory import TEXTS_A_PASS, ram_bytes
from pipeline.packing import placed

CPU_ACTIVATION_SHARE = 0.25
"""Of the machine's memory, for activations on a CPU; of all of it, not of what is free now, so that
the same inputs give the same bits there."""

CPU_ACTIVATION_BYTES_MAX = 6 << 30
"""On a CPU no more: a batch of 16 questions with five passages each that fill MiniLM's window."""

GPU_ACTIVATION_SHARE = 0.5
"""Of the GPU's memory, for activations; weights, gradients and optimizer need the rest."""

GPU_ACTIVATION_BYTES_MAX = 40 << 30
"""Of a larger GPU no more: some 20,000 tokens of a 1B model keep it busy, and 80 GB are enough."""

PASS_TOKENS_MAX = 32_768
"""Of a forward pass that the machine chooses. More rows make no GPU's products faster, even of a
small model whose texts all fit; and the more is computed at once, the more is lost and begun again
where memory turns out to be full."""

LANE_TOKENS = 1024
"""Of a batch, for each pass that is computed beside others: each writes gradients of all weights,
which for so many tokens is some 3 % of the work."""

LossOf = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Budget:
    """What one optimizer step may take of the memory, in tokens.

    Attributes:
        pass_tokens: of a forward pass; a text that is longer goes alone.
        kept_tokens: whose activations may be held at once. The rest is computed twice, with the
            same dropout; the gradients are the same.
        padded: whether texts are padded to the longest of their pass; then padding counts.
        lanes: how many passes may be computed side by side; see `lanes_for`.
    """

    pass_tokens: int
    kept_tokens: int
    padded: bool = False
    lanes: int = 1

    def lanes_over(self, tokens: int) -> int:
        """How many passes are computed side by side of a batch of so many tokens."""
        return max(1, min(self.lanes, tokens // LANE_TOKENS))

    def pass_tokens_over(self, tokens: int) -> int:
        """The most tokens of a pass of a batch of so many: every lane gets as many full passes."""
        lanes = self.lanes_over(tokens)
        if lanes == 1:
            return self.pass_tokens
        most = max(1, min(self.pass_tokens, self.kept_tokens // lanes))
        passes = lanes * -(-tokens // (lanes * most))
        return -(-tokens // passes)

    def halved(self, *batches: Sequence[int]) -> Budget | None:
        """Half of what a step took, in one lane; None where each text goes alone, none kept.

        Args:
            batches: tokens of each text, by batch; one batch after another takes memory, so the
                largest counts.
        """
        cuts = [cut(lengths, self) for lengths in batches]
        shortest = min(min(lengths) for lengths in batches)
        single = all(len(part.texts) == 1 for parts in cuts for part in parts)
        if single and self.kept_tokens < shortest and self.lanes == 1:
            return None
        taken = max(part.tokens for parts in cuts for part in parts)
        computed = max(sum(part.tokens for part in parts) for parts in cuts)
        kept = min(self.kept_tokens, computed)
        return replace(self, pass_tokens=max(1, taken // 2), kept_tokens=kept // 2, lanes=1)

    def at_most(self, pass_tokens: int, kept_tokens: int, lanes: int) -> Budget:
        """The smaller of this and of what a training was computed with that is gone on with."""
        return replace(
            self,
            pass_tokens=min(pass_tokens, self.pass_tokens),
            kept_tokens=min(kept_tokens, self.kept_tokens),
            lanes=min(lanes, self.lanes),
        )


@dataclass(frozen=True)
class MicroBatch:
    """Texts that go through the model together.

    Attributes:
        texts: their positions in the batch.
        tokens: that are computed.
    """

    texts: tuple[int, ...]
    tokens: int


def cut(lengths: Sequence[int], budget: Budget) -> list[MicroBatch]:
    """Micro-batches within the budget, shortest texts first, so that little is padding."""
    parts: list[MicroBatch] = []
    texts: tuple[int, ...] = ()
    tokens, most = 0, budget.pass_tokens_over(sum(lengths))
    for text in sorted(range(len(lengths)), key=lambda text: lengths[text]):
        length = lengths[text]
        more = (len(texts) + 1) * length if budget.padded else tokens + length
        if texts and more > most:
            parts.append(MicroBatch(texts, tokens))
            texts, more = (), length
        texts, tokens = (*texts, text), more
    return [*parts, MicroBatch(texts, tokens)]


def backward(
    forward: Forward, texts: Tokens, loss_of: LossOf, budget: Budget, model: torch.nn.Module
) -> torch.Tensor:
    """Add the gradients of one batch's loss to the model's parameters.

    Args:
        forward: token ids to vectors, (n, dimension).
        texts: token ids of the batch's texts.
        loss_of: vectors of all texts, in their order, to a scalar; draws no random numbers.
        budget: what may be computed and held at once.
        model: what `forward` runs.

    Returns:
        The loss, detached.
    """
    lengths = [len(text) for text in texts]
    parts = cut(lengths, budget)
    passes = _passes(forward, texts, parts, budget, model)
    outputs = passes.forward()
    order = placed(torch.tensor([text for part in parts for text in part.texts]), outputs[0].device)
    vectors = torch.cat(outputs)[torch.argsort(order)].requires_grad_()
    loss = loss_of(vectors)
    (gradient,) = torch.autograd.grad(loss, vectors)
    # In the order of the parts, once: an index from the CPU would wait for a GPU at each of them.
    passes.backward(gradient[order].split_with_sizes([len(part.texts) for part in parts]))
    return loss.detach()


def _passes(
    forward: Forward,
    texts: Tokens,
    parts: Sequence[MicroBatch],
    budget: Budget,
    model: torch.nn.Module,
) -> Passes:
    """As many graphs as fit are held: those of the first parts."""
    given = [[texts[text] for text in part.texts] for part in parts]
    held = accumulate(part.tokens for part in parts)
    kept = [tokens <= budget.kept_tokens for tokens in held]
    lanes = min(len(parts), budget.lanes_over(sum(len(text) for text in texts)))
    if lanes > 1:
        return SideBySide(forward, given, kept, model, lanes)
    return InTurn(forward, given, kept)


def measured_budget(
    forward: Forward,
    longest: Callable[[int], Tokens],
    count: int,
    model: torch.nn.Module,
    padded: bool,
) -> Budget:
    """What fits into memory, by a forward pass over the longest texts.

    Args:
        forward: token ids to vectors.
        longest: so many of the longest texts, or all where there are fewer.
        count: `finetune.micro_batch_size`.
        model: what `forward` runs, in training.
        padded: whether texts are padded to the longest of their pass.
    """
    sample = longest(count or TEXTS_A_PASS)
    length = max(map(len, sample))
    computed = len(sample) * length if padded else sum(map(len, sample))
    parameters = list(model.parameters())
    held = activation_bytes(forward, sample, parameters)
    device = parameters[0].device
    budget = activation_budget(device)
    kept = budget * computed // max(1, held)
    if count == 0 and device.type != "cpu":
        once = activation_bytes(forward, [sample[0][:1]], parameters)
        kept = tokens_kept(budget, held, computed, once)
    lanes = lanes_for(forward, sample[:1], model, budget)
    return Budget(tokens_a_pass(count, length, kept, device), kept, padded, lanes)


def tokens_kept(budget: int, held: int, tokens: int, once: int) -> int:
    """How many tokens' activations fit, in passes as large as `PASS_TOKENS_MAX`.

    A pass in bfloat16 holds a copy of all weights, however many tokens it has: for a model of a
    billion a quarter of what a measurement with few texts finds.

    Args:
        budget: bytes for activations.
        held: bytes that a pass over `tokens` holds.
        tokens: of that pass.
        once: bytes that a pass over one token holds.
    """
    each = max(1.0, (held - once) / max(1, tokens - 1))
    a_pass = max(1.0, min((budget - once) / each, PASS_TOKENS_MAX))
    return int(budget / (each + once / a_pass))


def tokens_a_pass(count: int, longest: int, kept_tokens: int, device: torch.device) -> int:
    """How many tokens go through the model at once.

    Args:
        count: so many texts of the longest one's length; 0 lets the machine choose: on a GPU, where
            large products are fast, as many as are kept, within bounds.
        longest: tokens of the longest text.
        kept_tokens: whose activations memory holds.
        device: where it is computed.
    """
    if count == 0 and device.type != "cpu":
        return max(longest, min(kept_tokens, PASS_TOKENS_MAX))
    return (count or TEXTS_A_PASS) * longest


def activation_bytes(forward: Forward, texts: Tokens, parameters: Sequence[torch.Tensor]) -> int:
    """Bytes that autograd holds for one forward pass over `texts`, weights not counted.

    Measured rather than estimated, since it depends on architecture, attention kernel, dropout
    and precision. Leaves random numbers as they were.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    # With the storages, not their sizes alone: what is freed on the way would lend its address to
    # another one, here and not there, and the same inputs must give the same number.
    held: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage
        return tensor.detach()

    state = TorchState.now()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward(texts)
    state.restore()
    return sum(storage.nbytes() for storage in held.values())


def activation_budget(device: torch.device) -> int:
    """Bytes that activations may take."""
    if device.type == "cuda":
        share = int(torch.cuda.mem_get_info(device)[1] * GPU_ACTIVATION_SHARE)
        return min(share, GPU_ACTIVATION_BYTES_MAX)
    return min(int(ram_bytes() * CPU_ACTIVATION_SHARE), CPU_ACTIVATION_BYTES_MAX)
