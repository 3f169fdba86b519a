"""How many calls a result may still make: `sdg.calls_max`, shared out in the order of the plan.

Calls run side by side, yet which questions the last calls go to must not depend on who was
quicker. So near the end a conversation begins only after those before it have ended. Calls that
the journal answers count, too: a run that was interrupted ends where an undisturbed one does.
"""

from __future__ import annotations

from pipeline.sdg.batches import CALLS_PER_BATCH


class CallsSpent(Exception):
    """No call is left. Thrown into a conversation, which then makes do with what it has."""


class Ticket:
    """The calls of one conversation."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self.used = 0

    def take(self) -> bool:
        """Whether one more call may be made; it is counted then."""
        if not self._allowance.left:
            return False
        self.used += 1
        return True


class Allowance:
    """Calls left for a result."""

    def __init__(self, most: int, each: int) -> None:
        """Nothing is used.

        Args:
            most: `sdg.calls_max`; 0 for no limit.
            each: the most calls that one conversation may need.
        """
        self._most = most
        self._each = each
        self._ended = 0
        self._open: set[Ticket] = set()

    @property
    def left(self) -> bool:
        """Whether any call is left."""
        return not self._most or self._used < self._most

    @property
    def over(self) -> bool:
        """Whether no conversation may begin any more."""
        return bool(self._most) and self._used + CALLS_PER_BATCH > self._most

    def begin(self) -> Ticket | None:
        """A ticket, or None while conversations that are open must end first."""
        reserved = self._ended + sum(max(self._each, ticket.used) for ticket in self._open)
        if self._most and self._open and reserved + self._each > self._most:
            return None
        ticket = Ticket(self)
        self._open.add(ticket)
        return ticket

    def end(self, ticket: Ticket) -> None:
        """A conversation is over."""
        self._open.discard(ticket)
        self._ended += ticket.used

    @property
    def _used(self) -> int:
        return self._ended + sum(ticket.used for ticket in self._open)
