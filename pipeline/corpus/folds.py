"""Folds: groups dealt into five parts, for good, before any question exists.

Groups are dealt one after another, so five in a row hold one of each fold. Every group also
gets an octant. One fold is test, and octant 0 of the others is dev, whichever fold is test:
70 % train, 10 % dev, 20 % test. What was dealt is kept in the run folder and never moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.corpus.records import Role
from pipeline.errors import BadInput
from pipeline.files import read_json, write_json

FORMAT = 1
"""Version of the file of assignments."""
FOLDS = 5
OCTANTS = 8
TEST_FOLD = 0
DEV_OCTANT = 0

LARGE_GROUP = 0.2
"""A group with a larger share of the documents than test's trains, if nothing is dealt yet."""

_FOLD_ORDER = (1, 0, 2, 3, 4)
"""The first group trains, the second tests, the third is dev: small corpora get all three."""


@dataclass(frozen=True)
class Assignment:
    """Where a document was dealt: a fold (0 to 4) and an octant (0 to 7)."""

    fold: int
    octant: int


@dataclass(frozen=True)
class Ledger:
    """Everything that was ever dealt in a run.

    Attributes:
        documents: assignment by document id, of documents that are gone as well.
        paths: the id that a path held last: an edited document stays where it was.
        dealt: how many groups were dealt.
    """

    documents: Mapping[str, Assignment] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    dealt: int = 0


def role_of(assignment: Assignment, test_fold: int = TEST_FOLD) -> Role:
    """What a document is used for when `test_fold` is held out.

    Rotating `test_fold` over 0 to 4 tests every document once, by a model that never saw it.
    """
    if assignment.fold == test_fold:
        return "test"
    return "dev" if assignment.octant == DEV_OCTANT else "train"


def nth_assignment(index: int) -> Assignment:
    """Where the group at `index`, from 0, is dealt.

    Forty groups in a row hold every pair of fold and octant once. Dev falls on the 3rd,
    14th, 25th and 31st of them (and on the 2nd when another fold is test), so that a part of
    the forty holds close to a tenth as well.
    """
    round_number, place = divmod(index, FOLDS)
    return Assignment(_FOLD_ORDER[place], (round_number - 2 * ((place - 2) % FOLDS)) % OCTANTS)


def deal(groups: Mapping[str, Sequence[str]], paths: Mapping[str, str], ledger: Ledger) -> Ledger:
    """Deal the groups that nobody has dealt yet.

    Args:
        groups: document ids by group.
        paths: path by document id.
        ledger: what was dealt before; none of it moves.

    Returns:
        the ledger with every document of `groups`. A new document takes its group's place;
        where old members of a group lie in different folds, it goes to the one that is test,
        else dev. Dealing the same groups again changes nothing.
    """
    known = _known(groups, paths, ledger)
    documents, dealt = dict(ledger.documents), ledger.dealt
    for group in _dealing_order(groups):
        members = groups[group]
        places = {known[member] for member in members if member in known}
        if places:
            place = min(places, key=lambda p: (p.fold != TEST_FOLD, p.octant != DEV_OCTANT, p.fold))
        else:
            place = nth_assignment(dealt)
            dealt += 1
        documents |= {member: known.get(member, place) for member in members}
    latest = {path: document for document, path in paths.items()}
    return Ledger(documents, {**ledger.paths, **latest}, dealt)


def split_groups(
    groups: Mapping[str, Sequence[str]], parts: Mapping[str, int | str]
) -> dict[str, tuple[int | str, ...]]:
    """The groups that lie in more than one part, with those parts.

    Args:
        groups: document ids by group.
        parts: the fold, or the role, by document id.
    """
    lying = {
        group: tuple(sorted({parts[member] for member in members}, key=str))
        for group, members in groups.items()
    }
    return {group: found for group, found in lying.items() if len(found) > 1}


def supplied_assignment(document: str, role: Role) -> Assignment:
    """A place that gives the role which the source supplied; for sources with own splits."""
    number = int(document[1:], 16)
    if role == "test":
        return Assignment(TEST_FOLD, number % OCTANTS)
    fold = 1 + number % (FOLDS - 1)
    return Assignment(fold, DEV_OCTANT if role == "dev" else 1 + number % (OCTANTS - 1))


def read_ledger(path: Path) -> Ledger:
    """Read the assignments of a run; empty when nothing was dealt yet.

    Raises:
        BadInput: the file is damaged or of a later format.
    """
    if not path.is_file():
        return Ledger()
    document: Any = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(path, "its format is not known")
    try:
        places = {key: Assignment(**value) for key, value in document["documents"].items()}
        return Ledger(places, dict(document["paths"]), int(document["dealt"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Replace the assignments of a run, durably."""
    write_json(path, {"format": FORMAT, **asdict(ledger)})


def _dealing_order(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """By id, which is a hash; but the largest group first where it would swamp the test part."""
    order = sorted(groups)
    largest = max(order, key=lambda group: len(groups[group]), default="")
    if largest and len(groups[largest]) > LARGE_GROUP * sum(map(len, groups.values())):
        order.remove(largest)
        order.insert(0, largest)
    return order


def _known(
    groups: Mapping[str, Sequence[str]], paths: Mapping[str, str], ledger: Ledger
) -> dict[str, Assignment]:
    """The documents that were dealt before: by id, or by path when their text was edited."""
    holders = Counter(paths.values())
    known: dict[str, Assignment] = {}
    for document in chain.from_iterable(groups.values()):
        path = paths.get(document, "")
        # A path that several documents share tells nothing about one of them.
        before = ledger.paths.get(path, "") if holders[path] == 1 else ""
        place = ledger.documents.get(document) or ledger.documents.get(before)
        if place:
            known[document] = place
    return known


def _damaged(path: Path, what: str) -> BadInput:
    return BadInput(
        f"{path} cannot be used: {what}.",
        safe="Nothing was changed; earlier results are untouched.",
        next_step="Put back a copy of the file. Without it, documents would change their role.",
    )
