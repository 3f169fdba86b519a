"""The user's own queries: a BEIR folder is asked for and taken into the run as an eval set."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import Failure, as_failure
from pipeline.run import Run, slug
from tui.off_loop import off_loop
from tui.screens.step import StepScreen
from tui.widgets.paths import PathSuggester


async def take_eval_set(screen: StepScreen, run: Run) -> None:
    """Ask for a BEIR folder at the foot of a screen, and copy it into the run."""
    from pipeline.eval.sets import copy_eval_set
    from tui.screens.dialogs import Question

    text = await screen.ask(
        "BEIR folder of your queries", suggester=PathSuggester(), look=_beir, check=_check_beir
    )
    if text is None:
        return
    path = Path(text.strip()).expanduser().resolve()
    name = slug(path.name)
    lines = ("Results keep the queries that they were measured with.",)
    if (run.eval_sets_path / name).exists() and not await screen.wizard.push_screen_wait(
        Question(f"Replace the queries {name}?", lines)
    ):
        return
    screen.wizard.say(f"reading {name} ...")
    try:
        await off_loop(lambda _stopped: copy_eval_set(run, path, name))
    except (Failure, OSError) as error:
        screen.wizard.fail(as_failure(error))
        return
    screen.wizard.say(f"Your queries {name} will be measured, too.", "good")
    screen.wizard.read_run()


async def _beir(text: str) -> str:
    """Says whether a path that is being typed is a BEIR folder."""
    await _check_beir(text)
    return "BEIR folder"


async def _check_beir(text: str) -> None:
    from pipeline.beir import is_beir_folder
    from tui.sources import existing

    if not text.strip():
        raise ValueError("the path of a BEIR folder")
    if not await off_loop(lambda _stopped: is_beir_folder(existing(text.strip()))):
        raise ValueError("no BEIR folder: it has corpus.jsonl, queries.jsonl and qrels/")
