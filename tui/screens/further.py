"""Asking for more on the Generate step: topped up, up to a target, or what was parked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import Failure, as_failure
from pipeline.recipe import flatten
from pipeline.run import Result
from pipeline.sdg.batches import CALLS_PER_BATCH
from pipeline.sdg.estimate import Estimate, in_words
from tui.further import (
    Standing,
    TopUp,
    retry_settings,
    standing_of,
    target_estimate,
    top_up,
    top_up_estimate,
)
from tui.off_loop import off_loop
from tui.rows import row
from tui.screens.dialogs import Choice, Question
from tui.watch import Snapshot

if TYPE_CHECKING:
    from tui.screens.generate import GenerateScreen

_KEPT = "What was answered is kept and not paid again."
_READ_SECONDS = 10.0
"""How long a changed recipe may take to be read again before that is said."""

Way = Literal["top up", "feedback", "target", "parked"]


@dataclass(frozen=True)
class Offers:
    """What may be asked for beyond what is there.

    Attributes:
        standing: what there is.
        corpus: its documents.
        plain: a round about what came out empty or short; None where nothing did, or where the
            recipe has a target.
        told: the same, with rejected questions; None where there are none to tell.
    """

    standing: Standing
    corpus: Result
    plain: TopUp | None
    told: TopUp | None

    @property
    def ways(self) -> Sequence[tuple[Way, str]]:
        """Each way that there is, and what it does."""
        found: list[tuple[Way, str]] = []
        if self.plain:
            found.append(
                ("top up", f"{self.plain.questions:,} more about {len(self.plain.documents):,} "
                 "documents that came out empty or short")
            )  # fmt: skip
        if self.told:
            words = f"the same, and tell the writer {len(self.told.told):,} rejected ones"
            found.append(("feedback", words))
        found.append(("target", f"ask until so many pass; {self.standing.kept:,} do now"))
        if parked := self.standing.funnel.parked:
            found.append(("parked", f"ask again for {parked:,} whose replies were damaged"))
        return found


def read_offers(snapshot: Snapshot) -> Offers:
    """Read what may be asked for; samples and decisions are read, so it is called in a thread.

    Raises:
        Failure: there is nothing to start from.
    """
    settings = snapshot.recipe.sdg
    standing = standing_of(snapshot.run, snapshot.variant, settings)
    plain = told = None
    if not settings.target:
        plain = top_up(standing, feedback=False)
        told = top_up(standing, feedback=True) if plain else None
    told = told if told and told.told else None
    return Offers(standing, snapshot.results["corpus"], plain, told)


async def ask_further(screen: GenerateScreen) -> bool:
    """Let a way be chosen, say what it takes, and write its settings; whether to begin."""
    offers = await _offers(screen)
    if offers is None:
        return False
    ways = offers.ways
    rows = [row(f"{way:<9} ", (about, "muted")) for way, about in ways]
    index = await screen.wizard.push_screen_wait(Choice("Ask for more questions", rows))
    if index is None:
        return False
    way = ways[index][0]
    if way == "parked":
        return await _ask_parked(screen, offers.standing)
    if way == "target":
        return await _ask_target(screen, offers)
    found = offers.told if way == "feedback" else offers.plain
    return found is not None and await _ask_top_up(screen, offers, found)


async def ask_parked(screen: GenerateScreen) -> bool:
    """Ask whether parked questions are to be asked for again; whether to begin."""
    offers = await _offers(screen)
    return offers is not None and await _ask_parked(screen, offers.standing)


async def _offers(screen: GenerateScreen) -> Offers | None:
    snapshot = screen.snapshot
    if snapshot is None:
        return None
    try:
        return await off_loop(lambda _stopped: read_offers(snapshot))
    except (Failure, OSError, KeyError) as error:
        screen.wizard.fail(as_failure(error))
        return None


async def _ask_top_up(screen: GenerateScreen, offers: Offers, found: TopUp) -> bool:
    settings = offers.standing.settings
    takes = await _estimated(screen, lambda: top_up_estimate(offers.corpus, settings, found.wanted))
    if takes is None:
        return False
    sentence = found.sentence
    lines = [f"{sentence[:1].upper()}{sentence[1:]}:", *found.lines, "", in_words(takes), _KEPT]
    if found.told:
        lines += ["", "The writer is told not to write the like of:", *found.told]
    lines += ["", f"sdg.rounds becomes {found.round}."]
    title = f"Ask {found.questions:,} more questions?"
    return await _agreed(screen, title, lines, found.settings)


async def _ask_target(screen: GenerateScreen, offers: Offers) -> bool:
    standing = offers.standing

    def check(text: str) -> None:
        screen.wizard.check_setting("sdg.target", text)
        if not text.strip().isdecimal() or int(text) <= standing.kept:
            raise ValueError(f"more than the {standing.kept:,} that pass now")

    before = standing.settings.target or ""
    text = await screen.ask("questions that pass", str(before), check=check)
    if text is None:
        return False
    target = int(text)
    takes = await _estimated(screen, lambda: target_estimate(offers.corpus, standing, target))
    if takes is None:
        return False
    asked = standing.funnel.steps["asked"]
    bound = standing.settings.calls_max
    lines = [
        f"{standing.kept:,} of {asked:,} pass now. By that yield: {in_words(takes)}",
        f"It ends after {bound:,} calls at the latest (sdg.calls_max)."
        if bound
        else "Nothing else bounds the calls: sdg.calls_max is 0.",
        _KEPT,
        "",
        f"sdg.target becomes {target}.",
    ]
    return await _agreed(screen, f"Ask until {target:,} pass?", lines, {"sdg.target": target})


async def _ask_parked(screen: GenerateScreen, standing: Standing) -> bool:
    parked, changed = standing.funnel.parked, retry_settings(standing)
    if not changed:
        screen.wizard.say("No question is parked.")
        return False
    lines = [
        f"At most {CALLS_PER_BATCH * parked:,} calls: one to write and one to judge for each "
        "reply. Everything else that was answered is kept and not paid again.",
        f"sdg.attempts becomes {changed['sdg.attempts']}.",
    ]
    title = f"Ask again for {parked:,} parked question{'s' * (parked != 1)}?"
    return await _agreed(screen, title, lines, changed)


async def _estimated(screen: GenerateScreen, work: Any) -> Estimate | None:
    """What it takes, read in a thread; None, with the reason shown, where that can't be said."""
    try:
        found: Estimate | None = await off_loop(lambda _stopped: work())
    except (Failure, OSError) as error:
        screen.wizard.fail(as_failure(error))
        return None
    return found


async def _agreed(
    screen: GenerateScreen, title: str, lines: Sequence[str], settings: Mapping[str, Any]
) -> bool:
    """Ask, write the settings down, and wait until what they mean was read."""
    wizard = screen.wizard
    if not await wizard.push_screen_wait(Question(title, lines)):
        wizard.say("Nothing was started, and nothing was sent.", "warn")
        return False
    if not wizard.change_settings(settings):
        return False
    until = time.monotonic() + _READ_SECONDS
    while not _was_read(screen, settings):
        if time.monotonic() > until:
            wizard.say("The recipe is changed and still being read: enter begins.", "warn")
            return False
        await asyncio.sleep(0.05)
    return True


def _was_read(screen: GenerateScreen, settings: Mapping[str, Any]) -> bool:
    snapshot = screen.snapshot
    if snapshot is None or not screen.up_to_date:
        return False
    recipe = flatten(snapshot.recipe)
    return all(
        recipe[name] == (tuple(value) if isinstance(value, list) else value)
        for name, value in settings.items()
    )
