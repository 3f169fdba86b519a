"""A sample as a text for an editor, and what was made of it there."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.corpus.records import Passage
from pipeline.errors import BadInput
from pipeline.review.decisions import Action, Decision
from pipeline.sdg.records import Quote, Sample

_HEADS = {"question": "[question]", "answer": "[answer]"}
_SPECIAL = re.compile(r"\\*(#|\[question\]\s*$|\[answer\]\s*$)")
"""Lines of a text that the template would take for its own; a backslash goes before them."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_WIDTH = 92
"""Characters of a note's line."""

_NOTES = (
    "Change question and answer, save, and leave the editor.",
    "Lines that begin with # are notes and are left out; write \\# for a line that begins so.",
    "Without a change, nothing is decided; with one, the sample is accepted in your words.",
)


@dataclass(frozen=True)
class Edited:
    """A sample's words.

    Attributes:
        question: in one line, not empty.
        answer: of any number of lines; may be empty.
    """

    question: str
    answer: str


def current_words(sample: Sample, decision: Decision | None) -> Edited:
    """The words as they stand now: the edited ones where there are any."""
    question, answer = (decision.question, decision.answer) if decision else (None, None)
    return Edited(
        sample.question if question is None else question,
        sample.answer if answer is None else answer,
    )


def render_edit(
    words: Edited, sample: Sample, passages: Sequence[Passage], problem: str = ""
) -> str:
    """The text for the editor.

    Args:
        words: `current_words`, or what was typed before `problem` arose.
        sample: for its evidence.
        passages: its evidence passages; those that are missing are left out.
        problem: what was wrong with the last try; it stands on top.
    """
    lines = [*_note(problem), *(f"# {note}" for note in _NOTES), _HEADS["question"]]
    lines += [_guarded(line) for line in _clean(words.question).split("\n")]
    lines += ["", _HEADS["answer"]]
    lines += [_guarded(line) for line in _clean(words.answer).split("\n")]
    for passage in passages:
        quotes = [quote for quote in sample.quotes if quote.passage == passage.id]
        lines += ["", f"# Evidence {passage.id}, «quoted» words marked:"]
        if passage.headings:
            lines += _note(" > ".join(passage.headings))
        lines += _note(_marked(passage.text, quotes))
    return "\n".join(lines) + "\n"


def parse_edit(text: str, before: Edited) -> Edited | None:
    """What was made of the text; None when nothing was changed.

    Args:
        text: the file as the editor left it.
        before: the words that were rendered (`current_words`).

    Raises:
        BadInput: the question is empty, one of the two heads is gone, or words stand above both.
    """
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    above = current
    for line in _clean(text).split("\n"):
        head = next((name for name, head in _HEADS.items() if line.rstrip() == head), None)
        if head is not None and head not in sections:
            current = sections.setdefault(head, [])
        elif not line.startswith("#"):
            current.append(line.removeprefix("\\") if _SPECIAL.match(line) else line)
    for name, head in _HEADS.items():
        if name not in sections:
            raise _unusable(f"The line {head} is gone", f"Put {head} back above the {name}")
    if any(line.strip() for line in above):
        raise _unusable("Words stand above [question]", "Put them below [question] or [answer]")
    edited = _normal(Edited("\n".join(sections["question"]), "\n".join(sections["answer"])))
    if not edited.question:
        raise _unusable("The question is empty", "Write one below [question]")
    return None if edited == _normal(before) else edited


def edit_action(sample: str, before: Edited, edited: Edited) -> Action:
    """The action of an edit; words that stayed the same are left out.

    Args:
        sample: the sample's id.
        before: `current_words`.
        edited: what `parse_edit` gave.
    """
    known = _normal(before)
    return Action(
        "edit",
        (sample,),
        question=None if edited.question == known.question else edited.question,
        answer=None if edited.answer == known.answer else edited.answer,
        source="edit",
    )


def _normal(words: Edited) -> Edited:
    lines = [line.rstrip() for line in _clean(words.answer).split("\n")]
    return Edited(" ".join(_clean(words.question).split()), "\n".join(lines).strip("\n"))


def _clean(text: str) -> str:
    """Without control characters, and with one kind of line end."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _guarded(line: str) -> str:
    return f"\\{line}" if _SPECIAL.match(line) else line


def _note(text: str) -> list[str]:
    """A text as comment lines."""
    paragraphs = _clean(text).split("\n") if text else []
    return [
        f"# {line}".rstrip()
        for paragraph in paragraphs
        for line in textwrap.wrap(paragraph, _WIDTH) or [""]
    ]


def _marked(text: str, quotes: Iterable[Quote]) -> str:
    """A passage with its quotes between « and »; quotes that overlap share a pair."""
    joined: list[tuple[int, int]] = []
    for quote in sorted(quotes, key=lambda quote: quote.start):
        if joined and quote.start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], quote.end))
        else:
            joined.append((quote.start, quote.end))
    for start, end in reversed(joined):
        text = f"{text[:start]}«{text[start:end]}»{text[end:]}"
    return text


def _unusable(fault: str, remedy: str) -> BadInput:
    return BadInput(
        f"{fault}.",
        safe="What you typed is kept, and the sample is as it was.",
        next_step=f"{remedy}, or leave without a change.",
    )
