"""Completion of a path while it is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from textual.suggester import Suggester

from tui.disk import Listing, completion, list_folder
from tui.off_loop import off_loop


class PathSuggester(Suggester):
    """Suggests folders, and files of some endings; each folder is listed once, off the loop."""

    def __init__(self, suffixes: Sequence[str] = ()) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._suffixes = suffixes
        self._listings: dict[Path, asyncio.Task[Listing]] = {}

    async def get_suggestion(self, value: str) -> str | None:
        """The typed path with the first name that completes it; None where nothing does."""
        if not value.strip():
            return None
        if value == "~":
            return "~/"
        try:
            folder = Path(value.rpartition("/")[0] + "/" if "/" in value else ".").expanduser()
            listing = await self._listing(folder)
        except (OSError, RuntimeError, ValueError):
            # No such folder or user: nothing to suggest.
            return None
        return completion(value, listing, self._suffixes)

    async def _listing(self, folder: Path) -> Listing:
        if folder not in self._listings:
            looking = off_loop(lambda _stopped: list_folder(folder, hidden=True))
            self._listings[folder] = asyncio.ensure_future(looking)
        # Typing on gives up waiting, and leaves the listing to the next letter.
        return await asyncio.shield(self._listings[folder])
