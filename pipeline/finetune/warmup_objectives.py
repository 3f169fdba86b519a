"""What a warm-up makes smaller: masked tokens, deleted tokens, or weak pairs, each one class.

An objective holds the weights that it needs beside the encoder's; they are thrown away after it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from pipeline.corpus.records import Passage
from pipeline.encoder import Encoder
from pipeline.encoder_files import embedding_table
from pipeline.errors import BadInput, BadRecipe
from pipeline.finetune.batches import text_marks, unrelated
from pipeline.finetune.examples import TokenStore, tokenized
from pipeline.finetune.fitting import compute_fitting, fitting_budget
from pipeline.finetune.gradients import Budget, backward
from pipeline.finetune.losses import info_nce
from pipeline.finetune.passes import Tokens
from pipeline.finetune.warmup_texts import (
    NOT_ASKED,
    delete_tokens,
    mask_tokens,
    weak_pairs,
)
from pipeline.settings import FinetuneSettings


class WarmupObjective(Protocol):
    """One way to learn from bare passages.

    Attributes:
        items: passages or pairs, of which a batch takes some.
        head: weights beside the encoder's.
        budget: what a batch may take of the memory that goes through the model in micro-batches;
            None where it goes as a whole.
    """

    items: int
    head: torch.nn.Module
    budget: Budget | None

    def backward(self, batch: Sequence[int], generator: np.random.Generator) -> torch.Tensor:
        """Add the gradients of some items' loss to all weights, which have none yet.

        Args:
            batch: their numbers.
            generator: what noise is drawn from; dropout draws from torch.

        Returns:
            The loss, detached.

        Raises:
            torch.OutOfMemoryError: the GPU's memory is full, and a batch goes as a whole.
            StageFailure: the memory doesn't hold one text alone.
        """


def objective_for(
    settings: FinetuneSettings, encoder: Encoder, passages: Sequence[Passage]
) -> WarmupObjective:
    """The objective that `finetune.warmup.objective` names.

    Args:
        settings: its name, and for pairs temperature and micro-batches.
        encoder: the model to be trained.
        passages: of the training fold, document by document, in reading order.

    Raises:
        BadRecipe: the model can't learn in this way.
        BadInput: there is too little text.
    """
    name = settings.warmup.objective
    if name == "pairs":
        return WeakPairs(encoder, passages, settings)
    texts = _readable(encoder, passages)
    if name == "mlm":
        return MaskedTokens(encoder, texts)
    return DeletedTokens(encoder, texts)


class MaskedTokens:
    """MLM: guess hidden tokens (Devlin et al., "BERT", 2019), with BERT's own kind of head.

    The head's matrix is the encoder's table of embeddings; saved encoders carry no head, so the
    rest of it starts anew.
    """

    budget: Budget | None = None

    def __init__(self, encoder: Encoder, texts: TokenStore) -> None:
        if encoder.tokenizer.mask_token_id is None:
            raise _unfit("mlm", encoder, "its tokenizer has no mask token")
        self.items = len(texts)
        width = embedding_table(encoder.model).shape[1]
        self.head: torch.nn.Module = torch.nn.Sequential(
            torch.nn.Linear(width, width), torch.nn.GELU(), torch.nn.LayerNorm(width)
        ).to(encoder.device)
        self._encoder = encoder
        self._texts = texts
        self._special = frozenset(encoder.tokenizer.all_special_ids)

    def backward(self, batch: Sequence[int], generator: np.random.Generator) -> torch.Tensor:
        """Of the mean cross-entropy over the hidden tokens."""
        return _backward(self._encoder, lambda: self._loss(batch, generator))

    def _loss(self, batch: Sequence[int], generator: np.random.Generator) -> torch.Tensor:
        encoder = self._encoder
        table = embedding_table(encoder.model)
        mask = int(encoder.tokenizer.mask_token_id)
        vocabulary = len(encoder.tokenizer)
        noised = [
            mask_tokens(self._texts[item], self._special, mask, vocabulary, generator)
            for item in batch
        ]
        tokens, attention = _padded(encoder, [seen for seen, _ in noised])
        asked, _ = _padded(encoder, [labels for _, labels in noised], NOT_ASKED)
        states = encoder.model(input_ids=tokens, attention_mask=attention).last_hidden_state
        hidden = asked != NOT_ASKED
        logits = self.head(states[hidden]) @ table.T
        return functional.cross_entropy(logits.float(), asked[hidden])


class DeletedTokens:
    """TSDAE: write a text anew from the vector of what noise has left of it.

    Wang, Reimers and Gurevych, "TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder
    for Unsupervised Sentence Embedding Learning" (2021). The decoder's layers are the encoder's
    own, but for the attention to the vector, so that all of it must go through the vector.
    """

    budget: Budget | None = None

    def __init__(self, encoder: Encoder, texts: TokenStore) -> None:
        self.items = len(texts)
        self.head = _tied_decoder(encoder)
        # All of the vector, whatever is cut off later.
        uncut = replace(encoder.settings, dimension=0)
        self._encoder = Encoder(
            encoder.model, encoder.tokenizer, encoder.profile, uncut, encoder.device
        )
        self._texts = texts
        self._special = frozenset(encoder.tokenizer.all_special_ids)

    def backward(self, batch: Sequence[int], generator: np.random.Generator) -> torch.Tensor:
        """Of the mean cross-entropy over the tokens after the first."""
        return _backward(self._encoder, lambda: self._loss(batch, generator))

    def _loss(self, batch: Sequence[int], generator: np.random.Generator) -> torch.Tensor:
        texts = [self._texts[item] for item in batch]
        noised = [delete_tokens(text, self._special, generator) for text in texts]
        vectors = self._encoder.forward(noised)
        tokens, attention = _padded(self._encoder, [text[:-1] for text in texts])
        wanted, _ = _padded(self._encoder, [text[1:] for text in texts], NOT_ASKED)
        logits = self.head(
            input_ids=tokens,
            attention_mask=attention,
            encoder_hidden_states=vectors[:, None, :],
            use_cache=False,
        ).logits
        return functional.cross_entropy(
            logits.float().flatten(0, 1), wanted.flatten(), ignore_index=NOT_ASKED
        )


class WeakPairs:
    """Contrastive learning on `weak_pairs`: the one way for a model without a mask token.

    The other pairs of a batch are the negatives, but for those of the same document, since
    neighbours of neighbours may well answer each other, and those that share a text: every
    document may have an introduction.
    """

    def __init__(
        self, encoder: Encoder, passages: Sequence[Passage], settings: FinetuneSettings
    ) -> None:
        pairs = weak_pairs(passages)
        if len({pair.document for pair in pairs}) < 2:
            raise BadInput(
                "The training fold has no pairs of headings, passages and neighbours of two "
                "documents, which a warm-up on pairs needs.",
                safe="Nothing was trained; every earlier result is kept.",
                next_step="Give more documents, or set finetune.warmup.objective=none.",
            )
        self.items = len(pairs)
        self.head = torch.nn.Module()
        self._encoder = encoder
        left, right = [pair.left for pair in pairs], [pair.right for pair in pairs]
        self._texts = TokenStore(
            chain(
                tokenized(encoder.tokenize, left, "query"),
                tokenized(encoder.tokenize, right, "passage"),
            )
        )
        self._marks = [
            text_marks(pair.left, pair.right) | {("document", pair.document)} for pair in pairs
        ]
        self._temperature = settings.temperature
        precision, longest = encoder.precision(), self._texts.longest
        count = settings.micro_batch_size
        self.budget: Budget | None = fitting_budget(
            encoder, self._forward, precision, longest, count
        )

    def backward(self, batch: Sequence[int], generator: np.random.Generator) -> torch.Tensor:
        """Of InfoNCE, with as much at once as fits; draws nothing."""
        allowed = unrelated([self._marks[item] for item in batch]).to(self._encoder.device)

        def loss_of(vectors: torch.Tensor) -> torch.Tensor:
            similarity = vectors[: len(batch)] @ vectors[len(batch) :].T
            own_place = torch.arange(len(batch), device=vectors.device)
            return info_nce(similarity, own_place, allowed, self._temperature)

        places = [*batch, *(self.items + item for item in batch)]
        texts = [self._texts[place] for place in places]
        model, lengths = self._encoder.model, list(map(len, texts))

        def compute(budget: Budget) -> torch.Tensor:
            return backward(self._forward, texts, loss_of, budget, model)

        assert self.budget is not None
        fit = compute_fitting(compute, self.budget, [lengths], model)
        self.budget = fit.budget
        return fit.result

    def _forward(self, texts: Tokens) -> torch.Tensor:
        with self._encoder.precision():
            return self._encoder.forward(texts)


def _backward(encoder: Encoder, loss_of: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Add the gradients of a loss to the weights; returns it, detached."""
    with encoder.precision():
        loss = loss_of()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _readable(encoder: Encoder, passages: Sequence[Passage]) -> TokenStore:
    """The passages that hold more than special tokens."""
    special = set(encoder.tokenizer.all_special_ids)
    texts = tokenized(encoder.tokenize, [passage.text for passage in passages], "passage")
    kept = TokenStore(ids for ids in texts if len(ids) > 1 and set(ids) - special)
    if not len(kept):
        raise BadInput(
            "The training fold has no passage of two words, so there is nothing to warm up on.",
            safe="Nothing was trained; every earlier result is kept.",
            next_step="Give more documents, or set finetune.warmup.objective=none.",
        )
    return kept


def _padded(
    encoder: Encoder, rows: Sequence[Sequence[int]], filler: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as one matrix, padded on the right, and the mask of what is no padding."""
    padding = int(encoder.tokenizer.pad_token_id) if filler is None else filler
    longest = max(map(len, rows))
    matrix = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return matrix.to(encoder.device), mask.to(encoder.device)


def _tied_decoder(encoder: Encoder) -> torch.nn.Module:
    """A decoder of the encoder's architecture whose layers are the encoder's own modules.

    Raises:
        BadRecipe: the architecture has no decoder that attends to a vector.
    """
    config = copy.deepcopy(encoder.model.config)
    config.is_decoder, config.add_cross_attention = True, True
    try:
        decoder = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, attn_implementation="sdpa"
        )
    except ValueError as error:
        raise _unfit("tsdae", encoder, "transformers has no decoder of its kind") from error
    if not any("crossattention" in name for name, _ in decoder.named_parameters()):
        raise _unfit("tsdae", encoder, "its decoder can't attend to a vector")
    body, own = decoder.base_model, dict(encoder.model.named_modules())
    for name, module in list(body.named_modules()):
        if name in own and not list(module.children()) and list(module.parameters()):
            parent, _, last = name.rpartition(".")
            setattr(body.get_submodule(parent), last, own[name])
    decoder.get_output_embeddings().weight = encoder.model.get_input_embeddings().weight
    placed: torch.nn.Module = decoder.to(encoder.device)
    return placed


def _unfit(objective: str, encoder: Encoder, why: str) -> BadRecipe:
    return BadRecipe(
        f"finetune.warmup.objective = {objective!r} doesn't fit {encoder.profile.id}: {why}.",
        safe="Nothing was trained; every earlier result is kept.",
        next_step="Set finetune.warmup.objective=pairs, which fits every model, or none.",
    )
