"""One endpoint, spoken to with the `openai` client; whatever it answers wrongly has a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai
from numpy.typing import NDArray

from pipeline.deploy.services import KEY_VARIABLE
from pipeline.deploy.tokens import InputType
from pipeline.errors import EndpointFailure, brief

Vectors = NDArray[np.float32]

TIMEOUT_SECONDS = 120.0
"""A request; as long as a NIM itself allows one."""

_RETRIES = 2
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_HINTS = {
    400: "It may not know `input_type` and `truncate`: verify against the local server or a NIM.",
    401: f"Export the key that it wants as {KEY_VARIABLE}.",
    403: f"Export a key with access as {KEY_VARIABLE}.",
    404: "Check the URL: /v1/models and /v1/embeddings must be below it.",
    410: "The endpoint was retired: choose another one with --url.",
    429: "Wait until it is less busy, then run the same command again.",
}


class EndpointClient:
    """Vectors from an endpoint.

    Attributes:
        url: without `/v1`.
        model: the name that the endpoint gives its model.
    """

    def __init__(self, url: str, api_key: str, batch_size: int) -> None:
        """Connect and ask for the model's name.

        Raises:
            EndpointFailure: it can't be reached, refuses, or names no model.
        """
        self.url = url.strip().rstrip("/").removesuffix("/v1")
        parts = urlsplit(self.url)
        if "@" in parts.netloc:
            self.url = str(parts.hostname)
            raise self._failure("has a name in its URL", f"Export its key as {KEY_VARIABLE}.")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._failure("is no http address", "Give for example http://127.0.0.1:8000.")
        self._batch_size = batch_size
        # A proxy of the environment has no business with this machine's own ports.
        direct = parts.hostname in _LOOPBACK
        self._client = openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=api_key or "none",
            max_retries=_RETRIES,
            timeout=TIMEOUT_SECONDS,
            http_client=openai.DefaultHttpxClient(trust_env=False) if direct else None,
        )
        self.model = self._find_model()

    def embed(
        self,
        texts: Sequence[str],
        kind: InputType,
        on_batch: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Vectors:
        """Vectors of texts, (n, dimension) float32, in their order.

        Args:
            texts: without prefix; the endpoint adds it.
            kind: `query` or `passage`.
            on_batch: called with the texts done after each request; it may raise to stop.
            options: `encoding_format`, `dimensions`.

        Raises:
            EndpointFailure: it can't be reached, refuses, or answers something else.
        """
        found: list[Vectors] = []
        for start in range(0, len(texts), self._batch_size):
            batch = list(texts[start : start + self._batch_size])
            found.append(self._request(batch, kind, options))
            if on_batch:
                on_batch(len(batch))
        if len({part.shape[1] for part in found}) > 1:
            raise self._failure("gives vectors of different lengths", "Check what it serves.")
        return np.concatenate(found)

    def _request(self, batch: list[str], kind: InputType, options: dict[str, Any]) -> Vectors:
        with self._speaking():
            raw = self._client.embeddings.with_raw_response.create(
                model=self.model,
                input=batch,
                # Truncated as in evaluation; a NIM would refuse longer texts otherwise.
                extra_body={"input_type": kind, "truncate": "END"},
                **options,
            )
            self._require_json(raw)
            rows = raw.parse().data
            vectors = np.array([row.embedding for row in rows], dtype=np.float32)
            order = [row.index for row in rows]
        if order != list(range(len(batch))) or vectors.ndim != 2:
            raise self._failure(
                f"answers {len(batch)} texts with {len(order)} vectors, or in another order",
                "Check that it is an embeddings endpoint.",
            )
        if not np.isfinite(vectors).all():
            raise self._failure(
                "gives numbers that are not finite",
                "Its model is damaged or overflows in its precision: export and deploy it again.",
            )
        return vectors

    def _find_model(self) -> str:
        with self._speaking():
            raw = self._client.models.with_raw_response.list()
            self._require_json(raw)
            names = [entry.id for entry in raw.parse().data]
        if not names or not isinstance(names[0], str):
            raise self._failure("names no model", "Check that it has finished loading.")
        return names[0]

    def _require_json(self, raw: Any) -> None:
        kind = raw.headers.get("content-type", "")
        if "json" not in kind:
            raise self._failure(
                f"answers {kind.partition(';')[0] or 'nothing'} instead of JSON",
                "Check the URL: it may be a web page or a proxy's sign-in.",
            )

    @contextmanager
    def _speaking(self) -> Any:
        try:
            yield
        except openai.APIStatusError as error:
            status = error.status_code
            raise self._failure(
                f"answers {status}: {brief(error)}",
                _HINTS.get(status, "Look at the server's own log, then try again."),
            ) from error
        except openai.APIConnectionError as error:
            raise self._failure(
                f"can't be reached: {brief(error)}",
                "Start it (`embedsmith deploy RUN`), or give another --url.",
            ) from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise self._failure(
                f"answers something else than embeddings: {brief(error)}",
                "Check that it is an OpenAI-compatible embeddings endpoint.",
            ) from error

    def _failure(self, what: str, next_step: str) -> EndpointFailure:
        return EndpointFailure(
            f"The endpoint {self.url} {what}.",
            safe="Evaluation and export are kept; nothing was written.",
            next_step=next_step,
        )
