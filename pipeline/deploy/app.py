"""The HTTP side of the local server: paths, limits, keys, and when it is ready."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.deploy.batcher import Batcher, BatchFailed, NotFinite, QueueFull
from pipeline.deploy.protocol import ApiError, build_answer, cut, parse_request
from pipeline.deploy.services import READY_PATH
from pipeline.deploy.tokens import ServerTokenizer, TooLong
from pipeline.export.records import Manifest

BODY_BYTES_MAX = 32 * 1024 * 1024
"""A body of `INPUTS_MAX` long passages fits; anything larger is cut off while it arrives."""

_CLIENT_GONE = 499
_RETRY_SECONDS = "1"

log = logging.getLogger("embedsmith.server")


@dataclass
class ServerState:
    """What the server knows of itself.

    Attributes:
        model: the name that it gives its model.
        manifest: what the model can do.
        created: seconds since the epoch, for `/v1/models`.
        api_key: what a client has to show; empty asks for none.
        tokenizer: None until loaded.
        batcher: None until loaded.
        draining: whether it has been asked to end.
        in_flight: requests that are being answered.
    """

    model: str
    manifest: Manifest
    created: int
    api_key: str
    tokenizer: ServerTokenizer | None = None
    batcher: Batcher | None = None
    draining: bool = False
    in_flight: int = 0

    @property
    def why_not_ready(self) -> str:
        """Why it can't answer now; empty when it can."""
        if self.draining:
            return "the server is ending"
        if self.batcher is None or self.tokenizer is None:
            return "the model is being loaded"
        return "" if self.batcher.healthy else "the model fails"


def make_app(state: ServerState, work: Callable[[], Awaitable[None]]) -> Starlette:
    """The application.

    Args:
        state: shared with whoever loads the model and ends the server.
        work: runs beside the server and is cancelled at its end.
    """

    @asynccontextmanager
    async def beside(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.ensure_future(work())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    routes = [
        Route("/v1/embeddings", _bound(_embeddings, state), methods=["POST"]),
        Route("/v1/models", _bound(_models, state), methods=["GET"]),
        Route("/v1/health/live", _bound(_live, state), methods=["GET"]),
        Route(READY_PATH, _bound(_ready, state), methods=["GET"]),
    ]
    return Starlette(
        routes=routes,
        lifespan=beside,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )


def _bound(
    handler: Callable[[Request, ServerState], Awaitable[Response]], state: ServerState
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await handler(request, state)

    return endpoint


async def _embeddings(request: Request, state: ServerState) -> Response:
    _check_key(request, state)
    body = await _read_body(request)
    tokenizer, batcher = state.tokenizer, state.batcher
    if tokenizer is None or batcher is None or state.draining:
        raise _not_ready(state)
    state.in_flight += 1
    try:
        return await _answer(request, body, state, tokenizer, batcher)
    finally:
        state.in_flight -= 1


async def _answer(
    request: Request,
    body: bytes,
    state: ServerState,
    tokenizer: ServerTokenizer,
    batcher: Batcher,
) -> Response:
    asked = parse_request(body, state.model, state.manifest)
    try:
        tokens = await asyncio.to_thread(
            tokenizer.tokenize, asked.texts, asked.kind, asked.truncate
        )
    except TooLong as error:
        raise ApiError(
            400,
            f"'input[{error.index}]' has {error.tokens} tokens; this model reads {error.limit}. "
            "Send 'truncate': 'END' to have it cut.",
            param="input",
            code="context_length_exceeded",
        ) from error
    vectors = await _unless_gone(request, batcher, tokens.ids)
    if vectors is None:
        return Response(status_code=_CLIENT_GONE)
    vectors = cut(vectors, asked.dimension, state.manifest.normalize)
    headers = {"x-truncated-inputs": str(tokens.truncated)} if tokens.truncated else None
    content = build_answer(asked, vectors, tokens.total)
    return Response(content, media_type="application/json", headers=headers)


async def _unless_gone(request: Request, batcher: Batcher, token_ids: list[list[int]]) -> Any:
    """The vectors, or None when the client has left: its texts leave the queue then."""
    work = asyncio.ensure_future(batcher.embed(token_ids))
    # The body has been read, so the next message can only be that the client has gone.
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    except QueueFull as error:
        raise ApiError(
            429,
            "Too many texts are waiting.",
            code="rate_limit_exceeded",
            headers={"retry-after": str(error.retry_after_seconds)},
        ) from error
    except BatchFailed as error:
        log.error("a batch failed: %s", error)
        raise ApiError(500, "The model could not run.", code="model_failed") from error
    except NotFinite as error:
        log.error("the model gave a number that is not finite")
        raise ApiError(
            500, "The model gave a number that is not finite.", code="non_finite_embedding"
        ) from error
    finally:
        work.cancel()
        gone.cancel()


async def _models(request: Request, state: ServerState) -> Response:
    _check_key(request, state)
    entry = {
        "id": state.model,
        "object": "model",
        "created": state.created,
        "owned_by": "embedsmith",
        "rehearsal": state.manifest.rehearsal,
    }
    return _json({"object": "list", "data": [entry]})


async def _live(request: Request, state: ServerState) -> Response:
    return _json({"object": "health.response", "message": "live", "live": True})


async def _ready(request: Request, state: ServerState) -> Response:
    why_not = state.why_not_ready
    body = {"object": "health.response", "message": why_not or "ready", "ready": not why_not}
    return _json(body, 503 if why_not else 200)


def _check_key(request: Request, state: ServerState) -> None:
    if not state.api_key:
        return
    shown = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(shown.encode(), state.api_key.encode()):
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


async def _read_body(request: Request) -> bytes:
    pieces, size = [], 0
    with suppress(ClientDisconnect):
        async for piece in request.stream():
            size += len(piece)
            if size > BODY_BYTES_MAX:
                raise ApiError(413, f"The body has more than {BODY_BYTES_MAX} bytes.")
            pieces.append(piece)
    return b"".join(pieces)


def _not_ready(state: ServerState) -> ApiError:
    return ApiError(
        503,
        f"Not ready: {state.why_not_ready}.",
        code="not_ready",
        headers={"retry-after": _RETRY_SECONDS},
    )


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _json(error.body, error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (404, 405), in OpenAI's shape."""
    assert isinstance(error, HTTPException)
    return _json(ApiError(error.status_code, error.detail).body, error.status_code)


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
