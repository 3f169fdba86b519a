"""When two texts count as the same, and the terms that they are made of."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_MARKS = "".join(
    chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code))[0] == "M"
)
_WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# `\w` leaves out combining marks, which many scripts write their vowels with; Chinese and
# Japanese put no spaces between words, so each of their characters is a term.
_LETTER = rf"[^\W{_WITHOUT_SPACES}]"
_TERM = re.compile(
    rf"[{_WITHOUT_SPACES}]|{_LETTER}+(?:[{re.escape(_MARKS)}]+{_LETTER}*)*", re.UNICODE
)


def terms(text: str) -> list[str]:
    """The terms of a text: NFKC, lower case, runs of word characters, in reading order."""
    return _TERM.findall(unicodedata.normalize("NFKC", text).lower())


def normalised(text: str) -> str:
    """A text as it is compared: compatible characters, case and white space made one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str) -> bytes:
    """16 bytes, equal for texts that are the same: a corpus's texts are in memory once already."""
    content = normalised(text).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).digest()
