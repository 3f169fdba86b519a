"""The Generate step: consent, key, tries, the writing, and what is left where nothing leaves."""

import asyncio
import dataclasses
import json
import os
from pathlib import Path

import pytest
from endpoint import MODEL, MODELS, Answer, ScriptedEndpoint
from piloted import drive, screen_text, until
from runs import make_run
from text_snapshot import assert_snapshot
from textual.events import Paste
from textual.widgets import Input

from pipeline.corpus.records import FindingsCounts
from pipeline.run import home
from pipeline.sdg.consent import Leaving
from pipeline.sdg.estimate import Estimate
from pipeline.sdg.records import Flag, Quote, Sample
from pipeline.sdg.trial import TrialDocument, list_trials
from pipeline.settings import SdgSettings
from tui.generate_rows import (
    estimate_rows,
    leaving_rows,
    question_lines,
    setting_row,
    shown_settings,
)
from tui.generating import Loss, Setup, Summary, Try, parse_examples, read_presets
from tui.glyphs import ASCII, UNICODE
from tui.progress import View
from tui.rows import plain, width_of
from tui.trial_rows import try_rows
from tui.widgets.pane import ListPane
from tui.writing_rows import found_rows, funnel_rows, loss_rows, pace_rows, summary_rows

KEY = "nvapi-typed-0123456789"
OUTSIDE = Leaving(
    "api.example.com", "https://api.example.com/v1", frozenset(("d1", "d2", "d3")), 40, 12345, False
)


@pytest.fixture
def endpoint():
    with ScriptedEndpoint() as server:
        yield server


@pytest.fixture
def make_corpus():
    """A run whose documents are there, and that asks an endpoint."""

    def make(base_url="http://127.0.0.1:8000/v1", **settings):
        asking = {
            "sdg.writer": "endpoint",
            "sdg.base_url": base_url,
            "sdg.model": MODEL,
            "corpus.documents": 5,
            "sdg.document_passages": 1000,
        }
        return make_run(home(), 100, through="corpus", settings={**asking, **settings})

    return make


@pytest.fixture
def at_generate(make_wizard):
    """Runs a script on the Generate step of the home's only run."""

    def go(script, size=(80, 24), ascii_only=False):
        wizard = make_wizard(size=size, ascii_only=ascii_only)

        async def ready(pilot):
            await until(pilot, lambda: getattr(wizard.screen, "STEP", "") == "generate")
            await until(pilot, lambda: wizard.screen._setup)
            await pilot.pause()
            await script(pilot, wizard)

        drive(wizard, ready, size)

    return go


def words(rows):
    """What rows say, however they are broken."""
    return " ".join(word for cells in rows for word in plain(cells).split())


def consents(run):
    return run.consents_path.read_text().splitlines() if run.consents_path.is_file() else []


def shows(wizard, text):
    return lambda: text in screen_text(wizard)


def trial_ready(wizard, count):
    setup = wizard.screen._setup
    return (
        setup.current and not wizard.running("trial") and len(list_trials(wizard.current)) == count
    )


async def write_setting(pilot, wizard, name, text):
    """What `e` and typing do, for any setting."""
    screen = wizard.screen
    screen._look("settings")
    names = [setting.name for setting in screen._settings()]
    screen.query_one("#generate-settings", ListPane).move_to(names.index(name))
    screen.action_edit()
    await until(pilot, lambda: screen.query_one("#prompt").display)
    field = screen.query_one("#prompt-field", Input)
    field.value = text
    await field.action_submit()


# Rows


def test_what_leaves_names_host_amounts_models_and_the_missing_yes():
    setup = Setup(corpus=True, leaving=OUTSIDE)
    settings = SdgSettings(judge_model="judge/x")
    said = words(leaving_rows(setup, settings, "not set", False, UNICODE, 80))
    for part in ("12,345 characters of 3 documents", "40 passages", "api.example.com (outside)"):
        assert part in said
    assert f"writer {settings.model}, judge judge/x" in said
    assert "not agreed: y agrees; nothing starts without it" in said
    assert "NVIDIA_API_KEY: not set" in said


def test_the_question_before_the_first_call_names_documents_and_guidance():
    guided = dataclasses.replace(OUTSIDE, along=("the audience", "2 example queries"))
    said = "\n".join(question_lines(Setup(corpus=True, leaving=guided), SdgSettings()))
    assert "Along: the audience, 2 example queries." in said
    assert guided.digest in said
    assert "Along" not in "\n".join(question_lines(Setup(leaving=OUTSIDE), SdgSettings()))


@pytest.mark.parametrize(
    ("setup", "settings"),
    [
        (Setup(corpus=True), SdgSettings(writer="offline")),
        (Setup(corpus=True, imported=True), SdgSettings()),
    ],
)
def test_where_nothing_leaves_it_is_said_and_only_what_applies_is_shown(setup, settings):
    assert "Nothing leaves this machine" in words(
        leaving_rows(setup, settings, "not set", True, ASCII, 80)
    )
    names = {each.name for each in shown_settings(settings, setup.imported)}
    assert "sdg.threshold" in names
    assert not names & {"sdg.base_url", "sdg.model", "sdg.temperature", "sdg.examples"}


def test_example_queries_are_split_at_lines_and_semicolons():
    assert parse_examples("disk full, again?; how to reset\n\n ; x") == (
        "disk full, again?",
        "how to reset",
        "x",
    )


def test_a_changed_setting_says_so_and_fits():
    setting = shown_settings(SdgSettings(), False)[0]
    cells = setting_row(setting, "http://127.0.0.1:8000/" + "v" * 90, "other", 60)
    assert plain(cells).endswith("changed")
    assert width_of(cells) <= 60


def a_sample(question, passage, score=8.0, flags=()):
    quote = Quote(passage, 0, 5, "words")
    return Sample(
        "q-" + question, question, "An answer.", (passage,), (quote,), "train", score, {}, flags
    )


def two_tries():
    documents = (
        TrialDocument("d1", "one.md", "One", ("p1",)),
        TrialDocument("d2", "two.md", "", ()),
    )
    flag = Flag("pointing", "says above", True)
    old = Try("f0", "", "m", documents, {"d1": [a_sample("Old?", "p1", None, (flag,))], "d2": []})
    new = Try("f1", "language: German", "m", documents, {"d1": [a_sample("Neu?", "p1", 5.0)]})
    return new, old


def test_a_try_shows_question_answer_quote_score_and_flags_by_document():
    new, old = two_tries()
    said = words(try_rows(old, None, 7.0, True, UNICODE, 80))
    for part in ("one.md", "Old?", "An answer.", "«words»", "pointing: says above (blocks it)"):
        assert part in said
    assert "no question came of this document" in said
    assert "aren't paid again" in said
    assert "other settings" in words(try_rows(new, None, 7.0, False, UNICODE, 80))


def test_two_tries_stand_side_by_side_where_there_is_room_and_alternate_below():
    new, old = two_tries()
    wide = try_rows(new, old, 7.0, True, ASCII, 96)
    assert any("Neu?" in plain(cells) and "Old?" in plain(cells) for cells in wide)
    assert any("German" in plain(cells) and "no guidance" in plain(cells) for cells in wide)
    narrow = [plain(cells) for cells in try_rows(new, old, 7.0, True, ASCII, 80)]
    assert not any("Neu?" in line and "Old?" in line for line in narrow)
    assert [line.strip() for line in narrow if line.strip() in ("now", "before")][:2] == [
        "now",
        "before",
    ]
    assert all(width_of(cells) <= 96 for cells in wide)


def test_the_funnel_has_a_bar_a_step_and_counts_at_the_right():
    counts = {"asked": 100, "written": 50, "checked": 40, "judged": 30, "kept": 20, "calls": 7}
    view = View("calls answered", 7, 14, 0.0, 0, 60.0, {**counts, "tokens_in": 1234})
    said = [plain(cells) for cells in funnel_rows(view, False, 7.0, False, ASCII, 80)]
    assert [line.split()[0] for line in said[:5]] == list(counts)[:5]
    assert len({line.index("%") for line in said[:5]}) == 1
    assert "50  50%" in said[1]
    assert "7 calls   7 calls a minute   1,234 tokens sent" in "\n".join(said)


def test_the_summary_names_what_was_lost_and_why():
    summary = Summary(
        {"asked": 10, "written": 8, "scored": 7, "unblocked": 6},
        5,
        {"train": 6, "test": 2},
        {"pointing": 2},
        {"the reply was cut off": 2},
        {"writer": "offline", "warnings": ["a warning"]},
    )
    said = words(summary_rows(summary, 7.0, True, UNICODE, 80))
    for part in ("train 6, test 2", "pointing 2", "lost 2 the reply was cut off", "a warning"):
        assert part in said
    assert "no LLM wrote these" in said


def test_pace_hold_and_cost_are_said_while_calls_are_out():
    now = {
        "calls_a_minute": 27.6,
        "calls_a_minute_most": 40.0,
        "in_flight": 7,
        "in_flight_most": 9,
        "hold_seconds": 12.4,
        "calls_refused": 3,
        "tokens_in": 2_000_000,
        "tokens_out": 500_000,
    }
    view = View("calls answered", 7, 14, 0.0, 0, 60.0, now)
    priced = SdgSettings(price_in=0.5, price_out=2.0)
    said = words(pace_rows(view, False, priced, 80))
    for part in ("28 of 40 calls a minute", "7 of 9 in flight", "3 refused", "cost 2.00"):
        assert part in said
    assert "the next call goes out in 12 s" in said
    paused = words(pace_rows(view, True, SdgSettings(), 80))
    assert paused == "", "nothing is asked now, and no price is set"


@pytest.mark.parametrize(
    ("found", "much"), [(0.93, "93 % of the evidence in its top 5: little"), (0.4, "40 %")]
)
def test_what_the_base_finds_already_says_whether_there_is_much_to_win(found, much):
    said = words(found_rows(found, 80))
    assert much in said
    assert ("much to win" in said) is (found < 0.7)
    assert found_rows(None, 80) == []


def test_the_summary_names_losses_at_each_step_and_what_came_out_empty():
    summary = Summary(
        {"asked": 10, "written": 7, "scored": 6, "unblocked": 5},
        4,
        {"train": 7},
        {},
        {"cut off": 2},
        {"writer": "m", "warnings": []},
        repeated=1,
        empty=("a/one.md", "b/\x1b[2Jtwo.md"),
        losses=(Loss("d:003", "cut off", "abc", parked=True), Loss("d:004", "no answer", "")),
    )
    said = words(summary_rows(summary, 7.0, False, ASCII, 80))
    for part in ("2 lost, 1 repeated", "1 without a score", "2 blocked by a check", "1 below 7"):
        assert part in said
    assert "2 documents came out empty; l lists them" in said
    assert "1 question parked after damaged replies; r asks again" in said
    listed = loss_rows(summary, 40)
    assert all(plain(cells).isprintable() for cells in listed)
    for part in ("a/one.md", "d:003: cut off", "raw reply abc"):
        assert part in words(listed)


def test_findings_and_cost_stand_beside_what_would_leave():
    found = FindingsCounts(secrets=1, personal=4, documents=2)
    setup = Setup(
        corpus=True, leaving=OUTSIDE, findings=found, estimate=Estimate(9, 6, 1_000_000, 0, 1.0)
    )
    settings = SdgSettings(price_in=0.25)
    shown = words(leaving_rows(setup, settings, "not set", False, ASCII, 80))
    asked = "\n".join(question_lines(setup, settings))
    for text in (shown, asked):
        assert "Suspected in 2 documents: 1 secret, 4 personal." in text
    assert "Estimated cost: 0.25" in asked
    assert "cost about 0.25" in words(estimate_rows(setup.estimate, settings, 80))
    assert "cost" not in words(estimate_rows(setup.estimate, SdgSettings(), 80))


# The screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_before_anything_is_sent_the_screen_says_what_would_leave(
    make_corpus, at_generate, size, ascii_only
):
    make_corpus()

    async def script(pilot, wizard):
        await until(pilot, shows(wizard, "not agreed"))
        kind = "ascii" if ascii_only else "unicode"
        assert_snapshot(f"generate-{size[0]}x{size[1]}-{kind}", screen_text(wizard))

    at_generate(script, size, ascii_only)


def test_without_a_yes_nothing_starts(make_corpus, at_generate, endpoint):
    run = make_corpus(endpoint.base_url)

    async def script(pilot, wizard):
        for key in ("t", "enter", "y"):
            await pilot.press(key)
            await until(pilot, shows(wizard, "May these documents go there?"))
            assert endpoint.base_url in screen_text(wizard)
            await pilot.press("n")
            await until(pilot, lambda: not wizard.screen.is_modal)
        assert not wizard.starting("sdg", "trial")

    at_generate(script)
    assert consents(run) == []
    assert endpoint.requests == []
    assert not list(run.path.glob("*/worker.log"))


def test_a_try_then_guidance_then_another_beside_it_then_the_writing(
    make_corpus, at_generate, endpoint
):
    run = make_corpus(endpoint.base_url)

    async def script(pilot, wizard):
        await pilot.press("t")
        await until(pilot, shows(wizard, "May these documents go there?"))
        await pilot.press("y")
        await until(pilot, lambda: trial_ready(wizard, 1))
        assert len(consents(run)) == 1
        await until(pilot, shows(wizard, "no guidance"))
        assert wizard.screen.check_action("compare", ()) is False
        await write_setting(pilot, wizard, "sdg.audience", "night operators")
        await until(pilot, lambda: wizard.snapshot.recipe.sdg.audience == "night operators")
        await until(pilot, lambda: not wizard.screen._setup.current)
        await pilot.press("t")
        await until(pilot, lambda: trial_ready(wizard, 2))
        await pilot.press("c")
        await until(pilot, shows(wizard, "before no guidance"))
        assert "now    audience: night operators" in screen_text(wizard)
        paid = len(endpoint.chats())
        await pilot.press("enter")
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done")
        await until(pilot, shows(wizard, "by role"))
        assert len(consents(run)) == 1, "asked for once"
        asked = [request.identity for request in endpoint.chats()]
        assert len(asked) > paid
        assert len(set(asked)) == len(asked), "a try's calls aren't paid again"
        assert wizard.screen.primary() == "Review"

    at_generate(script, size=(120, 40))


def test_after_a_refused_key_a_typed_one_reaches_the_worker_and_nothing_else(
    make_corpus, at_generate, endpoint, own_home
):
    run = make_corpus(endpoint.base_url)
    endpoint.delay = 0.5
    seen = []

    endpoint.script(Answer(status=401), path=MODELS)
    endpoint.script(Answer(status=429, headers={"retry-after": "5"}))

    async def script(pilot, wizard):
        await pilot.press("enter", "y")
        await until(pilot, shows(wizard, "What is safe"))
        assert "answered 401" in screen_text(wizard)
        await pilot.press("escape", "a")
        await until(pilot, shows(wizard, "the environment's"))
        await pilot.press(*KEY)
        seen.append(screen_text(wizard))
        await pilot.press("enter")
        await until(pilot, shows(wizard, "set (typed)"))
        await pilot.press("enter")
        await until(pilot, shows(wizard, "Waiting 5 s before asking again: status 429"))
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(line.read_bytes().decode(errors="replace"))
            except OSError:
                continue
        seen.append(screen_text(wizard))
        wizard.request("cancel", "sdg")
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "stopped")
        await until(pilot, shows(wizard, "stopped: cancelled on request; enter goes on"))
        seen.append(screen_text(wizard))

    at_generate(script)
    assert {r.headers["authorization"] for r in endpoint.requests[1:]} == {f"Bearer {KEY}"}
    kept = [path.read_bytes() for path in own_home.rglob("*") if path.is_file()]
    kept += [path.read_bytes() for path in run.path.rglob("*") if path.is_file()]
    assert len(kept) > 10
    assert not any(KEY.encode() in content for content in kept)
    assert not any(KEY in text for text in seen)
    assert os.environ.get("NVIDIA_API_KEY") is None


def test_a_model_that_is_gone_offers_its_successor(make_corpus, at_generate, endpoint):
    successor = SdgSettings().successor
    endpoint.models = (successor,)
    endpoint.script(*[Answer(status=410)] * 4)
    run = make_corpus(endpoint.base_url, **{"sdg.concurrency": 1})

    async def script(pilot, wizard):
        await pilot.press("enter", "y")
        await until(pilot, shows(wizard, f"s sets sdg.model = {successor}"))
        endpoint.always(None)
        endpoint._scripts.clear()
        await until(pilot, shows(wizard, "s Apply"))
        await pilot.press("s")
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done")

    at_generate(script)
    assert run.recipe().sdg.model == successor


def test_pause_resume_and_finish_with_what_is_there(make_corpus, at_generate, endpoint):
    run = make_corpus(endpoint.base_url, **{"sdg.document_passages": 2, "sdg.concurrency": 1})
    endpoint.delay = 0.15

    async def script(pilot, wizard):
        await pilot.press("enter", "y")
        await until(pilot, shows(wizard, "calls answered"))
        assert wizard.screen.check_action("edit", ()) is False
        await pilot.press("p")
        await until(pilot, shows(wizard, "Paused: p goes on"))
        # From here on the worker can't be done before the keys are pressed.
        endpoint.delay = 1.0
        await pilot.press("p")
        await until(pilot, lambda: not wizard.running("sdg").paused)
        await pilot.press("x")
        await until(pilot, shows(wizard, "finish with what is there"))
        await until(pilot, lambda: isinstance(wizard.focused, ListPane))
        await pilot.press("enter")
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done")

    at_generate(script)
    done = json.loads(next(run.path.glob("sdg/*/done.json")).read_text())
    assert done["partial"]
    assert done["summary"]["written"] > 0


def test_the_offline_writer_asks_nobody_and_is_marked(at_generate):
    make_run(home(), 100, through="corpus", settings={"corpus.documents": 4})

    async def script(pilot, wizard):
        assert "no LLM writes these questions" in screen_text(wizard)
        assert wizard.screen.check_action("key", ()) is False
        assert wizard.screen.check_action("consent", ()) is False
        await pilot.press("enter")
        await until(pilot, lambda: wizard.snapshot.state("sdg") == "done")
        await until(pilot, shows(wizard, "by role"))
        await pilot.press("enter")
        await until(pilot, lambda: wizard.screen.STEP == "review")

    at_generate(script)


def test_a_bad_value_is_refused_beside_the_field_and_pasted_lines_become_queries(
    make_corpus, at_generate
):
    run = make_corpus()

    async def script(pilot, wizard):
        screen = wizard.screen
        field = screen.query_one("#prompt-field", Input)
        await write_setting(pilot, wizard, "sdg.threshold", "11")
        await until(pilot, shows(wizard, "must be at most 10"))
        await pilot.press("escape")
        await write_setting(pilot, wizard, "sdg.key_variable", "nvapi-no-name")
        await until(pilot, shows(wizard, "not the key"))
        await pilot.press("escape")
        await write_setting(pilot, wizard, "sdg.base_url", "nowhere")
        await until(pilot, shows(wizard, "an address, such as"))
        await pilot.press("escape")
        names = [setting.name for setting in screen._settings()]
        screen.query_one("#generate-settings", ListPane).move_to(names.index("sdg.examples"))
        await pilot.press("e")
        field.post_message(Paste("disk full, again?\nhow to reset"))
        await until(pilot, lambda: field.value == "disk full, again?; how to reset")
        await pilot.press("enter")
        await until(pilot, lambda: len(wizard.snapshot.recipe.sdg.examples) == 2)

    at_generate(script)
    assert run.recipe().sdg.examples == ("disk full, again?", "how to reset")
    assert "nvapi-no-name" not in run.recipe_path.read_text()


def test_presets_are_nvidias_a_local_one_and_those_of_other_runs(
    make_corpus, at_generate, make_wizard
):
    make_corpus("http://10.0.0.5:9000/v1")

    async def script(pilot, wizard):
        presets = await asyncio.to_thread(read_presets, wizard.snapshot, home())
        titles = [preset.title for preset in presets]
        assert titles == ["NVIDIA", "a local server", "as pilot", presets[-1].title]
        assert presets[0].settings["sdg.base_url"] == SdgSettings().base_url
        await pilot.press("o")
        await until(pilot, shows(wizard, "Who writes the questions?"))
        await pilot.press("j", "enter")
        await until(pilot, lambda: wizard.screen.query_one("#prompt").display)
        await pilot.press("enter")
        await until(pilot, shows(wizard, " model"))
        await pilot.press("enter")
        await until(pilot, shows(wizard, "knows its models by name"))
        await pilot.press("m", "enter")
        await until(pilot, lambda: wizard.snapshot.recipe.sdg.model == "m")
        sdg = wizard.snapshot.recipe.sdg
        assert sdg.base_url == "http://127.0.0.1:8000/v1"
        assert sdg.key_variable != SdgSettings().key_variable, "NVIDIA's key stays at home"

    at_generate(script)
