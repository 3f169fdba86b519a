"""The local server: `python -P -m pipeline.deploy.server`, started by the stage `deploy`.

It gets its bound socket from whoever starts it, so the port is taken before it exists. It says
that it is ready when the model is loaded and warm; SIGTERM makes it finish what it has begun,
and end.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from pipeline.deploy.app import ServerState, make_app
from pipeline.deploy.batcher import Batcher
from pipeline.deploy.engine import Engine
from pipeline.deploy.records import read_service
from pipeline.deploy.services import DRAIN_SECONDS, KEY_VARIABLE
from pipeline.deploy.tokens import ServerTokenizer
from pipeline.export.records import read_manifest

QUEUE_TOKENS_MAX = 1_000_000
"""Tokens that may wait before more are refused: minutes of a CPU's work, seconds of a GPU's."""

RECORD_SECONDS = 15.0
"""How long a server serves without being recorded: its starter was killed in between."""

_RECORD_LOOK_SECONDS = 0.5

log = logging.getLogger("embedsmith.server")


class Server(uvicorn.Server):
    """uvicorn, with a drain before the listening socket closes."""

    def __init__(self, state: ServerState, export: Path, instance: str, record: Path) -> None:
        app = make_app(state, self._work)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=round(DRAIN_SECONDS),
            )
        )
        self._state = state
        self._export = export
        self._instance = instance
        self._record = record
        self._draining: asyncio.Task[None] | None = None
        self.failed = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal arrived: new work is refused, what was begun is finished."""
        asyncio.get_running_loop().call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """End as soon as nothing is in flight, at the latest after `DRAIN_SECONDS`."""
        if self._draining is None:
            self._state.draining = True
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        log.info("ending, %d requests in flight", self._state.in_flight)
        until = time.monotonic() + DRAIN_SECONDS
        while self._state.in_flight and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self.should_exit = True

    async def _work(self) -> None:
        """Load, then compute for ever; a failure ends the server."""
        tasks = [asyncio.ensure_future(self._load_and_run()), asyncio.ensure_future(self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            errors = [error for task in done if (error := task.exception())]
            if errors:
                self.failed = self.should_exit = True
                log.error("can't serve: %s: %s", type(errors[0]).__name__, errors[0])
        finally:
            for task in tasks:
                task.cancel()

    async def _load_and_run(self) -> None:
        state, began = self._state, time.monotonic()
        engine = await asyncio.to_thread(Engine, self._export, state.manifest)
        state.tokenizer = await asyncio.to_thread(ServerTokenizer, self._export, state.manifest)
        await asyncio.to_thread(engine.warm_up)
        state.batcher = Batcher(engine.embed, engine.budget, QUEUE_TOKENS_MAX, time.monotonic)
        seconds = time.monotonic() - began
        log.info("ready: %s on %s after %.1f s", state.model, engine.provider, seconds)
        try:
            await state.batcher.run()
        finally:
            state.batcher.close()

    async def _watch(self) -> None:
        """Leave when nobody wrote down that we are here: nobody could find or stop us."""
        until = time.monotonic() + RECORD_SECONDS
        while time.monotonic() < until:
            if self._record.is_file() and read_service(self._record).instance == self._instance:
                return
            await asyncio.sleep(_RECORD_LOOK_SECONDS)
        log.warning("no record of this server was written")
        self.drain()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one export on a socket that was bound by the caller; returns the exit code."""
    parser = argparse.ArgumentParser(prog="pipeline.deploy.server")
    parser.add_argument("--export", required=True, type=Path, help="the export's folder")
    parser.add_argument("--model", required=True, help="the name that clients ask for")
    parser.add_argument("--socket", required=True, type=int, help="descriptor of a bound socket")
    parser.add_argument("--instance", required=True, help="random; who we are")
    parser.add_argument("--record", required=True, type=Path, help="where service.json lies")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    state = ServerState(
        model=parsed.model,
        manifest=read_manifest(parsed.export),
        created=int(time.time()),
        api_key=os.environ.get(KEY_VARIABLE, ""),
    )
    server = Server(state, parsed.export, parsed.instance, parsed.record)
    with socket.socket(fileno=parsed.socket) as bound:
        asyncio.run(server.serve([bound]))
    return 1 if server.failed else 0


if __name__ == "__main__":
    sys.exit(main())
