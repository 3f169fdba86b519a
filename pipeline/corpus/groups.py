"""Groups: documents that are near-duplicates, or that must stay together for another reason."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from pipeline.corpus.spool import Place, Spool

SHINGLE_WORDS = 5
"""Words of one n-gram; the recipe's containment is defined over 5-grams."""

Shingles = NDArray[np.uint64]

_WORD = re.compile(r"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_HASH_BYTES = 8
_AT_ONCE = 1 << 20
"""Hashes that are sorted at a time, in ..."""
_RANGES_MAX = 64
"""... so many parts at most: bounds memory, changes no result."""


class Union:
    """Union-find over keys; a set's name is its smallest key."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._parent = {key: key for key in keys}

    def find(self, key: str) -> str:
        """The name of the set that holds `key`."""
        root = key
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[key] != root:
            self._parent[key], key = root, self._parent[key]
        return root

    def join(self, keys: Sequence[str]) -> None:
        """Make one set of the sets that hold `keys`."""
        for key in keys[1:]:
            low, high = sorted((self.find(keys[0]), self.find(key)))
            self._parent[high] = low

    def sets(self) -> dict[str, list[str]]:
        """Members by name, both sorted."""
        sets: dict[str, list[str]] = {}
        for key in sorted(self._parent):
            sets.setdefault(self.find(key), []).append(key)
        return sets


def group_documents(
    texts: Mapping[str, str],
    containment: float,
    together: Iterable[Sequence[str]] = (),
    spool: Spool | None = None,
) -> dict[str, list[str]]:
    """Put near-duplicates into groups.

    Args:
        texts: normalised text by document id.
        containment: a document joins another's group when this share of its word 5-grams
            stands in the other.
        together: ids that share a group whatever their texts say.
        spool: where the 5-grams lie meanwhile; None: in a file of its own.

    Returns:
        sorted ids by group; a group's id is its smallest.
    """
    union = Union(texts)
    for ids in together:
        union.join(ids)
    if spool is None:
        with Spool() as own:
            return group_documents(texts, containment, together, own)
    ids = sorted(texts)
    vocabulary: defaultdict[str, int] = defaultdict(count(1).__next__)
    shingles = _Spooled(
        [spool.put(_shingles(texts[key], vocabulary).tobytes()) for key in ids], spool
    )
    _join_contained(ids, shingles, containment, union)
    return union.sets()


@dataclass(frozen=True)
class _Spooled:
    """The shingles of documents, sorted, on the disk: they are several times the texts.

    Attributes:
        places: of each document's.
        spool: where they lie.
    """

    places: Sequence[Place]
    spool: Spool

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, position: int) -> Shingles:
        return np.frombuffer(self.spool.get(self.places[position]), np.uint64)

    def __iter__(self) -> Iterator[Shingles]:
        return map(self.__getitem__, range(len(self)))

    def part(self, position: int, start: int, end: int) -> Shingles:
        """Some of a document's shingles."""
        size = _HASH_BYTES * (end - start)
        content = self.spool.get(self.places[position], _HASH_BYTES * start, size)
        return np.frombuffer(content, np.uint64)

    @property
    def total(self) -> int:
        """Shingles of all documents."""
        return sum(place.size for place in self.places) // _HASH_BYTES


def _shingles(text: str, vocabulary: defaultdict[str, int]) -> Shingles:
    """Distinct hashes of the word 5-grams, sorted; a shorter text is one shingle.

    Words are numbered as they come and five numbers are mixed into 64 bits.
    """
    words = _WORD.findall(text.casefold())
    numbers = np.array([*map(vocabulary.__getitem__, words)], np.uint64)
    width = min(SHINGLE_WORDS, len(numbers))
    if not width:
        return np.empty(0, np.uint64)
    size = len(numbers) - width + 1
    mixed = np.zeros(size, np.uint64)
    for offset in range(width):
        mixed = (mixed ^ numbers[offset : offset + size]) * _MULTIPLIER
        mixed ^= mixed >> _SHIFT
    return np.unique(mixed)


def _join_contained(
    ids: Sequence[str], shingles: _Spooled, containment: float, union: Union
) -> None:
    """Join every document with those that contain it.

    If a share `t` of n shingles stands in another document, then so does at least one of any
    n - ceil(t n) + 1 of them. Only that many, the rarest, are looked up.
    """
    index = _Index(shingles)
    home = np.arange(len(ids))
    for position, own in enumerate(shingles):
        need = math.ceil(containment * len(own) - 1e-9)
        if need < 1:
            continue
        found = index.holders_of_rarest(position, len(own) - need + 1)
        for other in np.unique(found[home[found] != home[position]]).tolist():
            if home[other] == home[position]:
                continue
            if np.isin(own, shingles[other], assume_unique=True).sum() >= need:
                union.join([ids[position], ids[other]])
                home[home == home[other]] = home[position]


class _Index:
    """Which documents hold a shingle, of those that more than one holds.

    Most shingles stand in one document alone: they can match no other, and aren't kept.
    """

    def __init__(self, shingles: _Spooled) -> None:
        self._shingles = shingles
        self._shared, self._counts = _shared(shingles)
        numbers = [self._numbers(one) for one in shingles]
        sizes = [len(one) for one in numbers]
        every = np.concatenate(numbers) if numbers else np.empty(0, np.uint32)
        owners = np.repeat(np.arange(len(shingles), dtype=np.uint32), sizes)
        self._owners = owners[np.argsort(every, kind="stable")]
        self._starts = np.cumsum(self._counts) - self._counts

    def holders_of_rarest(self, position: int, rarest: int) -> NDArray[np.uint32]:
        """Documents that hold one of the rarest shingles of a document, with repetitions."""
        own = self._shingles[position]
        numbers = self._numbers(own)
        # What this document alone holds is rarest of all.
        left = rarest - (len(own) - len(numbers))
        if left <= 0:
            return np.empty(0, np.uint32)
        chosen = numbers[np.argsort(self._counts[numbers], kind="stable")[:left]]
        slices = [
            self._owners[start : start + size]
            for start, size in zip(self._starts[chosen], self._counts[chosen], strict=True)
        ]
        return np.concatenate(slices) if slices else np.empty(0, np.uint32)

    def _numbers(self, own: Shingles) -> NDArray[np.uint32]:
        """Places of a document's shared shingles among all shared ones."""
        if not len(self._shared):
            return np.empty(0, np.uint32)
        places = np.searchsorted(self._shared, own)
        np.minimum(places, len(self._shared) - 1, out=places)
        found: NDArray[np.uint32] = places[self._shared[places] == own].astype(np.uint32)
        return found


def _shared(shingles: _Spooled) -> tuple[Shingles, NDArray[np.uint32]]:
    """The shingles of more than one document, sorted, and in how many they stand.

    Hashes are taken range by range, so that no more than one range is sorted at a time.
    """
    ranges = min(_RANGES_MAX, 1 + shingles.total // _AT_ONCE)
    inner = np.array([2**64 * number // ranges for number in range(1, ranges)], np.uint64)
    borders = [np.array([0, *np.searchsorted(one, inner), len(one)], np.int32) for one in shingles]
    found, counts = [np.empty(0, np.uint64)], [np.empty(0, np.uint32)]
    for number in range(ranges if borders else 0):
        every = np.concatenate(
            [
                shingles.part(position, *at[number : number + 2].tolist())
                for position, at in enumerate(borders)
            ]
        )
        values, times = np.unique(every, return_counts=True)
        found.append(values[times > 1])
        counts.append(times[times > 1].astype(np.uint32))
    return np.concatenate(found), np.concatenate(counts)
