"""What is asked again after a damaged reply: how often, how many at once, in which words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.sdg.calls import Call
from pipeline.sdg.replies import Reply, text_of

T = TypeVar("T")

TOKENS = 4096
"""The longest reply that is asked for at first."""
_TOKENS_MAX = 16384
_SAID_MAX = 4000
"""Characters of a damaged reply that the model gets to see again."""


@dataclass(frozen=True)
class Try(Generic[T]):
    """One call about some questions.

    Attributes:
        asked: what it is about; their places are the slots or ids.
        number: how often they were asked for before.
        max_tokens: the longest reply.
        correction: what follows the request where a damaged reply is to be mended.
    """

    asked: tuple[T, ...]
    number: int = 0
    max_tokens: int = TOKENS
    correction: tuple[Mapping[str, str], ...] = ()


def first_try(asked: Sequence[T]) -> Try[T]:
    """The first call about some questions."""
    return Try(tuple(asked))


def tries_after(
    before: Try[T], missing: Sequence[T], reply: Reply, call: Call, attempts: int
) -> list[Try[T]]:
    """The calls that follow a reply which lacks something.

    A reply that was cut off: the missing ones by halves, with more room. A reply that is damaged:
    the same again with what was wrong with it, if it was a first one; then afresh. A reply that is
    whole, but lacks some: those alone.

    Args:
        before: the call's.
        missing: of `before.asked`, in order.
        reply: what came.
        call: what was sent.
        attempts: `sdg.attempts`; none is left once a question was asked for so often.
    """
    number = before.number + 1
    if not missing or number >= attempts:
        return []
    if reply.cut:
        room = min(2 * before.max_tokens, _TOKENS_MAX)
        half = (len(missing) + 1) // 2
        parts = (missing[:half], missing[half:])
        return [Try(tuple(part), number, room) for part in parts if part]
    said = text_of(reply.text)
    everything = len(missing) == len(before.asked)
    if reply.problem and said and everything and not before.correction:
        return [Try(before.asked, number, before.max_tokens, _correction(said, reply.problem))]
    return [Try(tuple(missing), number, before.max_tokens)]


def _correction(said: str, problem: str) -> tuple[Mapping[str, str], ...]:
    asked = (
        f"That reply cannot be used: {problem}. Reply again, with the one JSON object that was "
        "asked for and nothing else."
    )
    return (
        {"role": "assistant", "content": said[:_SAID_MAX]},
        {"role": "user", "content": asked},
    )
