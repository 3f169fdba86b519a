"""The call journal: raw replies, written before they are parsed, paid once.

It stands outside of results and only grows. One JSON object a line; a torn last line is
ignored by readers and cut off by the next writer.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import SystemRefusal
from pipeline.files import canonical_json, digest_value
from pipeline.locks import Lock

FORMAT = 1
"""Version of a line, written as `v`; lines of a later one are left alone and not used."""


@dataclass(frozen=True)
class Call:
    """One request to a model.

    Attributes:
        purpose: `generate`, `judge` or `probe`.
        model: the model's name at the endpoint.
        messages: the conversation, each with `role` and `content`.
        temperature: of sampling.
        top_p: of sampling.
        max_tokens: the longest reply.
        schema: the JSON schema that the reply should follow.
        sample: 0, or the number of the new attempt at the same question.
    """

    purpose: str
    model: str
    messages: tuple[Mapping[str, str], ...]
    temperature: float
    top_p: float
    max_tokens: int
    schema: Mapping[str, Any]
    sample: int = 0

    @property
    def characters(self) -> int:
        """Characters of its messages."""
        return sum(len(message["content"]) for message in self.messages)

    @cached_property
    def key(self) -> str:
        """What makes a reply the reply to this call: everything that can change its text.

        Left out are the base URL and the key (another door to the same model), timeouts and
        concurrency (they change when, not what), and how an endpoint is told of the schema (found
        out by trying; the answer is checked either way).
        """
        return digest_value(
            {
                "model": self.model,
                "messages": [dict(message) for message in self.messages],
                "temperature": self.temperature,
                "top_p": self.top_p,
                "max_tokens": self.max_tokens,
                "schema": dict(self.schema),
                "sample": self.sample,
            }
        )


class _Batch:
    """Lines that share one wait for the disk."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.failure: SystemRefusal | None = None
        self.over = threading.Event()


class CallJournal:
    """The one writer of a call journal, for any number of threads.

    Raises:
        Busy: another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock(path.with_name(path.name + ".lock"), f"The call journal {path}")
        self._lock.take()
        self._guard = threading.Lock()
        self._disk = threading.Lock()
        self._bodies = _read(path)
        self._batch = _Batch()
        # Unbuffered: a line that didn't fit must not lie in wait for the next write.
        self._stream = path.open("ab", buffering=0)
        self._heal()

    def body(self, key: str) -> str | None:
        """The raw reply to a call, or None while it was never answered."""
        with self._guard:
            return self._bodies.get(key)

    def keep(self, call: Call, body: str, mode: str = "") -> None:
        """Write one reply; it is on the disk when this returns.

        Replies that come while another one waits for the disk share the next wait.

        Args:
            call: what was asked.
            body: the raw reply.
            mode: how JSON was asked for; see `pipeline.sdg.probe`.

        Raises:
            SystemRefusal: the disk is full.
        """
        row = {"v": FORMAT, "key": call.key, "purpose": call.purpose, "model": call.model}
        row |= {"body": body, "mode": mode, "sent": call.characters}
        line = canonical_json(row).encode("utf-8", "backslashreplace") + b"\n"
        with self._guard:
            batch = self._batch
            leads = not batch.lines
            batch.lines.append(line)
        if leads:
            # Lines gather behind the first one while the batch before is on its way.
            with self._disk:
                self._write(batch)
        batch.over.wait()
        if batch.failure:
            raise batch.failure
        if is_answer(body):
            with self._guard:
                # The first answer counts, as it does for who reads the file.
                self._bodies.setdefault(call.key, body)

    def _write(self, batch: _Batch) -> None:
        with self._guard:
            self._batch = _Batch()
        content = b"".join(batch.lines)
        before = self._stream.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(content):
                written += self._stream.write(content[written:])
            os.fsync(self._stream.fileno())
        except OSError as error:
            batch.failure = SystemRefusal(
                f"A reply cannot be written to {self.path}: {error.strerror}.",
                safe="All replies before it are kept and will not be paid again.",
                next_step="Make room on the disk and run the same command again.",
            )
            batch.failure.__cause__ = error
            self._stream.truncate(before)
        finally:
            batch.over.set()

    def close(self) -> None:
        """Close the file and let others write."""
        self._stream.close()
        self._lock.release()

    def __enter__(self) -> CallJournal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _heal(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._stream.truncate(whole)


def is_answer(body: str) -> bool:
    """Whether a body is a chat completion at all; a gateway's page with status 200 is none."""
    try:
        choices = json.loads(body)["choices"]
        return isinstance(choices[0]["message"], dict)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return False


def is_page(body: str) -> bool:
    """Whether a body is no JSON at all, such as a gateway's page."""
    return body.lstrip()[:1] not in ("{", "[")


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    content = path.read_bytes()
    bodies: dict[str, str] = {}
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            row = json.loads(line)
            if row["v"] <= FORMAT and is_answer(row["body"]):
                # The first answer counts for good, so that a later line changes no result.
                bodies.setdefault(str(row["key"]), row["body"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return bodies
