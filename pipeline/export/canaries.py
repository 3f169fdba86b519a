"""Fixed texts whose vectors say which model an endpoint serves.

They reach from one word to a paragraph, with numbers, code and other scripts, so that a wrong
prefix, pooling, tokenizer or a causal mask moves some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.encoder import Encoder
from pipeline.export.records import CANARY_KINDS, canaries_path, canary_texts_path
from pipeline.files import replacing, write_json

TEXTS = (
    "report",
    "How do I reset a password?",
    "What is the difference between a list and a tuple?",
    "Which port does the service listen on by default?",
    "maximum operating temperature of the pump",
    "Who approved the budget for the second quarter?",
    "Why does the parser skip the last line of a file?",
    "When must a safety valve be inspected?",
    "The valve opens at 4.5 bar and closes again at 3.9 bar.",
    "Return the number of items in a container.",
    "Error 0x80070005: access is denied.",
    "for name, value in settings.items(): print(name, value)",
    "SELECT id, title FROM documents WHERE year >= 2019 ORDER BY title;",
    '{"name": "pump", "limits": {"pressure": 4.5, "unit": "bar"}}',
    "Der Ablauf wird nach dem dritten Versuch gesperrt.",
    "La réunion aura lieu le 14 juillet à 9 h 30.",
    "El contrato vence a los treinta días de la firma.",
    "データベースへの接続が失敗しました。",
    "Температура не должна превышать 80 °C.",
    "α + β ≤ γ for all n ≥ 1",
    "A bridge made of steel expands by about one millimetre for ten metres and eight degrees.",
    "The committee met on Tuesday and postponed the vote until the auditors had finished.",
    "Glaciers store most of the fresh water on land; when they melt, rivers first swell, then dry.",
    "Mix the flour with the salt, add warm water slowly, and let the dough rest for an hour.",
    "The licence permits use, copying and change, provided that this notice is kept.",
    "An index speeds up reading and slows down writing, because every change has to be made twice.",
    "Patients with a known allergy to penicillin must be given another antibiotic.",
    "The train to the coast leaves at ten past six from platform four and takes two hours.",
    "Sound travels faster in water than in air, and faster still in steel; its speed depends on "
    "how stiff and how dense the material is, and hardly on how loud the sound is.",
    "To install the update, stop the service, make a copy of the database, run the installer as "
    "an administrator, and start the service again. If the installer reports an error, restore "
    "the copy before anything else is changed, and keep the log file for the support team.",
    "The first edition of the dictionary appeared in ten parts over more than forty years. "
    "Thousands of readers sent in quotations on slips of paper, and each slip was sorted by "
    "hand. Words that nobody had met in print were left out, however common they were in "
    "speech, and later editions had to add them one by one.",
    "A cache holds the results of earlier work in the hope that they will be asked for again. "
    "When it is full, something has to leave: the entry that was used least recently, the one "
    "that is cheapest to compute again, or simply the oldest. Each rule suits some patterns of "
    "use and fails for others. Measuring is better than guessing, since a cache that is never "
    "hit costs memory and time and gives nothing back; and a cache that returns stale results "
    "gives back something worse than nothing.",
)
"""In order; a stored vector belongs to its text by position."""


def write_canaries(
    folder: Path, encoder: Encoder, model: str, on_batch: Callable[[int, int], None]
) -> None:
    """Write the texts, and their vectors by one model (`finetuned` or `base`)."""
    write_json(canary_texts_path(folder), list(TEXTS))
    for kind in CANARY_KINDS:
        vectors = encoder.encode(TEXTS, kind, on_batch)
        with (
            replacing(canaries_path(folder, model, kind)) as temporary,
            temporary.open("wb") as stream,
        ):
            np.save(stream, vectors, allow_pickle=False)
