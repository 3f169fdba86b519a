"""Throughput: the whole client, with journal and fsync, beside a bare asyncio loop of openai's.

    python tests/benchmarks/throughput.py [calls]

Both ask an unlimited server in a process of its own that answers after 50 ms, with the same calls
in flight at most. Ours writes every reply to the disk before it reads it, judges the questions,
and starts at fewer calls in flight than the cap, as it does with any server it doesn't know.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.sdg.allowance import Allowance
from pipeline.sdg.calls import Call, CallJournal
from pipeline.sdg.client import Client, Clock
from pipeline.sdg.turns import Conversation, converse
from pipeline.settings import SdgSettings

CALLS = 1500
IN_FLIGHT = 32
DELAY = 0.05
ROUNDS = 3
MODEL = "benchmark/model"
_TEXT = "Words of a passage that somebody may ask about. " * 120
_SCHEMA = {
    "type": "object",
    "properties": {"pairs": {"type": "array", "items": {"type": "object"}}},
    "required": ["pairs"],
}
_ANSWER = json.dumps({"colours": ["red"], "pairs": [{"question": "Why? " * 20}] * 4})


async def _serve() -> None:
    """An HTTP server that knows as little as possible, so that it is never the bottleneck."""
    message = {"role": "assistant", "content": _ANSWER}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 1400, "completion_tokens": 200, "total_tokens": 1600}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": MODEL}
    said = json.dumps({**body, "choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(said)}"
    answer = head.encode() + b"\r\n\r\n" + said

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                headers = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = headers.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                await asyncio.sleep(DELAY)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.kill()


def _call(number: int) -> Call:
    messages = ({"role": "user", "content": f"{number} {_TEXT}"},)
    return Call("generate", MODEL, messages, 0.6, 0.95, 4096, _SCHEMA)


async def bare(url: str, calls: int) -> float:
    """Calls a second of a loop that keeps nothing and paces nothing."""
    room = asyncio.Semaphore(IN_FLIGHT)
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as api:

        async def one(call: Call) -> None:
            request: dict[str, Any] = {
                "model": call.model,
                "messages": list(call.messages),
                "temperature": call.temperature,
                "top_p": call.top_p,
                "max_tokens": call.max_tokens,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "generate", "schema": _SCHEMA, "strict": True},
                },
            }
            async with room:
                reply = await api.chat.completions.create(**request)
                json.loads(reply.choices[0].message.content)

        begun = time.perf_counter()
        await asyncio.gather(*(one(_call(number)) for number in range(calls)))
        return calls / (time.perf_counter() - begun)


class _Unhindered:
    finish_asked = False

    def poll(self) -> None:
        """Nobody asks for anything."""


def _one(call: Call) -> Conversation[int]:
    body = yield call
    return len(json.loads(json.loads(body)["choices"][0]["message"]["content"])["pairs"])


def ours(url: str, calls: int) -> float:
    """Calls a second of the pipeline's client, with its journal on this machine's disk."""
    settings: SdgSettings = base_recipe(find_profile(REHEARSAL_PROFILE)).sdg
    settings = SdgSettings(
        **{**vars(settings), "base_url": url, "model": MODEL, "concurrency": IN_FLIGHT}
    )
    stop = threading.Event()
    with (
        tempfile.TemporaryDirectory() as folder,
        CallJournal(Path(folder) / "calls.jsonl") as journal,
    ):
        client = Client(settings, {}, journal, Clock(time.time, stop.wait), stop)
        begun = time.perf_counter()
        replies = list(
            converse(
                [_one(_call(number)) for number in range(calls)],
                known=lambda call: journal.body(call.key),
                caller=client,
                width=IN_FLIGHT,
                control=_Unhindered(),
                stop=stop,
                allowance=Allowance(0, 1),
            )
        )
        seconds = time.perf_counter() - begun
    assert replies == [4] * calls
    return calls / seconds


def main() -> None:
    """Both, in turn, several times."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    theirs, mine = [], []
    with _server() as url:
        for _ in range(ROUNDS):
            theirs.append(asyncio.run(bare(url, calls)))
            mine.append(ours(url, calls))
    pairs = ", ".join(f"{m:.0f}/{t:.0f}" for m, t in zip(mine, theirs, strict=True))
    share = statistics.median(mine) / statistics.median(theirs)
    print(
        f"{calls} calls, {IN_FLIGHT} in flight, {DELAY * 1000:.0f} ms, ours/bare a second: {pairs}"
    )
    print(f"median {100 * share:.0f} % of the bare loop")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(_serve())
    else:
        main()
