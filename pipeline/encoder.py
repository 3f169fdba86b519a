"""A profile made into an encoder: load, prefix, pool, cut, normalise, save.

Plain transformers: importing sentence-transformers takes half as long again, and its folder
format is all that is needed from it. No remote code is ever run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pipeline.attention import packs
from pipeline.bidirectional import is_bidirectional, may_be_causal
from pipeline.encoder_files import load_model, load_tokenizer, save_folder
from pipeline.errors import BadInput, BadRecipe, NotFinite
from pipeline.llama_layers import lighten
from pipeline.packing import Packed, first_position, is_packing, placed
from pipeline.profiles import Profile
from pipeline.settings import EncoderSettings
from pipeline.threads import lanes

Kind = Literal["query", "passage"]
Batch = TypeVar("Batch")
Item = TypeVar("Item")

TEXTS_AT_ONCE = 10_000
"""Tokenised at once: as lists, token ids take nine times what they take in an array, and while a
tokenizer works nobody who asks to stop is heard."""


class Encoder:
    """Texts to vectors, by one rule for mining, training, evaluation and export.

    Attributes:
        model: the transformer, of the class that `AutoModel` chooses.
        tokenizer: its tokenizer; it always has a padding token.
        profile: the base model's rules: prefixes, pooling, normalisation.
        settings: token limits, batch size, dimension.
        device: where the model lies.
        dimension: numbers a vector has, after the optional Matryoshka cut.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        profile: Profile,
        settings: EncoderSettings,
        device: torch.device,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.profile = profile
        self.settings = settings
        self.device = device
        self.dimension = settings.dimension or profile.dimension
        self._first_position = first_position(
            model, max(self.tokens_max("query"), self.tokens_max("passage"))
        )

    def prefix(self, kind: Kind) -> str:
        """What is put before a text of this kind, character for character."""
        return self.profile.query_prefix if kind == "query" else self.profile.passage_prefix

    def tokens_max(self, kind: Kind) -> int:
        """The longest text of this kind in tokens, special tokens included."""
        asked = self.settings.query_tokens if kind == "query" else self.settings.passage_tokens
        return min(asked, self.profile.tokens_max)

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[list[int]]:
        """Token ids of each text: prefix, special tokens, cut at the kind's limit."""
        if not texts:
            return []
        prefix = self.prefix(kind)
        encoded = self.tokenizer(
            [prefix + readable(text) for text in texts],
            truncation=True,
            max_length=self.tokens_max(kind),
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        # A tokenizer without special tokens gives nothing for an empty text.
        return [list(ids) or [self._padding] for ids in encoded["input_ids"]]

    def forward(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Vectors of tokenised texts, (n, dimension) float32, with grad where it is enabled.

        Packed where model and device can, else padded on the right to the longest text given; the
        numbers are the same. Dropout follows `model.training`.
        """
        if not token_ids:
            return torch.zeros((0, self.dimension), device=self.device)
        pooled = self._packed(token_ids) if self.packs else self._padded(token_ids)
        cut = pooled[:, : self.dimension]
        return functional.normalize(cut, dim=1) if self.profile.normalize else cut

    def precision(self) -> torch.autocast:
        """bf16 over fp32 weights on a GPU; a region for one forward pass.

        Inside a region weights are cast once: casts made without a graph would serve a later pass
        that needs one.
        """
        return precision_on(self.device)

    @property
    def packs(self) -> bool:
        """Whether a forward pass would be packed now; it computes padding otherwise."""
        if self._first_position is None or not is_packing(self.model):
            return False
        config = self.model.config
        names = ("attention_probs_dropout_prob", "attention_dropout")
        dropout = max(float(getattr(config, name, None) or 0) for name in names)
        return packs(self.device, dropout if self.model.training else 0.0)

    def _packed(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        assert self._first_position is not None
        packed = Packed.of(token_ids, self._first_position, self.device)
        return packed.pool(packed.states(self.model).float(), self.profile.pooling)

    def _padded(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        longest = max(len(ids) for ids in token_ids)
        tokens = torch.tensor(
            [[*ids, *[self._padding] * (longest - len(ids))] for ids in token_ids]
        )
        lengths = torch.tensor([len(ids) for ids in token_ids])
        mask = (torch.arange(longest) < lengths[:, None]).long()
        hidden = self.model(
            input_ids=placed(tokens, self.device), attention_mask=placed(mask, self.device)
        ).last_hidden_state.float()
        return pool(hidden, placed(lengths, self.device), self.profile.pooling)

    def encode(
        self,
        texts: Sequence[str],
        kind: Kind,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Vectors of texts, (n, dimension) float32, in the order given; dropout off.

        They are tokenised and encoded `TEXTS_AT_ONCE` at a time. On a GPU: in bfloat16 over
        float32 weights, as it trains, and in batches of `settings.batch_size`, the longest of
        them first, so that a lack of memory shows early. On a CPU: one text a thread, so that a
        vector depends on its text alone, bit for bit, whatever else is encoded or cached and
        however many threads there are; it is also faster there than padded batches.

        Args:
            texts: what to encode, without prefix.
            kind: `query` or `passage`.
            on_batch: called with (done, total) after each batch; it may raise to stop.

        Raises:
            NotFinite: the model gives numbers that are infinite or none at all.
        """
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        training = self.model.training
        self.model.train(False)
        done = 0
        try:
            # One region around all of them: a GPU's weights are cast once, not for each batch.
            with self.precision(), closing(self._encoded(texts, kind)) as batches:
                for rows, result in batches:
                    if not np.isfinite(result).all():
                        raise _not_finite(self.profile)
                    vectors[rows] = result
                    done += len(rows)
                    if on_batch is not None:
                        on_batch(done, len(texts))
        finally:
            self.model.train(training)
        return vectors

    def _encoded(
        self, texts: Sequence[str], kind: Kind
    ) -> Generator[tuple[list[int], NDArray[np.float32]], None, None]:
        """Batch by batch: the places of its texts, and their vectors."""
        size = 1 if self.device.type == "cpu" else self.settings.batch_size
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            token_ids = self.tokenize(texts[first : first + TEXTS_AT_ONCE], kind)
            order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))
            places = [order[start : start + size] for start in range(0, len(order), size)]
            batches = [[token_ids[row] for row in rows] for rows in places]
            with closing(side_by_side(self._computed, batches, self.device)) as results:
                for rows, result in zip(places, results, strict=True):
                    yield [first + row for row in rows], result

    def _computed(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """What `forward` gives, without a graph."""
        with without_graph(self.device):
            return self.forward(token_ids)

    def save(self, folder: Path, card: str) -> None:
        """Write a sentence-transformers folder that replaces `folder` as a whole.

        It holds all dimensions; a Matryoshka cut is written as `truncate_dim`, and
        sentence-transformers then needs `normalize_embeddings=True` to scale the cut vector.

        Args:
            folder: a new folder, or one that this function wrote before.
            card: the model card, written as README.md.

        Raises:
            OSError: the disk is full; `folder` is untouched.
            StageFailure: `folder` holds something that is no saved model, or what was written
                reads from left to right only; `folder` is untouched.
        """
        tokens = max(self.tokens_max("query"), self.tokens_max("passage"))
        save_folder(
            folder, self.model, self.tokenizer, self.profile, tokens, self.settings.dimension, card
        )

    @property
    def _padding(self) -> int:
        return int(self.tokenizer.pad_token_id)


def side_by_side(
    work: Callable[[Batch], torch.Tensor], batches: Sequence[Batch], device: torch.device
) -> Generator[NDArray[np.float32], None, None]:
    """Results in the order of the batches; on a CPU every thread works on a batch of its own.

    A GPU's results are read one batch behind, so that it has the next one to do meanwhile. Close
    it where it isn't read to its end.
    """
    if device.type != "cpu":
        yield from (read() for read in one_behind(_sent(work(batch)) for batch in batches))
        return
    with lanes(torch.get_num_threads()) as pool:
        yield from pool.map(lambda batch: work(batch).numpy(), batches)


def one_behind(items: Iterable[Item]) -> Iterator[Item]:
    """Each item after the next one was made."""
    before: list[Item] = []
    for item in items:
        yield from before
        before = [item]
    yield from before


def _sent(result: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
    """Let a GPU copy a result to the CPU when it has it; what is returned waits for that alone."""
    arriving = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
    arriving.copy_(result, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def read() -> NDArray[np.float32]:
        arrived.synchronize()
        return arriving.numpy()

    return read


def precision_on(device: torch.device) -> torch.autocast:
    """A region in which a GPU multiplies in bfloat16; a CPU goes on in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def without_graph(device: torch.device) -> torch.no_grad | torch.inference_mode:
    """A region that only computes; on a GPU one in which weights that were cast are kept.

    Autocast keeps no cast that is made in inference mode.
    """
    return torch.no_grad() if device.type == "cuda" else torch.inference_mode()


def readable(text: str) -> str:
    """A text as tokenizers take it: half a surrogate pair, as JSON may hold one, is U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def pool(hidden: torch.Tensor, lengths: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector a text from the hidden states of its tokens.

    Args:
        hidden: (n, longest, width), padded on the right.
        lengths: (n,) tokens of each text.
        pooling: `mean`, `cls` (first token) or `last`.

    Returns:
        (n, width).
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    mask = (positions < lengths[:, None]).unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / lengths[:, None].to(hidden.dtype)


def load_encoder(folder: Path, profile: Profile, settings: EncoderSettings, device: str) -> Encoder:
    """Load a base or fine-tuned model in float32, ready to encode (dropout off).

    Args:
        folder: the weights, configuration and tokenizer.
        profile: its rules.
        settings: token limits, batch size, dimension.
        device: `cpu` or `cuda`.

    Raises:
        BadInput: files are missing, damaged or don't fit together; weights would be made up;
            the model is causal although the profile pools over all tokens.
        BadRecipe: `encoder.dimension` is larger than the model's.
    """
    model = load_model(folder, profile)
    tokenizer = load_tokenizer(folder, profile, model)
    width = int(model.config.hidden_size)
    if width != profile.dimension:
        raise BadInput(
            f"{folder} gives vectors of {width} numbers, but the profile {profile.id} says "
            f"{profile.dimension}.",
            safe="Nothing was changed.",
            next_step="Choose the profile that the model belongs to.",
        )
    if settings.dimension > width:
        raise BadRecipe(
            f"encoder.dimension = {settings.dimension}, but {profile.id} has only {width}.",
            safe="Nothing was changed.",
            next_step=f"Set encoder.dimension to at most {width}, or to 0 for all.",
        )
    model.train(False)
    if not may_be_causal(profile) and not is_bidirectional(model, tokenizer):
        raise BadInput(
            f"{folder} reads text from left to right only: its first token doesn't see the last.",
            safe="Nothing was changed.",
            next_step="Choose an embedding model whose attention goes both ways "
            "(`is_causal: false` in its config.json).",
        )
    place = torch.device(device)
    torch.nn.Module.to(model, place)
    if place.type == "cuda":
        lighten(model)
    return Encoder(model, tokenizer, profile, settings, place)


def _not_finite(profile: Profile) -> NotFinite:
    return NotFinite(
        f"The model of {profile.id} gives numbers that are not finite.",
        safe="Nothing was written from them.",
        next_step="Its weights are damaged: get them again, or train again with a lower "
        "finetune.learning_rate.",
    )
