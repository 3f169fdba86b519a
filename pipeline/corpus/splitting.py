"""Splitting what is too long: at list items, line ends, sentence ends, then between words."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from pipeline.corpus.blocks import BlockKind, trim
from pipeline.corpus.tokens import Counter

Span = tuple[int, int]

_ITEM = re.compile(r"\n(?=[-*+] |\d{1,9}[.)] )")
_LINE = re.compile(r"\n")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")
_SENTENCE = re.compile("[.!?…][\"'”’»)\\]]*\\s+|[。！？]")

_CUTS: dict[BlockKind, tuple[re.Pattern[str], ...]] = {
    "list": (_ITEM, _LINE, _SENTENCE),
    "table": (_LINE, _SENTENCE),
    "code": (_PARAGRAPH, _LINE, _SENTENCE),
    # Lines of a paragraph end where an editor wrapped them; sentences end where they end.
    "paragraph": (_SENTENCE, _LINE),
    "heading": (_SENTENCE, _LINE),
}


def split_block(text: str, span: Span, kind: BlockKind, limit: int, counter: Counter) -> list[Span]:
    """Cut one block into slices of about `limit` tokens at the best places that it has.

    The slices cover every non-blank character once and in order. Their counts are sums of
    parts; a tokenizer that merges across a cut may count a whole slice a little differently.
    """
    return _split(text, span, _CUTS[kind], limit, counter)


def split_exactly(text: str, span: Span, limit: int, counter: Counter) -> list[tuple[Span, int]]:
    """Cut a slice until every part, encoded alone, has at most `limit` tokens.

    Returns:
        the parts with their token counts. A single character is never cut.
    """
    aim, spans = limit, [span]
    while True:
        counts = counter.count([text[start:end] for start, end in spans])
        if all(count <= limit or end - start == 1 for (start, end), count in _pairs(spans, counts)):
            return list(_pairs(spans, counts))
        cuts = (_PARAGRAPH, _LINE, _SENTENCE)
        aim = max(1, aim * 3 // 4)
        spans = [
            part
            for one, count in _pairs(spans, counts)
            for part in ([one] if count <= limit else _split(text, one, cuts, aim, counter))
        ]


def _pairs(spans: Sequence[Span], counts: Sequence[int]) -> list[tuple[Span, int]]:
    return list(zip(spans, counts, strict=True))


def _split(
    text: str, span: Span, cuts: Sequence[re.Pattern[str]], limit: int, counter: Counter
) -> list[Span]:
    if not cuts:
        return _between_words(text, span, limit, counter)
    parts = _parts(text, span, cuts[0])
    counts = counter.count([text[start:end] for start, end in parts])
    done: list[Span] = []
    held = 0
    for part, count in _pairs(parts, counts):
        if count > limit:
            done += _split(text, part, cuts[1:], limit, counter)
            held = limit
        elif done and held and held + count <= limit:
            done[-1] = (done[-1][0], part[1])
            held += count
        else:
            done.append(part)
            # A part without tokens still opens a slice that the next may join.
            held = max(1, count)
    return done


def _parts(text: str, span: Span, cut: re.Pattern[str]) -> list[Span]:
    start, end = span
    borders = [start, *(match.end() for match in cut.finditer(text, start, end)), end]
    trimmed = (trim(text, *pair) for pair in pairwise(borders))
    return [(left, right) for left, right in trimmed if left < right]


def _between_words(text: str, span: Span, limit: int, counter: Counter) -> list[Span]:
    """Cut at the last blank before the limit, or between two tokens where there is none."""
    start, end = span
    starts = counter.starts(text[start:end])
    done: list[Span] = []
    left, token = 0, 0
    while token + limit < len(starts):
        hard = max(starts[token + limit], left + 1)
        blank = _last_blank(text, start + left, start + hard) - start
        right = blank if blank > left else hard
        done.append((start + left, start + right))
        left, token = right, max(token + 1, bisect_left(starts, right))
    done.append((start + left, end))
    return [(a, b) for a, b in (trim(text, *one) for one in done) if a < b]


def _last_blank(text: str, start: int, end: int) -> int:
    """Just behind the last blank of a slice, or its start when it has none."""
    for index in range(end - 1, start, -1):
        if text[index].isspace():
            return index + 1
    return start
