"""OpenAI's embeddings protocol with NIM's additions, as data: requests, answers, errors. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.deploy.tokens import INPUT_TYPES, TRUNCATES, InputType, Truncate
from pipeline.export.records import Manifest

INPUTS_MAX = 2048
"""Texts a request; OpenAI's limit."""

_FIELDS = frozenset(
    {
        "model",
        "input",
        "encoding_format",
        "dimensions",
        "input_type",
        "truncate",
        "user",
        "modality",
        "embedding_type",
    }
)
"""OpenAI's, and those that NIM adds."""


class ApiError(Exception):
    """An answer other than 200, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class EmbeddingRequest:
    """A request that can be answered.

    Attributes:
        model: the name that was asked for, suffix included.
        texts: one or more, none of them empty.
        kind: how they are prefixed and limited.
        truncate: what happens to longer texts.
        dimension: numbers of each vector that are returned.
        base64: whether vectors are base64 of little-endian float32 instead of JSON numbers.
    """

    model: str
    texts: tuple[str, ...]
    kind: InputType
    truncate: Truncate
    dimension: int
    base64: bool


def parse_request(body: bytes, model: str, manifest: Manifest) -> EmbeddingRequest:
    """Read the body of a request.

    Args:
        body: JSON.
        model: the name that the server gives its model.
        manifest: what the model can do.

    Raises:
        ApiError: 400, or 404 for another model; the field is named.
    """
    try:
        row = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"The body is no JSON: {error}.") from error
    if not isinstance(row, dict):
        raise ApiError(400, "The body must be a JSON object.")
    if unknown := sorted(row.keys() - _FIELDS):
        name = _printable(unknown[0])
        raise ApiError(400, f"Unrecognized request argument supplied: {name}", param=name)
    if row.get("modality", "text") != "text":
        raise ApiError(400, "This model embeds text only.", param="modality")
    _choice(row, "embedding_type", ("float",), "float")
    asked, suffix = _model(row, model)
    return EmbeddingRequest(
        model=asked,
        texts=_texts(row),
        kind=_kind(row, suffix, manifest),
        truncate=_choice(row, "truncate", TRUNCATES, "NONE"),
        dimension=_dimension(row, manifest),
        base64=_choice(row, "encoding_format", ("float", "base64"), "float") == "base64",
    )


def build_answer(request: EmbeddingRequest, vectors: NDArray[np.float32], tokens: int) -> bytes:
    """The body of an answer.

    Args:
        request: what was asked for.
        vectors: `[texts, dimension]` float32, already cut.
        tokens: tokens that the model read.
    """
    rows: list[Any] = list(vectors)
    if request.base64:
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ],
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    # float32 in its shortest form: the same value in 40 % fewer bytes.
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def cut(vectors: NDArray[np.float32], dimension: int, normalize: bool) -> NDArray[np.float32]:
    """The leading dimensions, scaled to length 1 again where the model scales."""
    if dimension == vectors.shape[1]:
        return vectors
    leading = np.ascontiguousarray(vectors[:, :dimension])
    if not normalize:
        return leading
    lengths = np.linalg.norm(leading, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = leading / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def needs_kind(manifest: Manifest) -> bool:
    """Whether a query and a passage of the same words get different vectors."""
    return (manifest.query_prefix, manifest.query_tokens) != (
        manifest.passage_prefix,
        manifest.passage_tokens,
    )


def _model(row: Mapping[str, Any], model: str) -> tuple[str, InputType | None]:
    asked = row.get("model")
    if not isinstance(asked, str) or not asked:
        raise ApiError(400, "You must provide a model parameter.", param="model")
    if asked == model:
        return asked, None
    for kind in INPUT_TYPES:
        if asked == f"{model}-{kind}":
            return asked, kind
    raise ApiError(
        404,
        f"The model '{_printable(asked)}' does not exist; this server has '{model}'.",
        param="model",
        code="model_not_found",
    )


def _texts(row: Mapping[str, Any]) -> tuple[str, ...]:
    given = row.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise ApiError(400, "'input' must be a text or a list of texts.", param="input")
    if any(isinstance(entry, (int, list)) for entry in texts):
        raise ApiError(
            400,
            "'input' holds token ids, which belong to another model's tokenizer. Send text; in "
            "LangChain, set check_embedding_ctx_length=False.",
            param="input",
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise ApiError(400, f"'input[{index}]' is empty or no text.", param="input")
    if len(texts) > INPUTS_MAX:
        raise ApiError(
            400, f"'input' has {len(texts)} texts; at most {INPUTS_MAX} go at once.", param="input"
        )
    return tuple(texts)


def _kind(row: Mapping[str, Any], suffix: InputType | None, manifest: Manifest) -> InputType:
    given: InputType | None = _choice(row, "input_type", INPUT_TYPES, suffix)
    if suffix and given != suffix:
        raise ApiError(400, "'input_type' contradicts the model's suffix.", param="input_type")
    if given:
        return given
    if needs_kind(manifest):
        # A guess would give every query of such a client a slightly wrong vector.
        raise ApiError(
            400,
            "This model tells queries from passages: send 'input_type' ('query' or 'passage'), "
            "or add -query or -passage to the model's name.",
            param="input_type",
        )
    return "passage"


def _dimension(row: Mapping[str, Any], manifest: Manifest) -> int:
    asked = row.get("dimensions")
    if asked is None:
        return manifest.dimension
    if type(asked) is not int or asked not in manifest.matryoshka:
        allowed = ", ".join(map(str, manifest.matryoshka))
        raise ApiError(
            400, f"'dimensions' must be one of {allowed} for this model.", param="dimensions"
        )
    return asked


def _choice(row: Mapping[str, Any], name: str, allowed: Sequence[str], default: Any) -> Any:
    value = row.get(name)
    if value is None:
        return default
    if value not in allowed:
        raise ApiError(400, f"'{name}' must be one of {', '.join(allowed)}.", param=name)
    return value


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:100]
