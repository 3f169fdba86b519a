"""What the user told of the people who search: for the writing prompt, and to compare trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.settings import SdgSettings


@dataclass(frozen=True)
class Guidance:
    """What guides the wording of questions; false when there is none.

    Attributes:
        audience: who asks.
        language: of questions and answers; empty for each document's own.
        examples: real queries, as examples of style.
    """

    audience: str = ""
    language: str = ""
    examples: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.audience or self.language or self.examples)

    @property
    def words(self) -> str:
        """The guidance in one line; empty without any."""
        parts = [("audience", self.audience), ("language", self.language)]
        told = [f"{name}: {text}" for name, text in parts if text]
        if self.examples:
            told.append(f"examples: {' | '.join(self.examples)}")
        return "; ".join(told)


NO_GUIDANCE = Guidance()


def guidance_of(settings: SdgSettings) -> Guidance:
    """The guidance of a recipe."""
    return Guidance(settings.audience, settings.language, settings.examples)


def guidance_in(settings: Mapping[str, Any]) -> Guidance:
    """The guidance among a result's settings by dotted name, as `done.json` holds them."""
    return Guidance(
        str(settings.get("sdg.audience", "")),
        str(settings.get("sdg.language", "")),
        tuple(map(str, settings.get("sdg.examples", ()))),
    )
