"""The line that asks: one question at a time, and each gets its own answer."""

import asyncio

from piloted import drive, screen_text, until

from tui.widgets.prompt import PromptLine


def test_a_late_check_answers_no_other_question(make_wizard):
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: wizard.screen.query(PromptLine))
        prompt, gate, answers = wizard.screen.query_one(PromptLine), asyncio.Event(), []

        async def slow(_text):
            await gate.wait()

        async def ask(label, check=None):
            answers.append((label, await prompt.ask(label, "typed", check=check)))

        first = asyncio.ensure_future(ask("first", slow))
        await until(pilot, lambda: "first" in screen_text(wizard))
        await pilot.press("enter", "escape")
        await until(pilot, first.done)
        second = asyncio.ensure_future(ask("second"))
        await until(pilot, lambda: "second" in screen_text(wizard))
        gate.set()
        await pilot.pause(0.1)
        assert prompt.asking
        assert answers == [("first", None)]
        await pilot.press("enter")
        await until(pilot, second.done)
        assert answers[1:] == [("second", "typed")]

    drive(wizard, script)


def test_a_question_over_another_one_takes_its_place_whole(make_wizard):
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: wizard.screen.query(PromptLine))
        prompt = wizard.screen.query_one(PromptLine)
        first = asyncio.ensure_future(prompt.ask("first", "one"))
        await until(pilot, lambda: "first" in screen_text(wizard))
        second = asyncio.ensure_future(prompt.ask("second", "two"))
        await until(pilot, first.done)
        await pilot.pause()
        assert first.result() is None
        assert prompt.asking
        assert prompt.display
        await pilot.press("x", "enter")
        await until(pilot, second.done)
        assert second.result() == "twox"
        assert not prompt.display

    drive(wizard, script)


def test_the_keys_are_the_questions_while_it_is_asked(make_wizard):
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: "r Check again" in screen_text(wizard))
        prompt = wizard.screen.query_one(PromptLine)
        asked = asyncio.ensure_future(prompt.ask("name"))
        await until(pilot, lambda: "enter Take it  esc Leave it" in screen_text(wizard))
        await pilot.press("escape")
        await until(pilot, lambda: "r Check again" in screen_text(wizard))
        assert asked.result() is None

    drive(wizard, script)
