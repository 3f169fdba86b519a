"""Failures that a user meets: what happened, what is safe, what to do next."""

from __future__ import annotations


class Failure(Exception):
    """A failure with its three sentences and the exit code that the README lists.

    Attributes:
        happened: what went wrong, with the file, line or setting by name.
        safe: what was kept.
        next_step: what the user can do now.
    """

    exit_code: int = 1

    def __init__(self, happened: str, *, safe: str, next_step: str) -> None:
        super().__init__(happened)
        self.happened = happened
        self.safe = safe
        self.next_step = next_step


class StageFailure(Failure):
    """A stage ran and could not reach its end, or its check said no."""

    exit_code = 1


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


class Interruption(Exception):
    """Somebody asked the stage to end; it has kept what it had."""


class Cancelled(Interruption):
    """A `cancel` request reached the worker."""


class Terminated(Interruption):
    """SIGTERM reached the worker: checkpoint, then leave."""
