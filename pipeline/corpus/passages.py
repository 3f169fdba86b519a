"""Passages: whole blocks of a document packed to the size that the recipe asks for.

A passage begins under one heading and takes in deeper ones, but not a heading of the same or
a higher level, unless it would stay tiny. Passages don't overlap, and every non-blank
character of the document lies in exactly one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from pipeline.corpus.blocks import Block, table_header
from pipeline.corpus.splitting import Span, split_block, split_exactly
from pipeline.corpus.tokens import Counter
from pipeline.files import digest_value
from pipeline.settings import CorpusSettings

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
        table_header: the header rows of the table that it continues, or empty.
    """

    start: int
    end: int
    headings: tuple[str, ...]
    tokens: int
    table_header: str = ""


@dataclass(frozen=True)
class _Unit:
    """What stays together: headings with the block below them, or a block.

    Attributes:
        opens: the highest level of its headings; 0 when it has none.
        level: the level of the section that it stands in; 0 above the first heading.
        parts: its blocks, in order.
    """

    start: int
    end: int
    tokens: int
    headings: tuple[str, ...]
    opens: int
    level: int
    parts: tuple[Span, ...]


def passage_id(document: str, start: int, end: int) -> str:
    """`p-` and 16 hexadecimal digits of the document's id and the offsets."""
    return "p-" + digest_value([document, start, end])[:16]


def cut_passages(
    text: str, blocks: Sequence[Block], counter: Counter, settings: CorpusSettings
) -> list[Slice]:
    """Cut one document; see `cut_all`."""
    return cut_all([(text, blocks)], counter, settings)[0]


def cut_all(
    documents: Sequence[tuple[str, Sequence[Block]]], counter: Counter, settings: CorpusSettings
) -> list[list[Slice]]:
    """Cut several documents, each by itself: only the counting is done for all at once.

    Args:
        documents: the normalised texts with their blocks, in order.
        counter: measures in tokens.
        settings: `passage_tokens` is aimed at, `passage_tokens_max` is never passed.
    """
    cap = settings.passage_tokens_max
    spans = [[(block.start, block.end) for block in blocks] for _, blocks in documents]
    texts = [text for text, _ in documents]
    packed: list[list[_Unit]] = []
    for (text, blocks), counts in zip(documents, count_slices(texts, spans, counter), strict=True):
        measured = _measured(text, blocks, counts, counter, settings)
        packed.append(_pack(_units(measured, cap), settings))
    whole = count_slices(
        texts, [[(one.start, one.end) for one in units] for units in packed], counter
    )
    done: list[list[Slice]] = []
    for (text, blocks), units, counts in zip(documents, packed, whole, strict=True):
        slices = [
            Slice(start, end, unit.headings, tokens)
            for unit, count in zip(units, counts, strict=True)
            for (start, end), tokens in _within(text, unit, count, cap, counter)
        ]
        tables = [block for block in blocks if block.kind == "table"]
        done.append(_with_headers(text, slices, tables, cap, counter) if tables else slices)
    return done


def count_slices(
    texts: Sequence[str], spans: Sequence[Sequence[Span]], counter: Counter
) -> list[list[int]]:
    """Tokens of the slices of each text, counted in one go, which uses every core."""
    pieces = [text[start:end] for text, own in zip(texts, spans, strict=True) for start, end in own]
    counts = iter(counter.count(pieces))
    return [list(islice(counts, len(own))) for own in spans]


def _within(
    text: str, unit: _Unit, count: int, cap: int, counter: Counter
) -> list[tuple[Span, int]]:
    """A unit, or its parts where it has more tokens than its blocks have alone.

    Blanks between blocks may cost tokens. It parts between blocks as long as there are several, so
    that what is shorter than the cap stays whole.
    """
    if count <= cap:
        return [((unit.start, unit.end), count)]
    if len(unit.parts) == 1:
        return split_exactly(text, unit.parts[0], cap, counter)
    middle = len(unit.parts) // 2
    found: list[tuple[Span, int]] = []
    for parts in (unit.parts[:middle], unit.parts[middle:]):
        half = replace(unit, start=parts[0][0], end=parts[-1][1], parts=parts)
        (tokens,) = counter.count([text[half.start : half.end]])
        found += _within(text, half, tokens, cap, counter)
    return found


def _with_headers(
    text: str, slices: Sequence[Slice], tables: Sequence[Block], cap: int, counter: Counter
) -> list[Slice]:
    """Give the header rows to every slice that begins among the rows below them."""
    found: list[Slice] = []
    starts = [table.start for table in tables]
    for one in slices:
        table = tables[max(0, bisect_right(starts, one.start) - 1)]
        if table.start < one.start < table.end:
            header = _header(text[table.start : table.end], cap, counter)
            if header and one.start >= table.start + len(header):
                one = replace(one, table_header=header)
        found.append(one)
    return found


def _header(table: str, cap: int, counter: Counter) -> str:
    """The header rows of a table, unless they would fill half of a passage."""
    header = table_header(table)
    return header if header and 2 * counter.count([header])[0] <= cap else ""


def _measured(
    text: str,
    blocks: Sequence[Block],
    counts: Sequence[int],
    counter: Counter,
    settings: CorpusSettings,
) -> Iterator[tuple[Block, int]]:
    """Blocks with their lengths, those over the cap cut to about `passage_tokens`."""
    cap = settings.passage_tokens_max
    for block, count in zip(blocks, counts, strict=True):
        if count <= cap:
            yield block, count
            continue
        span, aim = (block.start, block.end), settings.passage_tokens
        if block.kind == "table" and (header := _header(text[slice(*span)], cap, counter)):
            # What is embedded or shown is the slice below its header.
            aim = max(1, aim - counter.count([header])[0])
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
        parts=tuple((block.start, block.end) for block, _ in parts),
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
            packed[-1] = _joined(current, unit)
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
    packed[-1] = _joined(packed[-1], last)
    return True


def _joined(one: _Unit, following: _Unit) -> _Unit:
    return replace(
        one,
        end=following.end,
        tokens=one.tokens + following.tokens,
        parts=one.parts + following.parts,
    )
