"""Which language a text is in, by its commonest words and its script: enough for a prompt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from pipeline.texts import terms

NAMES: Mapping[str, str] = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}
"""The languages that are told apart: ISO 639-1 codes and English names."""

_COMMON = {
    "de": "der die das und ist nicht ein eine mit für auf den dem von zu sich wird werden oder",
    "en": "the and is of to in that it for with are this be or by from as not an if",
    "es": "el la los las de que en un una es por con para se del no como más está",
    "fr": "le la les des et est que une dans pour pas qui sur avec du au ce sont par vous",
    "it": "il lo gli di che un una per con non sono del della nel questo dei alla si",
    "nl": "de het een en van is dat niet op te zijn voor met die er aan wordt ook naar bij",
    "pl": "i w na z do nie jest się to że jak dla przez oraz lub są ten od po przy",
    "pt": "os as de que em um uma para com não do da no na por se",
    "ru": "и в не на что с по как это для из или от при к если его но так быть",
}
_WORDS = {code: frozenset(words.split()) for code, words in _COMMON.items()}
_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
)
"""Japanese is told from Chinese by its kana, so it comes first."""
_READ = 6000
"""Characters that are looked at: a language shows early."""
_SHARE_MIN = 0.08
"""Of all terms; English prose has some 30 % of these words, lists of names have next to none."""
_DISTINCT_MIN = 2
"""One of these words may be a name."""
_LEAD = 1.25
"""The first has so many times the second's words: related languages share some."""
_SCRIPT_SHARE = 0.2


def language_of(text: str) -> str:
    """The ISO 639-1 code of a text's language, or nothing where it isn't clear."""
    found = terms(text[:_READ])
    if not found:
        return ""
    letters = "".join(found)
    for code, script in _SCRIPTS:
        if len(script.findall(letters)) > _SCRIPT_SHARE * len(letters):
            return code
    counts = Counter({code: sum(term in words for term in found) for code, words in _WORDS.items()})
    (first, most), (_, second) = counts.most_common(2)
    several = len(_WORDS[first].intersection(found)) >= _DISTINCT_MIN
    clear = several and most >= _SHARE_MIN * len(found) and most >= _LEAD * second
    return first if clear else ""
