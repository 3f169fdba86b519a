"""A cross-encoder that reads question and passage together, and scores each pair once.

Plain transformers, as `sentence_transformers.CrossEncoder` saves them, without remote code. Scores
lie in the embedding cache, by the model's weights and both texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.cache import EmbeddingCache, Vector, fill_missing
from pipeline.cache_files import RERANKINGS
from pipeline.encoder import precision_on, readable, side_by_side, without_graph
from pipeline.encoder_files import UNREADABLE, misfit
from pipeline.errors import BadInput, StageFailure, brief
from pipeline.files import digest_value

FORMAT = 1
"""Version of the scores; part of their space."""

TOKENS_MAX = 512
"""The longest pair that is read, where the model allows it: what rerankers are trained on."""

_LIMIT_UNSET = 1_000_000
"""Tokenizers without a limit say a huge number."""

Pair = tuple[str, str]


class Reranker:
    """Scores pairs of texts, from 0 to 1.

    Attributes:
        device: where the model lies.
        tokens_max: the longest pair in tokens; longer ones are cut, the longer text first.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        batch_size: int,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.device = device
        # A CPU's results are promised bit for bit, and in a batch they depend on the others.
        self._batch_size = 1 if device.type == "cpu" else batch_size
        limits = [tokenizer.model_max_length, _positions(model), TOKENS_MAX]
        self.tokens_max = min(int(limit) for limit in limits if limit and limit < _LIMIT_UNSET)

    def score(
        self, pairs: Sequence[Pair], on_batch: Callable[[int], None] = lambda done: None
    ) -> Vector:
        """The sigmoid of the model's one output for each pair, (n, 1).

        Args:
            pairs: question and passage each; best sorted by length.
            on_batch: called with the number of pairs done; it may raise to stop.

        Raises:
            StageFailure: the model gives numbers that are not finite.
        """
        starts = range(0, len(pairs), self._batch_size)
        batches = [pairs[start : start + self._batch_size] for start in starts]
        parts: list[Vector] = [np.zeros((0, 1), dtype=np.float32)]
        done = 0
        results = side_by_side(self._score, batches, self.device)
        # One region around all of them: a GPU's weights are cast once, not for each batch.
        with precision_on(self.device), closing(results):
            for part in results:
                parts.append(part)
                on_batch(done := done + len(part))
        scores = np.concatenate(parts)
        if not np.isfinite(scores).all():
            raise StageFailure(
                "The reranker gives numbers that are not finite.",
                safe="Nothing was written from them.",
                next_step="Its weights are damaged: get them again, or name another one.",
            )
        return scores

    def _score(self, pairs: Sequence[Pair]) -> torch.Tensor:
        encoded = self._tokenizer(
            [readable(question) for question, _ in pairs],
            [readable(passage) for _, passage in pairs],
            truncation="longest_first",
            max_length=self.tokens_max,
            padding=True,
            return_tensors="pt",
        ).to(self.device)
        with without_graph(self.device):
            logits: torch.Tensor = self._model(**encoded).logits
            return torch.sigmoid(logits.float())


def load_reranker(folder: Path, device: str, batch_size: int) -> Reranker:
    """Load a cross-encoder in float32.

    Args:
        folder: weights, configuration and tokenizer.
        device: `cpu` or `cuda`.
        batch_size: pairs a forward pass, on a GPU.

    Raises:
        BadInput: something is missing or damaged, would be made up, doesn't fit together, asks for
            remote code, or the model has another number of outputs than one.
    """
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (*UNREADABLE, KeyError, TypeError, ImportError) as error:
        raise _unusable(folder, f"cannot be read: {brief(error)}") from error
    if report["missing_keys"]:
        raise _unusable(folder, f"lacks {min(report['missing_keys'])}, which would be made up")
    if model.config.num_labels != 1:
        raise _unusable(folder, f"has {model.config.num_labels} outputs where a score is one")
    if said := misfit(tokenizer, model):
        raise _unusable(folder, f"has a tokenizer that {said}")
    if tokenizer.pad_token is None:
        raise _unusable(folder, "has a tokenizer without a padding token")
    model.train(False)
    place = torch.device(device)
    torch.nn.Module.to(model, place)
    return Reranker(model, tokenizer, place, batch_size)


def score_cached(
    reranker: Reranker,
    pairs: Sequence[Pair],
    weights_digest: str,
    cache_folder: Path,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """The scores of pairs, in the order given; only those that nobody scored before are computed.

    Args:
        reranker: what scores.
        pairs: question and passage each.
        weights_digest: identity of its weights (`pipeline.weights.folder_digest`).
        cache_folder: the machine's cache folder.
        on_batch: called with (done, total) of those; it may raise to stop, and what was finished
            is kept.

    Raises:
        StageFailure: the model gives numbers that are not finite.
        OSError: the disk is full.
    """
    device = reranker.device.type
    precision = [] if device == "cpu" else ["bfloat16"]
    rule = [FORMAT, weights_digest, reranker.tokens_max, device, *precision]
    space = digest_value(rule)[:16]
    cache = EmbeddingCache(cache_folder / RERANKINGS / space, 1)
    keys = [_pair_key(pair) for pair in pairs]
    scores = np.zeros((len(pairs), 1), dtype=np.float32)

    def compute(places: Sequence[int], done: int, total: int) -> Vector:
        some = [pairs[place] for place in places]
        return reranker.score(some, lambda count: on_batch(done + count, total))

    # The longest first: a batch holds pairs of one length, and a lack of memory shows at once.
    fill_missing(cache, keys, scores, compute, lambda place: sum(map(len, pairs[place])))
    return [float(score) for score in scores[:, 0]]


def _positions(model: PreTrainedModel) -> int | None:
    """The tokens that a model has positions for, if it says so."""
    for name, module in model.named_modules():
        table = module if name.endswith("position_embeddings") else None
        if isinstance(table, torch.nn.Embedding) and table.padding_idx is not None:
            return table.num_embeddings - table.padding_idx - 1  # RoBERTa counts from behind it
    most: int | None = getattr(model.config, "max_position_embeddings", None)
    return most


def _pair_key(pair: Pair) -> bytes:
    parts = [text.encode("utf-8", "surrogatepass") for text in pair]
    # With its length in front no two pairs read alike.
    return hashlib.sha256(b"%d\n" % len(parts[0]) + parts[0] + parts[1]).digest()


def _unusable(folder: Path, why: str) -> BadInput:
    return BadInput(
        f"The reranker in {folder} {why}.",
        safe="Nothing was changed.",
        next_step="Name a folder that CrossEncoder.save_pretrained wrote, with one output, or none "
        "(prep.reranker, finetune.distillation.teacher).",
    )
