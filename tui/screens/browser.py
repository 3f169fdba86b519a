"""The directory browser: a folder, or a file of NVIDIA SDG output, chosen by looking around."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import BindingType

from tui.disk import Listing, count_files, list_folder
from tui.keys import bindings, keys_of
from tui.off_loop import off_loop
from tui.rows import Row, Span, cut_left, row
from tui.screens.dialogs import Dialog
from tui.widgets.pane import ListPane, Pane

MOST_COUNTED = 10_000
"""Files below a folder are counted so far and no further."""

_PAUSE_SECONDS = 0.2
HERE = "."


class Browser(Dialog[Path | None]):
    """Folders first; enter goes in, backspace goes up, space takes what is under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(each for each in bindings("dialog") if each.action == "dismiss"),
        *bindings("browser"),
    ]

    def __init__(self, start: Path, suffixes: Sequence[str]) -> None:
        """Begin at a folder.

        Args:
            start: the folder.
            suffixes: the endings of files that may be chosen.
        """
        super().__init__("Choose the documents", lambda _w, _h: ())
        self._listing = Listing(start, (), ())
        self._names: tuple[str, ...] = (HERE,)
        self._suffixes = tuple(suffixes)
        self._note = ""

    def compose_body(self) -> Iterable[Any]:
        """Where we are, what is there, and what is under the cursor."""
        yield Pane(self._path_rows, id="browser-path")
        yield ListPane(self._entry_at, id="browser-list")
        yield Pane(lambda _w, _h: [row((self._note, "muted"))], id="browser-note")

    def on_mount(self) -> None:
        """The list takes the keys."""
        self.query_one(ListPane).focus()
        self._go(self._listing.path)

    def _go(self, folder: Path, came_from: str = "") -> None:
        self.run_worker(
            self._enter(folder, came_from), group="browse", exclusive=True, exit_on_error=False
        )

    async def _enter(self, folder: Path, came_from: str) -> None:
        """List a folder off the loop and show it; the cursor goes where we came from."""
        self._say("reading ...")
        try:
            listing = await off_loop(lambda _stopped: list_folder(folder))
        except OSError as error:
            self._say(f"{folder.name or folder}: {error.strerror or error}")
            return
        self._listing = listing
        self._names = (HERE, *listing.folders, *listing.files)
        pane = self.query_one(ListPane)
        pane.show(len(self._names))
        pane.move_to(1 + listing.folders.index(came_from) if came_from in listing.folders else 0)
        self.query_one("#browser-path", Pane).update()
        self._look()

    def _under_cursor(self) -> tuple[Path, bool]:
        """What is under the cursor, and whether it is a folder."""
        index = max(self.query_one(ListPane).cursor, 0)
        name = self._names[index]
        return self._listing.path / name, index <= len(self._listing.folders)

    def _look(self) -> None:
        counting = self._count(*self._under_cursor())
        self.run_worker(counting, group="count", exclusive=True, exit_on_error=False)

    async def _count(self, path: Path, folder: bool) -> None:
        """Count the files below the folder under the cursor, once the cursor rests on it."""
        if not folder:
            taken = path.name.endswith(self._suffixes)
            self._say("a file; NVIDIA SDG output can be chosen" if taken else "a file")
            return
        self._say("")
        await asyncio.sleep(_PAUSE_SECONDS)
        count = await off_loop(lambda stopped: count_files(path, MOST_COUNTED + 1, stopped))
        many = f"more than {MOST_COUNTED:,}" if count > MOST_COUNTED else f"{count:,}"
        where = "in this folder" if path == self._listing.path else f"in {path.name}"
        self._say(f"{many} files {where} and below")

    def _say(self, text: str) -> None:
        self._note = text
        self.query_one("#browser-note", Pane).update()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Every key works."""
        return True

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another entry."""
        self._look()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter goes into a folder, and takes what can't be gone into."""
        path, folder = self._under_cursor()
        if folder and path != self._listing.path:
            self._go(path)
        else:
            self.action_choose()

    def action_into(self) -> None:
        """Into the folder under the cursor."""
        path, folder = self._under_cursor()
        if folder and path != self._listing.path:
            self._go(path)

    def action_up(self) -> None:
        """To the folder above."""
        here = self._listing.path
        if here.parent != here:
            self._go(here.parent, here.name)

    def action_choose(self) -> None:
        """Take what is under the cursor."""
        path, folder = self._under_cursor()
        if folder or path.name.endswith(self._suffixes):
            self.dismiss(path)
        else:
            self._say("A folder, or a file of NVIDIA SDG output: this is neither.")

    async def action_dismiss(self, result: Path | None = None) -> None:
        """Nothing is chosen."""
        self.dismiss(None)

    # Rows

    def _path_rows(self, width: int, _height: int) -> list[Row]:
        folders, files = len(self._listing.folders), len(self._listing.files)
        counts = f"  {folders:,} folders, {files:,} files"
        ellipsis = self.wizard.glyphs.ellipsis
        path = cut_left(str(self._listing.path), max(width - len(counts), 8), ellipsis)
        return [row((path, "strong"), (counts, "muted"))]

    def _entry_at(self, index: int, _width: int) -> Row:
        name = self._names[index]
        if index == 0:
            return row(" ", (". this folder", "accent"))
        if index <= len(self._listing.folders):
            return row(" ", name, "/")
        return row(" ", (name, "text" if name.endswith(self._suffixes) else "muted"))

    def _key_rows(self, _width: int, _height: int) -> list[Row]:
        entries = [("enter", "Open")]
        for key in (*keys_of("browser"), *keys_of("dialog")):
            if key.shown and (key.scope == "browser" or key.action == "dismiss"):
                entries.append((self.wizard.key_of(key.id), key.label))
        spans = [(Span(key, "key"), Span(f" {label}  ", "muted")) for key, label in entries]
        return [row(*(span for pair in spans for span in pair))]
