"""The Review screen's lists: filter, order, bulk actions, the audit."""

from __future__ import annotations

from typing import Literal

from pipeline.errors import BadInput
from pipeline.review.decisions import Action
from pipeline.review.filters import EVERYTHING, parse_filter
from pipeline.review.queue import ORDERS
from tui.review.text import ORDERS_SAID
from tui.rows import row
from tui.screens.review_base import ReviewBase

ASK_FROM = 20
"""Samples beyond which a bulk action asks first."""


class ReviewLists(ReviewBase):
    """What is listed, and what is done to all of it."""

    def __init__(self) -> None:
        super().__init__()
        self._audited = ""
        """The sample that the audit's key led to last."""

    def action_search(self) -> None:
        """Ask for words and facets; empty shows all."""
        self.unask()
        self.run_worker(self._ask_filter(), group="ask", exclusive=True)

    async def _ask_filter(self) -> None:
        desk = self.desk
        if desk is None:
            return
        text = await self.ask("filter", desk.filter.text, check=_understood)
        if text is not None:
            here = self.here()
            desk.show_filter(parse_filter(text))
            self._relist(here)
            everything = desk.filter.everything
            said = f"{len(desk.listed)} of {desk.total} samples match."
            self.wizard.say("All samples are listed." if everything else said)

    def action_order(self) -> None:
        """Choose the order; it is built anew and then stays."""
        from tui.screens.dialogs import Choice

        self.unask()
        rows = [row(f"{order:<10}", (ORDERS_SAID[order], "muted")) for order in ORDERS]

        def chosen(index: int | None) -> None:
            if index is not None and self.desk:
                here = self.here()
                self.desk.show_order(ORDERS[index])
                self._relist(here)

        now = ORDERS.index(self.desk.order) if self.desk else 0
        self.app.push_screen(Choice("Order", rows, now), chosen)

    def _relist(self, here: str) -> None:
        """Show the list as it is now, with the cursor on its sample where that is listed."""
        if self.desk:
            self.samples.show(len(self.desk.listed))
            self.go(self.desk.place(here) or 0)

    def action_accept_all(self) -> None:
        """Accept everything that is listed."""
        self._bulk("accept")

    def action_reject_all(self) -> None:
        """Reject everything that is listed."""
        self._bulk("reject")

    def _bulk(self, verdict: Literal["accept", "reject"]) -> None:
        from tui.screens.dialogs import Question

        desk = self.desk
        if desk is None or not self.settle():
            return
        self.unask()
        names = desk.bulk(verdict)
        if not names:
            self.wizard.say(f"Everything that is listed is {verdict}ed already.")
            return

        def answered(yes: bool | None) -> None:
            if yes and self.do(Action(verdict, names, source="bulk")):
                undo = self.wizard.key_of("review.undo")
                self.wizard.say(f"{len(names)} samples {verdict}ed; {undo} takes that back.")
                self.show()

        if len(names) <= ASK_FROM:
            answered(True)
            return
        wanted = f"{verdict.capitalize()} {len(names)} samples at once?"
        lines = [
            f"{len(desk.listed)} of {desk.total} samples are listed.",
            "One undo takes it back.",
        ]
        self.app.push_screen(Question(wanted, lines), answered)

    def action_audit(self) -> None:
        """The audit's next sample, and what the audit says so far."""
        desk = self.desk
        if desk is None:
            return
        self.unask()
        # Deciding goes on by itself: only from where this key led does it lead further.
        here = self.here()
        name = desk.next_of_audit(here if here == self._audited else "")
        if name is None:
            self.wizard.say("There is nothing to audit: score and flags keep no sample.", "warn")
            return
        if desk.place(name) is None:
            desk.show_filter(EVERYTHING)
            self.samples.show(len(desk.listed))
        self._audited = name
        progress = desk.progress()
        place = f"Audit {desk.audit_place(name)} of {progress.audit_total}"
        self.wizard.say(f"{place}: {progress.precision_sentence}.", "text")
        self.go(desk.place(name) or 0)


def _understood(text: str) -> None:
    """Raises what is wrong with a filter, as short as there is room beside the field."""
    try:
        parse_filter(text)
    except BadInput as failure:
        fault = failure.happened.removeprefix("The filter's word ")
        raise ValueError(fault.replace(" can't be understood", "")) from failure
