"""Rejected questions with reasons, fed back to the writer from a round on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.sdg.records import Sample
from pipeline.settings import SdgSettings

ENTRIES_MAX = 6
"""So many rejected questions are told at once. Ours: more crowd out the passages."""
_QUESTION_MAX = 300
"""Characters of a question in an entry; `pipeline.setting_rules` bounds the whole of it."""


@dataclass(frozen=True)
class Rejected:
    """A question that a person rejected.

    Attributes:
        sample: the question.
        reason: why, in words; empty where nobody said.
    """

    sample: Sample
    reason: str


def avoid_for(settings: SdgSettings, round: int) -> tuple[str, ...]:  # noqa: A002 - the recipe's
    """What a round's writer is told not to write: the entries of `sdg.avoid` up to that round.

    Args:
        settings: `avoid` holds entries as `ROUND: text`.
        round: from 1; the first one is told nothing.
    """
    entries = (_parts(entry) for entry in settings.avoid)
    return tuple(text for number, text in entries if round > 1 and 0 < number <= round)


def avoid_entries(
    rejected: Iterable[Rejected],
    round: int,  # noqa: A002 - the recipe's word
    before: Sequence[str] = (),
) -> tuple[str, ...]:
    """Entries for `sdg.avoid` from rejected questions, at most `ENTRIES_MAX`.

    Those with a reason come first, and of them the newest. A test question is never told: the
    writer would be taught by what is to measure it.

    Args:
        rejected: the newest first.
        round: from which on they are told.
        before: the entries that are there already; what they tell isn't told again.
    """
    told = {_parts(entry)[1] for entry in before}
    usable = [each for each in rejected if each.sample.role != "test"]
    ordered = sorted(usable, key=lambda each: not each.reason)
    texts = dict.fromkeys(_text(each) for each in ordered)
    fresh = [text for text in texts if text not in told]
    return tuple(f"{round}: {text}" for text in fresh[:ENTRIES_MAX])


def _text(rejected: Rejected) -> str:
    question = " ".join(rejected.sample.question.split())
    if len(question) > _QUESTION_MAX:
        question = question[: _QUESTION_MAX - 1] + "…"
    return f"{question} ({rejected.reason})" if rejected.reason else question


def _parts(entry: str) -> tuple[int, str]:
    """Round and text of an entry; round 0 for one that names none."""
    number, _, text = entry.partition(":")
    number = number.strip()
    return (int(number) if number.isascii() and number.isdigit() else 0), text.strip()
