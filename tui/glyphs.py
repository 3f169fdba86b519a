"""The signs that screens use, in Unicode and in ASCII; a word always stands beside one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """One set of signs, each one column wide.

    Attributes:
        done, running, waiting, stale, failed, blocked: where a step stands.
        passed, warned, refused: what a check said.
        accepted, rejected, undecided, edited: what a person said of a sample.
        cursor: before the selected row.
        quote_open, quote_close: around evidence.
        bars: from empty to full, for histograms.
        full, empty: a progress bar's cells.
        rule: a horizontal line.
        threshold: where the threshold stands in a histogram.
        ellipsis: something is missing here.
        arrow: leads from one value to the next.
        dots: whether charts draw with braille dots.
    """

    done: str = "✓"
    running: str = "▶"
    waiting: str = "·"
    stale: str = "↻"
    failed: str = "✗"
    blocked: str = "⊘"
    passed: str = "✓"
    warned: str = "!"
    refused: str = "✗"
    accepted: str = "✓"
    rejected: str = "✗"
    undecided: str = "·"
    edited: str = "✎"
    cursor: str = "›"
    quote_open: str = "«"
    quote_close: str = "»"
    bars: str = " ▁▂▃▄▅▆▇█"
    full: str = "█"
    empty: str = "░"
    rule: str = "─"
    threshold: str = "│"
    ellipsis: str = "…"
    arrow: str = "→"
    dots: bool = True


_LIKE = str.maketrans(
    {"…": "~", "–": "-", "—": "-", "→": ">", "‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " "}
)


def ascii_only(text: str) -> str:
    """`text` as a terminal without Unicode shows it, in as many columns: `?` for what it lacks."""
    if text.isascii():
        return text
    # Here: commands use the signs, and none of them waits for Rich.
    from rich.cells import cell_len

    text = text.translate(_LIKE)
    return "".join(char if char.isascii() else "?" * cell_len(char) for char in text)


UNICODE = Glyphs()
ASCII = Glyphs(
    done="+",
    running=">",
    waiting=".",
    stale="~",
    failed="x",
    blocked="#",
    passed="+",
    warned="!",
    refused="x",
    accepted="+",
    rejected="x",
    undecided=".",
    edited="e",
    cursor=">",
    quote_open="[",
    quote_close="]",
    bars=" .:-=+*#@",
    full="#",
    empty=".",
    rule="-",
    threshold="|",
    ellipsis="~",
    arrow=">",
    dots=False,
)
