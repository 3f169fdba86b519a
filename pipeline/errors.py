"""Failures that a user meets: what happened, what is safe, what to do next."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any


class Failure(Exception):
    """A failure with its three sentences and the exit code that the README lists.

    Attributes:
        happened: what went wrong, with the file, line or setting by name.
        safe: what was kept.
        next_step: what the user can do now.
        remedy: settings by dotted name that would let the same command pass; mostly empty.
    """

    exit_code: int = 1

    def __init__(
        self, happened: str, *, safe: str, next_step: str, remedy: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(happened)
        self.happened = happened
        self.safe = safe
        self.next_step = next_step
        self.remedy: Mapping[str, Any] = remedy or {}


class StageFailure(Failure):
    """A stage ran and could not reach its end, or its check said no."""

    exit_code = 1


class NotFinite(StageFailure):
    """A model gives numbers that are infinite or none at all."""


class GateRefusal(Failure):
    """The machine has no GPU that the gate admits."""

    exit_code = 3


class BadInput(Failure):
    """Documents, eval sets or imported files that cannot be used."""

    exit_code = 4


class BadRecipe(Failure):
    """A recipe, setting or profile that cannot be understood."""

    exit_code = 5


class Busy(Failure):
    """Another worker holds the result, the GPU or the port."""

    exit_code = 6


class EndpointFailure(Failure):
    """An endpoint that refuses, is gone, answers nonsense, or whose key is missing."""

    exit_code = 7


class SystemRefusal(Failure):
    """The operating system refused: disk full, no permission."""

    exit_code = 8


class MissingPart(Failure):
    """A program or package that this step needs is not there."""

    exit_code = 9


class NoConsent(Failure):
    """Documents would leave for an endpoint, and nobody has agreed to that."""

    exit_code = 11


class Interruption(Exception):
    """Somebody asked the stage to end; it has kept what it had."""


class Cancelled(Interruption):
    """A `cancel` request reached the worker."""


class Terminated(Interruption):
    """SIGTERM reached the worker: checkpoint, then leave."""


_SHOWN = 200
"""Characters of a foreign message that stand in one of our sentences."""


def brief(error: BaseException) -> str:
    """The first line of an error's message, short and printable; its kind where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return "".join(character for character in lines[0] if character.isprintable())[:_SHOWN]


def as_failure(error: Exception) -> Failure:
    """Any exception as the three sentences that a user can act on."""
    if isinstance(error, Failure):
        return error
    safe = "Finished results, replies and decisions are untouched; partial work is kept."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SystemRefusal(
            f"The disk is full: {error}.",
            safe=safe,
            next_step="Free some space (`embedsmith prune`), then run the same command again.",
        )
    if isinstance(error, PermissionError):
        return SystemRefusal(
            f"No permission: {error}.",
            safe=safe,
            next_step="Correct the permissions, then run the same command again.",
        )
    return StageFailure(
        f"An unexpected {type(error).__name__}: {error}",
        safe=safe,
        next_step="The worker's log beside the results has the details; run the same command "
        "again, and report it if it comes back.",
    )
