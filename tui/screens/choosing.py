"""Which documents a run is made over: a path, a folder looked for, a name, and the run itself."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pipeline.corpus.records import PYDOC
from pipeline.corpus.tables import TABLE_SUFFIXES
from pipeline.errors import Failure, as_failure
from pipeline.profiles import Profile, find_profile
from pipeline.recipe import Recipe
from pipeline.run import Run, check_name, home
from pipeline.settings import CorpusSettings
from tui.corpus_rows import slice_words
from tui.off_loop import Stopped, off_loop
from tui.rows import Tone, row
from tui.screens.step import StepScreen
from tui.sources import (
    Place,
    default_name,
    free_path,
    glance_at,
    is_named,
    look_at,
    make_run,
)
from tui.steps import StepName
from tui.watch import Snapshot, read_snapshot
from tui.widgets.pane import Pane
from tui.widgets.paths import PathSuggester


class ChoosingScreen(StepScreen):
    """The second step, as far as it chooses documents."""

    STEP: ClassVar[StepName] = "corpus"

    def __init__(self) -> None:
        super().__init__()
        # What the next run will be made of; the run folder has it from then on.
        self._forget_choice()
        self._busy = ""
        self._held = False

    def _forget_choice(self) -> None:
        self._place: Place | None = None
        self._called = ""
        self._documents = 0

    async def _scan_with(self, settings: Mapping[str, Any]) -> None:
        """Change settings of the run and scan."""
        raise NotImplementedError

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(work, group="corpus-ask", exclusive=True, exit_on_error=False)

    def _scanning(self) -> bool:
        if self.wizard.running("corpus") or self.wizard.starting("corpus"):
            return True
        # Its worker is leaving, and the run is being read once more.
        return bool(self.snapshot and self.snapshot.state("corpus") == "running")

    def _profile(self) -> Profile:
        return find_profile(self.wizard.profile_id or Recipe().profile)

    def _source(self) -> str:
        if self.snapshot:
            return self.snapshot.recipe.corpus.source
        return self._place.source if self._place else ""

    def _reading(self) -> CorpusSettings | None:
        """How the run reads documents; None before there is one."""
        return self.snapshot.recipe.corpus if self.snapshot else None

    # Choosing documents

    def action_path(self) -> None:
        """Type a path."""
        self._begin(self._ask_path())

    async def _ask_path(self) -> None:
        found: list[Place] = []

        async def look(text: str) -> str:
            settings = self._reading()
            place = await off_loop(lambda stopped: glance_at(text.strip(), stopped, settings))
            return place.words

        async def check(text: str) -> None:
            if not text.strip():
                raise ValueError(
                    "the path of a folder, of a table or of SDG output, or hf://owner/name"
                )
            settings = self._reading()
            found.append(
                await off_loop(lambda _stopped: look_at(text.strip(), self._means, settings))
            )

        value = "" if self._source() == PYDOC else self._source()
        suggester = PathSuggester(TABLE_SUFFIXES)
        asked = await self.ask("documents", value, suggester=suggester, look=look, check=check)
        if asked is not None:
            await self._take(found[-1])

    def action_browse(self) -> None:
        """Look around for a folder."""
        self._begin(self._browse())

    async def _browse(self) -> None:
        from tui.screens.browser import Browser

        source = self._source()
        start = Path(source).parent if source and not is_named(source) else Path.cwd()
        path = await self.wizard.push_screen_wait(Browser(start, TABLE_SUFFIXES))
        if path is not None:
            await self._accept(str(path))

    async def _accept(self, source: str) -> None:
        """Look at documents that were chosen, and take them."""
        self._say_busy("looking at the documents ...")
        try:
            settings = self._reading()
            place = await off_loop(lambda _stopped: look_at(source, self._means, settings))
        except (Failure, OSError) as error:
            self.wizard.fail(as_failure(error))
            return
        finally:
            self._say_busy("")
        await self._take(place)

    async def _take_default(self) -> None:
        """A rehearsal needs no documents of one's own."""
        place = await off_loop(lambda _stopped: look_at(PYDOC, self._means))
        if self.snapshot is None and self._place is None:
            await self._take(place)

    async def _take(self, place: Place) -> None:
        """Other documents for the next run, or for this one."""
        if self.snapshot is None:
            self._place, self._called = place, ""
            self.refresh_all()
        else:
            await self._scan_with({"corpus.source": place.source})

    def _means(self, run: Run, recipe: Recipe) -> bool:
        return recipe.profile == self._profile().id

    def _say_busy(self, text: str, *, held: bool = False) -> None:
        """Say what is being done with the documents; `held` lets nothing else begin."""
        self._busy, self._held = text, held
        self.query_one("#corpus-state", Pane).update()
        self.refresh_frame()

    def action_name(self) -> None:
        """Call the new run otherwise."""
        self._begin(self._ask_name())

    async def _ask_name(self) -> None:
        def check(text: str) -> None:
            check_name(text.strip(), "run")
            free_path(text.strip(), True)

        name = await self.ask("name of the run", self._run_name(), check=check)
        if name is not None:
            self._called = name.strip()
            self.refresh_all()

    def _run_name(self) -> str:
        if self._called or self._place is None:
            return self._called
        name = default_name(self._place.source, self._profile(), self._documents)
        return free_path(name, False).name

    # The run

    async def _make(self, place: Place) -> None:
        """Make the run and scan; a run over the same documents is offered first."""
        from tui.screens.dialogs import Choice

        if place.runs:
            rows = [row("Open ", (run.name, "strong")) for run in place.runs]
            rows.append(row("Make another run, ", (self._run_name(), "strong")))
            title = "There are runs over these documents already"
            index = await self.wizard.push_screen_wait(Choice(title, rows))
            if index is not None and index < len(place.runs):
                self.wizard.open_run(place.runs[index])
            if index is None or index < len(place.runs):
                return
        name, profile, documents = self._called, self._profile(), self._documents

        def make(_stopped: Stopped) -> Snapshot:
            called = name or default_name(place.source, profile, documents)
            settings = {"corpus.documents": documents} if documents else {}
            run = make_run(called, bool(name), profile, place.source, settings, "the wizard")
            return read_snapshot(run)

        self._say_busy("making the run ...", held=True)
        try:
            snapshot = await off_loop(make)
        except (Failure, OSError) as error:
            self.wizard.fail(as_failure(error))
            return
        finally:
            self._say_busy("")
        self.wizard.take_run(snapshot)
        self.wizard.start(["corpus"])

    def _choice(self) -> list[tuple[str, str, Tone]]:
        """What the next run would be made of."""
        place, profile = self._place, self._profile()
        none = "none yet: p types a path, b looks around"
        lines: list[tuple[str, str, Tone]] = [
            ("Documents", place.source if place else none, "strong" if place else "warn"),
        ]
        if place:
            lines.append(("", place.words, "text"))
        lines.append(("Base model", profile.title, "text"))
        lines.append(("Slice", slice_words(self._documents, Recipe().seed, False), "text"))
        if place:
            lines.append(("Run", str(home() / self._run_name()), "text"))
            if place.runs:
                names = ", ".join(run.name for run in place.runs)
                lines.append(("There", f"{names}; enter offers to open one", "accent"))
        return lines
