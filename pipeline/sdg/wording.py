"""What the words of a question give away: that they point at a text, or at nothing at all."""

from __future__ import annotations

import re

from pipeline.sdg.words import STOP_WORDS, content_terms
from pipeline.texts import terms

_SOURCE = (
    r"(?:document|text|passage|context|section|excerpt|article|paragraph|segment|transcript|"
    r"snippet|chapter|extract)s?"
)
_SEEN = r"(?:figure|table|diagram|image|example|code|listing|snippet|screenshot|chart)s?"
_POINTING = re.compile(
    # Anchored on the preposition: "how do I put a table in the document" is a fair question.
    rf"\b(?:according to|based on|as per|per) (?:the|this|these|that|your) (?:[\w-]+ )?{_SOURCE}\b|"
    rf"\b(?:in|from|by|of|within) (?:this|these|the (?:given|provided|above|following|preceding)) "
    rf"{_SOURCE}\b|"
    r"\b(?:in|from|by|within) the (?:passage|excerpt|transcript|snippet|provided context)s?\b|"
    rf"\b(?:does|do|did) (?:the|this) {_SOURCE} (?:say|state|mention|describe|explain|suggest|tell|"
    r"recommend|give|list|refer)\b|"
    rf"\bthe (?:given|provided|above|following|preceding) {_SOURCE}\b|"
    r"\bthe authors? (?:say|state|mention|describe|explain|suggest|recommend|argue|prefer|claim|"
    r"use|think|mean)s?\b|"
    r"\b(?:according to|by|do|does|did) the authors?\b|"
    rf"\b(?:the |this )?{_SEEN} (?:shown )?(?:above|below)\b|"
    rf"\b(?:the above|above-mentioned|aforementioned)\b|"
    r"\b(?:mentioned|described|shown|listed|discussed|stated|given|explained) "
    r"(?:above|below|here|earlier|previously|in the (?:text|document|passage|section|article))\b|"
    r"\b(?:laut|gemäß) (?:dem|diesem|der|dieser) (?:text|dokument|abschnitt|artikel|passage)\b|"
    r"\b(?:d'après|selon) (?:le|la|ce|cette|l') ?"
    r"(?:texte|document|passage|section|article|extrait)\b|"
    r"\bsegún (?:el|la|este|esta) (?:texto|documento|pasaje|sección|artículo|fragmento)\b|"
    r"\bsecondo (?:il|la|questo) (?:testo|documento|brano|passaggio|sezione)\b|"
    r"\b(?:segundo|de acordo com) (?:o|a|este) (?:texto|documento|trecho|artigo)\b|"
    r"\bvolgens (?:de|het|deze|dit) (?:tekst|document|passage|artikel)\b",
    re.IGNORECASE,
)

_PERSONAL = frozenset(["it", "they", "them", "its", "their", "he", "she", "him", "his", "her"])
_SHOWING = frozenset(["this", "that", "these", "those"])
_TOKEN = re.compile(r"[^\W_][\w.'’+#-]*", re.UNICODE)
_NAMED = re.compile(
    r"`[^`]+`|\"[^\"]{2,}\"|“[^”]{2,}”|"
    r"\b[A-Za-z][A-Za-z0-9]*[_.]\w*[A-Za-z]|\b[a-z]+[A-Z]|\b[A-Za-z]+\d|(?<!\S)--?[A-Za-z]|"
    r"(?<=\s)[A-Z][\w+#-]+|\b[A-Z]{2,}\b"
)
"""What names something: code, a quotation, an identifier, a capital inside the question."""
_EMPTY_IT = re.compile(
    r"\bit\b(?:\W+\w+){0,3}\W+(?:to|that|for|if|when|how|why|whether|\w+ing)\b|"
    r"\b(?:does|did|will|would) it (?:take|matter|cost|mean|make sense|rain)\b|"
    r"\bit'?s? (?:is |was )?(?:possible|okay|ok|legal|safe|necessary|normal|raining|late)\b",
    re.IGNORECASE,
)
"""An "it" that stands for nothing: "is it possible to"."""
_WORDS_TELLING = 2
"""A question with fewer content words could be about anything."""
_YES_NO = re.compile(
    r"\W*(?:yes|no|ja|nein|oui|non|sí|si|no|sim|não|nee|да|нет)\b(?:\W+\w+){0,2}\W*",
    re.IGNORECASE,
)


def pointing_words(question: str) -> str:
    """The words that speak of a text which its reader doesn't have; mostly none."""
    match = _POINTING.search(question)
    return match.group() if match else ""


def dangling_word(question: str) -> str:
    """A word that stands for something which the question doesn't name; mostly none.

    English alone: the first word that carries meaning decides, because what a later "it" stands
    for may be said by then.
    """
    if _NAMED.search(question):
        return ""
    for match in _TOKEN.finditer(question):
        word = match.group()
        plain = word.casefold()
        if plain in _SHOWING and plain != "that":
            return word
        if plain in _PERSONAL:
            return "" if plain == "it" and _EMPTY_IT.search(question) else word
        if plain.partition("'")[0] not in STOP_WORDS:
            return ""
    return ""


def says_little(question: str) -> bool:
    """Whether a question has so few words of its own that many texts would answer it."""
    if not terms(question) or _NAMED.search(question):
        return False
    return len(set(content_terms(question))) < _WORDS_TELLING


def given_away(question: str, answer: str) -> str:
    """Why an answer tells nothing that the question doesn't; mostly nothing."""
    if _YES_NO.fullmatch(answer):
        return f"the answer is a bare {answer.strip(' .!')!r}"
    told = set(terms(answer)) - STOP_WORDS
    if told and told <= set(terms(question)):
        return "every word of the answer stands in the question"
    return ""
