"""Which questions are asked when: one pass, rounds that top up, or portions up to a target.

Each portion follows from the settings and from what was kept of those before it, so that a run
that starts over from its journal asks the same and pays nothing again.

- One pass (`sdg.rounds` 1): the whole plan.
- Topping up: each later round asks about the documents that came out empty, as much as they were
  planned for, and about those that kept less than `SHORT_SHARE` of it, what they lack.
- A target (`sdg.target`): the plan in portions, each as large as what is missing should take by the
  yield so far, one batch of every document before a second one of any; then further rounds, those
  first that kept least. It ends when the target is reached, a whole round keeps nothing more,
  `ROUNDS_MAX` rounds are over, or the calls are spent.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence

from pipeline.corpus.records import ROLES, Document, Passage
from pipeline.files import digest_value
from pipeline.sdg.batches import batches
from pipeline.sdg.plan import Assignment, plan
from pipeline.settings import SdgSettings

SHORT_SHARE = 0.5
"""A document that kept less than this of its plan is short. Ours: by the usual thresholds most
documents lose a question or two, and asking about all of them is another pass."""
ROUNDS_MAX = 8
"""Rounds towards a target. Ours."""
_YIELD_MIN = 0.1
"""No portion asks for more than ten times what is missing: the next one knows better."""

Kept = Mapping[str, int]
"""Questions kept so far, by document id."""
Portions = Generator[list[Assignment], Kept, None]
"""Yields what to ask, is sent what was kept of all so far."""


def portions(
    documents: Sequence[Document], passages: Sequence[Passage], settings: SdgSettings, seed: int
) -> Portions:
    """What to ask, portion by portion; the first one is empty where there is nothing to ask about.

    Args:
        documents: those to ask about.
        passages: theirs; others are ignored.
        settings: the recipe's.
        seed: the recipe's.
    """
    if settings.target:
        return _to_target(documents, passages, settings, seed)
    return _topping_up(documents, passages, settings, seed)


def last_round(settings: SdgSettings) -> int:
    """The last round that may come."""
    return max(settings.rounds, ROUNDS_MAX) if settings.target else settings.rounds


def wanted_of(planned: Mapping[str, int], kept: Kept) -> dict[str, int]:
    """How many questions a further round asks for, by document id.

    Args:
        planned: the first round's questions, by document id.
        kept: questions kept so far; a document that isn't there is empty.
    """
    return {
        document: count - kept.get(document, 0)
        for document, count in planned.items()
        if kept.get(document, 0) < SHORT_SHARE * count
    }


def _topping_up(
    documents: Sequence[Document], passages: Sequence[Passage], settings: SdgSettings, seed: int
) -> Portions:
    first = plan(documents, passages, settings, seed)
    kept = yield first
    planned = Counter(assignment.document for assignment in first)
    for turn in range(2, settings.rounds + 1):
        more = plan(documents, passages, settings, seed, turn, wanted_of(planned, kept))
        if not more:
            return
        kept = yield more


def _to_target(
    documents: Sequence[Document], passages: Sequence[Passage], settings: SdgSettings, seed: int
) -> Portions:
    places = _places(documents, seed)
    kept: Kept = {}
    asked = 0
    for turn in range(1, last_round(settings) + 1):
        before = sum(kept.values())
        planned = plan(documents, passages, settings, seed, turn)
        waiting = _by_coverage(planned, kept, places)
        while waiting or not asked:
            missing = settings.target - sum(kept.values())
            share = max(sum(kept.values()) / asked, _YIELD_MIN) if asked else 1.0
            portion = _take(waiting, math.ceil(missing / share))
            asked += len(portion)
            chosen = {assignment.id for assignment in portion}
            kept = yield [assignment for assignment in planned if assignment.id in chosen]
            if sum(kept.values()) >= settings.target:
                return
        if sum(kept.values()) <= before:
            return


def _places(documents: Sequence[Document], seed: int) -> Mapping[str, tuple[float, int, str]]:
    """The order of the documents: spread over the roles as the corpus is, by chance within one."""
    by_role: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        by_role[document.role].append(document.id)
    places = {}
    for number, role in enumerate(ROLES):
        ordered = sorted(by_role[role], key=lambda name: digest_value([seed, name]))
        for place, name in enumerate(ordered):
            # Each role's first document comes before any role's second.
            places[name] = (place / len(ordered), number, name)
    return places


def _by_coverage(
    planned: Sequence[Assignment], kept: Kept, places: Mapping[str, tuple[float, int, str]]
) -> list[list[Assignment]]:
    """The batches, one of each document before a second of any; who kept least comes first."""
    counts = Counter(assignment.document for assignment in planned)
    seen: Counter[str] = Counter()
    order = []
    for batch in batches(planned):
        document = batch[0].document
        covered = kept.get(document, 0) / counts[document]
        order.append(((seen[document], covered, places[document]), batch))
        seen[document] += 1
    return [batch for _, batch in sorted(order, key=lambda entry: entry[0])]


def _take(waiting: list[list[Assignment]], questions: int) -> list[Assignment]:
    """Batches off the front that hold so many questions."""
    taken: list[Assignment] = []
    while waiting and len(taken) < questions:
        taken += waiting.pop(0)
    return taken
