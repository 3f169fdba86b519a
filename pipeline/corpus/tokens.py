"""Token counts, by the fast tokenizer of a profile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from pipeline.errors import MissingPart
from pipeline.profiles import find_profile, weights_folder

_BATCH_TEXTS = 512
_BATCH_CHARACTERS = 1_000_000
"""Bounds of one batch: an encoding takes about a hundred bytes a token."""
_WORDS_MAX = 200_000
"""Words whose counts are remembered, about 20 MB; past that all are forgotten."""


class Counter(Protocol):
    """Something that counts tokens."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""

    def starts(self, text: str) -> list[int]:
        """The character at which each token of a text begins, in order."""


class TokenCounter:
    """Counts by a `tokenizer.json`, without special tokens, truncation or padding."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._words: dict[str, int] | None = {"": 0} if _parts_at_blanks(tokenizer) else None

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        if self._words is None:
            return self._encoded(texts)
        split = [text.replace("\n", " ").split(" ") for text in texts]
        known = self._known({word for words in split for word in words}, self._words)
        return [sum(map(known.__getitem__, words)) for words in split]

    def _known(self, words: set[str], known: dict[str, int]) -> dict[str, int]:
        """The counts of at least these words; those seen before aren't encoded again."""
        fresh = sorted(word for word in words if word not in known)
        if len(known) + len(fresh) > _WORDS_MAX:
            known.clear()
            fresh = sorted(words)
        known.update(zip(fresh, self._encoded(fresh), strict=True))
        return known

    def _encoded(self, texts: Sequence[str]) -> list[int]:
        return [
            len(encoding.ids)
            for batch in _batches(texts)
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        ]

    def starts(self, text: str) -> list[int]:
        """The character at which each token begins."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [start for start, _ in encoding.offsets]


def profile_counter(name: str) -> TokenCounter:
    """The counter of the profile that `corpus.tokenizer` names.

    Raises:
        BadRecipe: there is no such profile.
        MissingPart: its files are not on this machine, or hold no fast tokenizer.
    """
    path = weights_folder(find_profile(name)) / "tokenizer.json"
    if not path.is_file():
        raise MissingPart(
            f"The profile {name} has no tokenizer.json, so passages cannot be measured.",
            safe="The run is as it was.",
            next_step="Set corpus.tokenizer to a profile that has one.",
        )
    return TokenCounter(_load(path))


def _parts_at_blanks(tokenizer: Tokenizer) -> bool:
    """Whether a text's tokens are those of what stands between its spaces and line feeds.

    So it is with BERT's: nothing is normalised, split or matched across a blank, and a blank is no
    token. (Hugging Face tokenizers: `BertNormalizer`, `BertPreTokenizer`, `WordPiece`.)
    """
    parts = json.loads(tokenizer.to_str())
    kinds = [(parts[name] or {}).get("type") for name in ("normalizer", "pre_tokenizer", "model")]
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and not any(
        blank in token["content"] for token in parts["added_tokens"] for blank in " \n"
    )


def _load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
