"""Texts to token ids, as the encoder makes them, with truncation only where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenizers import Encoding, Tokenizer

from pipeline.export.records import TOKENIZER, Manifest

InputType = Literal["query", "passage"]
INPUT_TYPES: tuple[InputType, ...] = ("query", "passage")

Truncate = Literal["NONE", "END", "START"]
TRUNCATES: tuple[Truncate, ...] = ("NONE", "END", "START")


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts.

    Attributes:
        ids: token ids of each text, special tokens included.
        truncated: how many texts were cut.
    """

    ids: list[list[int]]
    truncated: int

    @property
    def total(self) -> int:
        """Tokens in all."""
        return sum(map(len, self.ids))


class TooLong(Exception):
    """A text is longer than its limit, and truncation wasn't asked for."""

    def __init__(self, index: int, tokens: int, limit: int) -> None:
        super().__init__(index, tokens, limit)
        self.index, self.tokens, self.limit = index, tokens, limit


class ServerTokenizer:
    """The exported tokenizer with the manifest's prefixes and limits. It keeps no state."""

    def __init__(self, export: Path, manifest: Manifest) -> None:
        self._tokenizer = Tokenizer.from_file(str(export / TOKENIZER / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = self._tokenizer.num_special_tokens_to_add(False)
        self._padding = manifest.padding_token
        self._prefixes = {"query": manifest.query_prefix, "passage": manifest.passage_prefix}
        self._limits = {"query": manifest.query_tokens, "passage": manifest.passage_tokens}

    def tokenize(self, texts: Sequence[str], kind: InputType, truncate: Truncate) -> Tokens:
        """Token ids of each text: prefix, special tokens, at most the kind's limit.

        Raises:
            TooLong: a text is longer, and `truncate` is `NONE`.
        """
        prefix, limit = self._prefixes[kind], self._limits[kind]
        encodings = self._tokenizer.encode_batch(
            [prefix + text for text in texts], add_special_tokens=False
        )
        truncated = 0
        for index, encoding in enumerate(encodings):
            tokens = len(encoding) + self._special
            if tokens <= limit:
                continue
            if truncate == "NONE":
                raise TooLong(index, tokens, limit)
            truncated += 1
            if truncate == "START":
                encodings[index] = self._without_start(encoding, prefix, texts[index], limit)
            encodings[index].truncate(limit - self._special)
        ids = [self._tokenizer.post_process(encoding).ids for encoding in encodings]
        # A tokenizer without special tokens gives nothing for some texts; so does the encoder's.
        return Tokens([row or [self._padding] for row in ids], truncated)

    def _without_start(self, encoding: Encoding, prefix: str, text: str, limit: int) -> Encoding:
        """The end of a text behind its whole prefix: what was trained on starts with it."""
        before = sum(end <= len(prefix) for _, end in encoding.offsets)
        kept = limit - self._special - before
        start, _ = encoding.offsets[-kept] if kept > 0 else encoding.offsets[-1]
        rest = text[max(0, start - len(prefix)) :]
        return self._tokenizer.encode(prefix + rest, add_special_tokens=False)
