"""Passages: whole blocks of a document packed to the size that the recipe asks for.

A passage begins under one heading and takes in deeper ones, but not a heading of the same or
a higher level, unless it would stay tiny. Passages don't overlap, and every non-blank
character of the document lies in exactly one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.corpus.blocks import Block
from pipeline.corpus.splitting import split_block, split_exactly
from pipeline.corpus.tokens import Counter
from pipeline.files import digest_value
from pipeline.recipe import CorpusSettings

TINY = 0.25
"""Share of `passage_tokens` below which a passage may reach over a heading. Ours."""


@dataclass(frozen=True)
class Slice:
    """A passage before its document has a role: `text[start:end]`.

    Attributes:
        start: first character.
        end: one past the last character.
        headings: the headings that it stands under, outermost first.
        tokens: its length.
    """

    start: int
    end: int
    headings: tuple[str, ...]
    tokens: int


@dataclass(frozen=True)
class _Unit:
    """What stays together: headings with the block below them, or a block.

    Attributes:
        opens: the highest level of its headings; 0 when it has none.
        level: the level of the section that it stands in; 0 above the first heading.
    """

    start: int
    end: int
    tokens: int
    headings: tuple[str, ...]
    opens: int
    level: int


def passage_id(document: str, start: int, end: int) -> str:
    """`p-` and 16 hexadecimal digits of the document's id and the offsets."""
    return "p-" + digest_value([document, start, end])[:16]


def cut_passages(
    text: str, blocks: Sequence[Block], counter: Counter, settings: CorpusSettings
) -> list[Slice]:
    """Cut a document.

    Args:
        text: the normalised text.
        blocks: its blocks, in order.
        counter: measures in tokens.
        settings: `passage_tokens` is aimed at, `passage_tokens_max` is never passed.
    """
    units = _units(_measured(text, blocks, counter, settings), settings.passage_tokens_max)
    packed = _pack(units, settings)
    counts = counter.count([text[unit.start : unit.end] for unit in packed])
    slices: list[Slice] = []
    for unit, count in zip(packed, counts, strict=True):
        if count <= settings.passage_tokens_max:
            slices.append(Slice(unit.start, unit.end, unit.headings, count))
            continue
        # Sums of blocks can fall short of the whole by the tokens that blanks between them cost.
        span = (unit.start, unit.end)
        for (start, end), tokens in split_exactly(text, span, settings.passage_tokens_max, counter):
            slices.append(Slice(start, end, unit.headings, tokens))
    return slices


def _measured(
    text: str, blocks: Sequence[Block], counter: Counter, settings: CorpusSettings
) -> Iterator[tuple[Block, int]]:
    """Blocks with their lengths, those over the cap cut to about `passage_tokens`."""
    counts = counter.count([text[block.start : block.end] for block in blocks])
    for block, count in zip(blocks, counts, strict=True):
        if count <= settings.passage_tokens_max:
            yield block, count
            continue
        span, aim = (block.start, block.end), settings.passage_tokens
        spans = split_block(text, span, block.kind, aim, counter)
        lengths = counter.count([text[start:end] for start, end in spans])
        yield replace(block, start=spans[0][0], end=spans[0][1]), lengths[0]
        for (start, end), length in zip(spans[1:], lengths[1:], strict=True):
            yield Block(start, end, "paragraph"), length


def _units(measured: Iterator[tuple[Block, int]], cap: int) -> list[_Unit]:
    """Give every block its section, and keep headings with what they stand above."""
    units: list[_Unit] = []
    path: list[Block] = []
    waiting: list[tuple[Block, int]] = []
    for block, tokens in measured:
        if block.level:
            if waiting and sum(count for _, count in waiting) + tokens > cap:
                units.append(_unit(waiting, path))
                waiting = []
            path = [above for above in path if above.level < block.level] + [block]
            waiting.append((block, tokens))
            continue
        if waiting and sum(count for _, count in waiting) + tokens > cap:
            units.append(_unit(waiting, path))
            waiting = []
        units.append(_unit([*waiting, (block, tokens)], path))
        waiting = []
    if waiting:
        units.append(_unit(waiting, path))
    return units


def _unit(parts: Sequence[tuple[Block, int]], path: Sequence[Block]) -> _Unit:
    return _Unit(
        start=parts[0][0].start,
        end=parts[-1][0].end,
        tokens=sum(tokens for _, tokens in parts),
        headings=tuple(block.title for block in path if block.title),
        opens=min((block.level for block, _ in parts if block.level), default=0),
        level=path[-1].level if path else 0,
    )


def _pack(units: Sequence[_Unit], settings: CorpusSettings) -> list[_Unit]:
    target, cap = settings.passage_tokens, settings.passage_tokens_max
    tiny = TINY * target
    packed: list[_Unit] = []
    for unit in units:
        if not packed:
            packed.append(unit)
            continue
        current = packed[-1]
        total = current.tokens + unit.tokens
        boundary = 0 < unit.opens <= current.level
        if boundary and current.tokens < tiny and _fold_back(packed, cap, same_section=True):
            packed.append(unit)
        elif total <= cap and (
            current.tokens < tiny if boundary else _nearer(current.tokens, total, target)
        ):
            packed[-1] = replace(current, end=unit.end, tokens=total)
        else:
            packed.append(unit)
    if packed and packed[-1].tokens < tiny:
        _fold_back(packed, cap, same_section=False)
    return packed


def _nearer(before: int, after: int, target: int) -> bool:
    """Whether taking one more block brings a passage nearer to the target."""
    return after <= target or after - target < target - before


def _fold_back(packed: list[_Unit], cap: int, *, same_section: bool) -> bool:
    """Join the last passage to the one before it, if that fits."""
    if len(packed) < 2 or packed[-2].tokens + packed[-1].tokens > cap:
        return False
    if same_section and (packed[-1].opens or packed[-2].headings != packed[-1].headings):
        return False
    last = packed.pop()
    packed[-1] = replace(packed[-1], end=last.end, tokens=packed[-1].tokens + last.tokens)
    return True
