"""The lists behind keys, over runs that real stages made: losses, findings, and asking for more."""

import json
from pathlib import Path

import pytest
from endpoint import MODEL, Answer, ScriptedEndpoint
from piloted import drive, screen_text, settled, until
from runs import carry_out

from pipeline.corpus.records import read_documents
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.review.decisions import Action
from pipeline.review.log import append_decision
from pipeline.run import create_run, home
from pipeline.sdg.consent import leaving, record_consent
from pipeline.sdg.records import read_samples
from tui.widgets.pane import ListPane, Pane

LOOKS = [
    pytest.param((80, 24), False, id="80x24-unicode"),
    pytest.param((80, 24), True, id="80x24-ascii"),
    pytest.param((120, 40), False, id="120x40-unicode"),
    pytest.param((120, 40), True, id="120x40-ascii"),
]
HOSTILE = "[bold red]x[-bold] \x1b[31m\u202ered.md"
"""A name that would style a screen, were it markup or sent as it is."""

INVENTED = json.dumps(
    {
        "pairs": [
            {
                "slot": 0,
                "question": "What is invented?",
                "answer": "All.",
                "evidence": [{"chunk": "c1", "quote": "words that stand nowhere at all"}],
            }
        ]
    }
)


@pytest.fixture
def endpoint():
    with ScriptedEndpoint() as server:
        yield server


@pytest.fixture
def make_written(tmp_path, endpoint):
    """A run whose corpus and questions were made by their stages, from the scripted endpoint."""

    def make(texts, *, asked=True, **settings):
        folder = tmp_path / "documents"
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text)
        overrides = {
            "corpus.source": str(folder),
            "sdg.writer": "endpoint",
            "sdg.base_url": endpoint.base_url,
            "sdg.model": MODEL,
            "sdg.rank_with": "bm25",
            "sdg.concurrency": 4,
            "sdg.attempts": 1,
            "sdg.threshold": 0,
            **settings,
        }
        profile = find_profile(REHEARSAL_PROFILE)
        run = create_run(home() / "pilot", profile, overrides, "a test")
        assert carry_out(run, "corpus", None, {}) == 0
        if asked:
            corpus = run.current("corpus").folder
            record_consent(run, leaving(corpus, run.recipe().sdg), lambda: 0.0)
            assert carry_out(run, "sdg", None, {}) == 0
        return run

    return make


@pytest.fixture
def at_step(make_wizard):
    """Runs a script on a step of the home's only run."""

    def go(step, script, size=(80, 24), ascii_only=False):
        wizard = make_wizard(size=size, ascii_only=ascii_only)

        async def ready(pilot):
            await until(pilot, lambda: getattr(wizard.screen, "STEP", ""))
            wizard.open_step(step)
            await until(pilot, lambda: getattr(wizard.screen, "STEP", "") == step)
            await script(pilot, wizard)

        drive(wizard, ready, size)

    return go


def documents(count, hostile=True):
    texts = {
        f"{number:02d}.md": f"# Part {number}\n\nAbout part {number}: "
        + " ".join(f"word{number}x{n}" for n in range(60))
        for number in range(count)
    }
    if hostile:
        texts[HOSTILE] = texts.pop("00.md")
    return texts


def body(wizard):
    return wizard.screen.query_one("#box-body", Pane)


async def open_list(pilot, wizard, key, action, title):
    """Press a key once it works, and wait for its list."""
    await until(pilot, lambda: wizard.screen.stands)
    await until(pilot, lambda: wizard.screen.check_action(action, ()))
    await pilot.press(key)
    await until(pilot, lambda: wizard.screen.is_modal and title in screen_text(wizard))
    await until(pilot, lambda: body(wizard).rows)


async def looks_safe(pilot, wizard):
    """Nothing of a document or a model reached the terminal as more than words."""
    shown = await settled(pilot)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    rows = ["".join(span.text for span in cells) for cells in body(wizard).rows]
    # A long path loses its beginning.
    assert any("x[-bold] " in line for line in rows), "markup stays words"
    assert all(line.isprintable() for line in rows)
    if wizard.opening.ascii:
        assert shown.isascii()
    return rows


async def scrolls_and_closes(pilot, wizard, last):
    """A list longer than its box is read to its end, and escape closes it."""
    step, pane = wizard.screen_stack[-2], body(wizard)
    assert pane.virtual_size.height > pane.size.height
    assert last not in screen_text(wizard)
    for _ in range(60):
        await pilot.press("pagedown")
        if last in screen_text(wizard):
            break
    assert last in screen_text(wizard)
    await pilot.press("escape")
    await until(pilot, lambda: wizard.screen is step)


@pytest.mark.parametrize(("size", "ascii_only"), LOOKS)
def test_the_losses_are_words_scroll_and_close(make_written, at_step, endpoint, size, ascii_only):
    # Were every reply of no use, the stage would stop early.
    useless = Answer(content="no JSON \x1b[31m[red]at all")
    endpoint.script(*[Answer(content=INVENTED), useless] * 20)
    run = make_written(documents(30), **{"sdg.concurrency": 1})
    (last,) = [each.path for each in list(read_documents(run.current("corpus").folder))[-1:]]

    async def script(pilot, wizard):
        await until(pilot, lambda: wizard.screen._setup and wizard.screen._setup.summary)
        await open_list(pilot, wizard, "l", "losses", "What came to nothing")
        rows = await looks_safe(pilot, wizard)
        assert "30 documents of which no question is kept" in rows[0]
        assert any(last[:9] in line for line in rows), (last, rows)
        await scrolls_and_closes(pilot, wizard, rows[-1].split()[-1])

    at_step("generate", script, size, ascii_only)


@pytest.mark.parametrize(("size", "ascii_only"), LOOKS)
def test_the_findings_are_words_scroll_and_close(make_written, at_step, size, ascii_only):
    texts = {
        name: f"{text}\n\nMail {name[:2].strip('[')}someone@example-{number}.org or "
        f"+49 30 9018{number:04d}; key AKIA{'ABCDEFGH'[number % 8]}OSFODNN7EXAMPL{number % 10}."
        for number, (name, text) in enumerate(documents(40).items())
    }
    make_written(texts, asked=False)

    async def script(pilot, wizard):
        await until(pilot, lambda: wizard.screen._table is not None)
        await open_list(pilot, wizard, "f", "findings", "Suspected, not certain")
        rows = await looks_safe(pilot, wizard)
        assert any("Personal data" in line for line in rows)
        await scrolls_and_closes(pilot, wizard, rows[-1].split()[-1][-12:])

    at_step("corpus", script, size, ascii_only)


def test_parked_questions_are_asked_for_again_after_a_yes_alone(make_written, at_step, endpoint):
    endpoint.script(Answer(content="no JSON"))
    run = make_written(documents(4, hostile=False))
    before = len(endpoint.chats())

    async def script(pilot, wizard):
        await until(pilot, lambda: wizard.screen._setup and wizard.screen._setup.summary)
        for answer in ("escape", "y"):
            await pilot.press("r")
            await until(pilot, lambda: "Ask again for" in screen_text(wizard))
            shown = await settled(pilot)
            assert "sdg.attempts becomes 2" in shown
            assert shown.isascii()
            assert len(endpoint.chats()) == before
            await pilot.press(answer)
            await until(pilot, lambda: not wizard.screen.is_modal)
        await until(pilot, lambda: len(endpoint.chats()) > before)
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done" and wizard.jobs.idle)

    at_step("generate", script, (120, 40), ascii_only=True)
    assert run.recipe().sdg.attempts == 2
    assert [each.purpose for each in endpoint.chats()[before:]] == ["generate", "judge"]


# Asking for more


@pytest.fixture
def topped(make_written, endpoint):
    """A run whose first document got an invented question."""
    endpoint.script(Answer(content=INVENTED))
    return make_written(documents(5), **{"sdg.concurrency": 1, "sdg.price_in": 10_000})


async def open_more(pilot, wizard):
    await until(pilot, lambda: wizard.screen._setup and wizard.screen._setup.summary)
    await until(pilot, lambda: wizard.screen.check_action("more", ()))
    await pilot.press("m")
    await until(pilot, lambda: "Ask for more questions" in screen_text(wizard))
    await until(pilot, lambda: isinstance(wizard.focused, ListPane))


def test_a_top_up_says_what_it_takes_and_asks_about_empty_documents_alone(
    topped, at_step, endpoint
):
    before = len(endpoint.chats())

    async def script(pilot, wizard):
        await open_more(pilot, wizard)
        shown = await settled(pilot)
        assert "1 more about 1 documents that came out empty or short" in shown
        assert "tell the writer" not in shown, "nobody rejected anything"
        await pilot.press("enter")
        await until(pilot, lambda: "Ask 1 more questions?" in screen_text(wizard))
        said = " ".join(screen_text(wizard).replace("│", " ").replace("|", " ").split())
        for part in ("Round 2 asks 1 questions", "2 calls", "tokens sent", "a cost of", "0 of 1"):
            assert part in said
        assert "sdg.rounds becomes 2" in said
        assert len(endpoint.chats()) == before
        await pilot.press("escape")
        await until(pilot, lambda: "Nothing was started" in screen_text(wizard))
        assert wizard.snapshot.recipe.sdg.rounds == 1
        await open_more(pilot, wizard)
        await pilot.press("enter")
        await until(pilot, lambda: "Ask 1 more questions?" in screen_text(wizard))
        await pilot.press("y")
        await until(pilot, lambda: len(endpoint.chats()) == before + 2)
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done" and wizard.jobs.idle)

    at_step("generate", script)
    assert topped.recipe().sdg.rounds == 2


def test_rejected_reasons_go_along_where_that_was_chosen(topped, at_step, endpoint):
    samples = [s for s in read_samples(topped.current("sdg").folder) if s.role != "test"]
    kept = next(s for s in samples if not any(flag.blocking for flag in s.flags))
    topped.decisions_path.parent.mkdir(parents=True, exist_ok=True)
    append_decision(topped.decisions_path, Action("reject", (kept.id,), reason="generic"))
    before = len(endpoint.chats())

    async def script(pilot, wizard):
        await open_more(pilot, wizard)
        assert "tell the writer 1 rejected" in screen_text(wizard)
        await pilot.press("j", "enter")
        await until(pilot, lambda: "not to write the like of" in screen_text(wizard))
        await pilot.press("y")
        await until(pilot, lambda: len(endpoint.chats()) == before + 2)
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done" and wizard.jobs.idle)

    at_step("generate", script, (120, 40))
    told = endpoint.chats()[before].body["messages"][1]["content"]
    assert f"{kept.question} (too generic)" in told
    assert topped.recipe().sdg.avoid == (f"2: {kept.question} (too generic)",)


def test_a_target_is_a_number_above_what_passes_and_ends_what_a_top_up_offers(
    topped, at_step, endpoint
):
    before = len(endpoint.chats())

    async def script(pilot, wizard):
        await open_more(pilot, wizard)
        await pilot.press("j", "enter")
        await until(pilot, lambda: wizard.screen.query_one("#prompt").display)
        await pilot.press("4", "enter")
        await until(pilot, lambda: "more than the 4 that pass now" in screen_text(wizard))
        await pilot.press("backspace", "6", "enter")
        await until(pilot, lambda: "Ask until 6 pass?" in screen_text(wizard))
        said = " ".join(screen_text(wizard).split())
        assert "4 of 5 pass now" in said
        assert "a cost of" in said
        assert len(endpoint.chats()) == before
        await pilot.press("y")
        await until(pilot, lambda: len(endpoint.chats()) > before)
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done" and wizard.jobs.idle)
        await open_more(pilot, wizard)
        assert "empty or short" not in screen_text(wizard)

    at_step("generate", script, (120, 40))
    assert topped.recipe().sdg.target == 6
    assert sum(not any(f.blocking for f in s.flags) for s in _samples(topped)) >= 6


def _samples(run):
    return list(read_samples(Path(run.current("sdg").folder)))
