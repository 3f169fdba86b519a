"""Blocks of data in a prompt: text of documents and models that can neither close nor forge one."""

from __future__ import annotations

import re

TAGS = ("passage", "nearby", "slots", "pair", "guidance", "avoid")
"""Every tag that our prompts use."""

INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"  # tags and variation selectors: text that nobody sees
)
"""Characters that hide, reorder or control text, and say nothing. Joiners (U+200C, U+200D) are
parts of words in Persian and Indic scripts and stay; so do the variation selectors of emoji."""
_LINE = re.compile(r"[\u2028\u2029\x85]|\r\n?")
_OPENING = re.compile(
    rf"[<\uff1c\ufe64](?=[\s/\\]*(?:{'|'.join(TAGS)})(?![A-Za-z]))", re.IGNORECASE
)
"""What opens one of our tags, or what a model might take for it."""


def clean(text: str) -> str:
    """A text without invisible characters and with one kind of line end."""
    return INVISIBLE.sub("", _LINE.sub("\n", text))


def disarmed(text: str) -> str:
    """A clean text in which whatever looks like one of our tags has lost its `<`."""
    return _OPENING.sub("‹", clean(text))


def one_line(text: str) -> str:
    """A disarmed text on one line, for what stands among our own words."""
    return disarmed(" ".join(clean(text).split()))


def data_block(tag: str, name: str, text: str) -> str:
    """Text in a block that it cannot close.

    Args:
        tag: one of `TAGS`.
        name: the block's id; ours, never data.
        text: anything.
    """
    return f'<{tag} id="{name}">\n{disarmed(text)}\n</{tag}>'
