"""A scripted LLM endpoint: a real HTTP server on loopback that speaks the OpenAI protocol.

It reads the passages and slots that embedsmith's prompts send and answers with plausible JSON,
the same request always with the same text. `script` tells it to misbehave for the next calls:
429 with and without Retry-After, 202, 500, a page with status 200, truncation, think blocks, slow
replies, resets, a model that is gone. `refuses` and `ignores` say which ways to ask for JSON it
doesn't take, or takes without following them.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted/model"
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
PROBE = "probe"
"""The place of tiny calls in `script` and `always`: chat requests without a document's text."""

_PASSAGE = re.compile(r'<passage id="([^"]+)">\n(.*?)\n</passage>', re.DOTALL)
_SLOTS = re.compile(r"<slots>\n(.*?)\n</slots>", re.DOTALL)
_PAIR = re.compile(r'<pair id="([^"]+)">\n', re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What to say instead of the truth.

    Attributes:
        status: the HTTP status.
        body: the whole body; empty for a usual completion.
        headers: further headers.
        content: the completion's text, in a usual body; None for the usual text.
        finish_reason: of the usual body.
        wrap: text before and after the usual content, such as a think block.
        cut: so many characters of the usual content are left; 0 leaves all.
        delay: seconds before the answer.
        reset: close the connection without an answer.
        hold: say nothing until the server ends.
    """

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    content: str | None = None
    finish_reason: str = "stop"
    wrap: tuple[str, str] = ("", "")
    cut: int = 0
    delay: float = 0.0
    reset: bool = False
    hold: bool = False


@dataclass(frozen=True)
class Request:
    """What arrived: method, path, headers (names in lower case) and the JSON body."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def purpose(self) -> str:
        """`generate`, `judge` or `probe`, by what the prompt asks for."""
        text = _asked(self.body)
        return "generate" if "<slots>" in text else "judge" if "<pair " in text else PROBE

    @property
    def place(self) -> str:
        """Where it counts: its path, or `PROBE`."""
        tiny = self.path == CHAT and "colours" in _asked(self.body)
        return PROBE if tiny else self.path

    @property
    def identity(self) -> str:
        """The same for two requests that ask for the same reply."""
        return json.dumps(self.body, sort_keys=True)


class ScriptedEndpoint:
    """The server; use it as a context manager.

    Attributes:
        requests: everything that arrived, in order.
        answered: the chat requests that got a usual completion.
        models: what `GET /models` lists.
        delay: seconds before every usual completion.
        hold_after: how many chat requests are answered; later ones wait and come to nothing.
        refuses: options that get a 400: `json_schema`, `json_object`, `chat_template_kwargs`.
        ignores: ways to ask for JSON that get a 200 and no JSON.
        in_flight_most: the most requests that were open at once.
    """

    def __init__(
        self,
        models: tuple[str, ...] = (MODEL,),
        delay: float = 0.0,
        hold_after: int | None = None,
        refuses: frozenset[str] = frozenset(),
        ignores: frozenset[str] = frozenset(),
    ) -> None:
        self.requests: list[Request] = []
        self.answered: list[Request] = []
        self.models = models
        self.delay = delay
        self.hold_after = hold_after
        self.refuses = refuses
        self.ignores = ignores
        self.in_flight_most = 0
        self._over = threading.Event()
        self._in_flight = self._arrived = 0
        self._scripts: dict[str, list[Answer]] = {}
        self._always: dict[str, Answer] = {}
        self._damage: tuple[list[Answer], int] = ([], 1)
        self._written = 0
        self._guard = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def base_url(self) -> str:
        """What `sdg.base_url` should be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def script(self, *answers: Answer, path: str = CHAT) -> None:
        """Give these answers to the next requests for `path`."""
        with self._guard:
            self._scripts.setdefault(path, []).extend(answers)

    def always(self, answer: Answer | None, path: str = CHAT) -> None:
        """Give this answer to every request for `path`; None ends it."""
        with self._guard:
            self._always.pop(path, None)
            if answer:
                self._always[path] = answer

    def damage(self, ways: list[Answer], every: int) -> None:
        """Answer every so-manieth writing request in one of these ways, each in its turn."""
        self._damage = (ways, every)

    def chats(self) -> list[Request]:
        """The chat requests that arrived, the tiny ones left out."""
        return [request for request in self.requests if request.place == CHAT]

    def probes(self) -> list[Request]:
        """The tiny chat requests that arrived."""
        return [request for request in self.requests if request.place == PROBE]

    def __enter__(self) -> ScriptedEndpoint:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _next(self, request: Request) -> Answer:
        with self._guard:
            self.requests.append(request)
            self._in_flight += 1
            self.in_flight_most = max(self.in_flight_most, self._in_flight)
            self._arrived += request.place == CHAT
            late = self.hold_after is not None and self._arrived > self.hold_after
            if late and request.place == CHAT:
                return Answer(hold=True)
            if self.refuses & _options(request.body):
                return Answer(400)
            waiting = self._scripts.get(request.place)
            if waiting:
                return waiting.pop(0)
            if request.place == CHAT and request.purpose == "generate":
                ways, every = self._damage
                turn, rest = divmod(self._written, every)
                self._written += 1
                if ways and not rest:
                    return ways[turn % len(ways)]
            usual = Answer() if request.place == PROBE else Answer(delay=self.delay)
            return self._always.get(request.place, usual)

    def _body(self, request: Request, answer: Answer) -> str:
        if answer.body or answer.status >= 400:
            return answer.body or json.dumps({"error": {"message": f"scripted {answer.status}"}})
        if request.path == MODELS:
            return json.dumps({"object": "list", "data": [{"id": name} for name in self.models]})
        content = answer.content
        if request.place == PROBE and content is None:
            content = _colours(request.body, self.ignores)
        if content is None:
            content = reply_to(request.body)
            content = content[: answer.cut] if answer.cut else content
            content = answer.wrap[0] + content + answer.wrap[1]
        if request.place == CHAT:
            with self._guard:
                self.answered.append(request)
        return completion(request.body["model"], content, answer.finish_reason)

    def _ended(self) -> None:
        with self._guard:
            self._in_flight -= 1


def completion(model: str, content: str | None, finish_reason: str = "stop") -> str:
    """The body of a chat completion."""
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content},
    }
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "model": model, "choices": [choice]}
        | {"usage": usage}
    )


def reply_to(body: dict[str, Any]) -> str:
    """Plausible JSON for a writing or a judging request."""
    text = _asked(body)
    if slots := _SLOTS.search(text):
        passages = dict(_PASSAGE.findall(text))
        pairs = [_pair(slot, passages) for slot in json.loads(slots.group(1))]
        return json.dumps({"pairs": pairs})
    grades = [_grade(name, number) for number, name in enumerate(_PAIR.findall(text))]
    return json.dumps({"grades": grades})


def _asked(body: dict[str, Any]) -> str:
    """The request itself, which a correction may follow."""
    messages = body.get("messages", ())
    return next((str(m["content"]) for m in messages if m["role"] == "user"), "")


def _options(body: dict[str, Any]) -> set[str]:
    form = body.get("response_format", {}).get("type", "")
    return {form, *({"chat_template_kwargs"} & set(body))}


def _colours(body: dict[str, Any], ignores: frozenset[str]) -> str:
    form = body.get("response_format", {}).get("type", "")
    if not form or form in ignores:
        return "Red, green and blue."
    return json.dumps({"colours" if form == "json_schema" else "names": ["red", "green", "blue"]})


def _pair(slot: dict[str, Any], passages: dict[str, str]) -> dict[str, Any]:
    # The first line of a block is its heading path, which is no part of the passage.
    quotes = {name: passages[name].split("\n", 1)[1].split()[2:12] for name in slot["passages"]}
    about = " and ".join(quote[0] for quote in quotes.values())
    return {
        "slot": slot["slot"],
        "facts": [" ".join(quote) for quote in quotes.values()],
        "question": f"Why would anybody need {about} at level {slot['complexity']}, "
        f"in terms of {slot['reasoning']} ({' '.join(next(iter(quotes.values()))[-3:])})?",
        "answer": f"Because of {about}.",
        "evidence": [{"chunk": name, "quote": " ".join(quotes[name])} for name in quotes],
    }


def _grade(name: str, number: int) -> dict[str, Any]:
    levels = {"answerable": 2, "supported": 2, "standalone": 2 - number % 3, "specific": 2}
    return {"id": name, "why": "fine", **levels, "natural": 1, "hops_needed": 3}


def _handler(endpoint: ScriptedEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._serve({})

        def do_POST(self):
            length = int(self.headers.get("content-length", 0))
            self._serve(json.loads(self.rfile.read(length)))

        def _serve(self, body):
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            answer = endpoint._next(request)
            try:
                self._answer(request, answer)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                endpoint._ended()

        def _answer(self, request, answer):
            time.sleep(answer.delay)
            if answer.hold:
                endpoint._over.wait()
            if answer.reset or answer.hold:
                self.close_connection = True
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                return
            content = endpoint._body(request, answer).encode()
            self.send_response(answer.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    return Handler
