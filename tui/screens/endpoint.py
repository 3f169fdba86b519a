"""What the Generate step asks for: a yes, a key, a setting, an endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import BadRecipe, EndpointFailure, as_failure
from pipeline.recipe import flatten
from pipeline.run import changed_recipe, home
from pipeline.sdg.address import address_of
from pipeline.sdg.consent import record_consent
from pipeline.settings import SdgSettings
from tui.generate_rows import Setting, question_lines, value_words
from tui.generating import (
    LOCAL_URL,
    Preset,
    Setup,
    local_settings,
    parse_examples,
    read_presets,
)
from tui.rows import Row, row
from tui.screens.dialogs import Choice, Question
from tui.screens.step import StepScreen
from tui.widgets.prompt import Check

_EXAMPLES = "sdg.examples"


async def ask_consent(screen: StepScreen, setup: Setup, settings: SdgSettings) -> bool:
    """Ask whether what would leave may leave, and write a yes down; returns whether it was one."""
    snapshot, wizard = screen.snapshot, screen.wizard
    if snapshot is None or setup.leaving is None:
        return False
    lines = question_lines(setup, settings)
    if not await wizard.push_screen_wait(Question("May these documents go there?", lines)):
        return False
    try:
        await asyncio.to_thread(record_consent, snapshot.run, setup.leaving, time.time)
    except OSError as error:
        wizard.fail(as_failure(error))
        return False
    wizard.say("Agreed, and written down.", "good")
    return True


async def ask_key(screen: StepScreen, name: str) -> bool:
    """Ask for the key, masked; it is held in memory alone. Returns whether there was an answer."""
    secrets = screen.wizard.secrets
    typed = await screen.ask(f"{name} (empty: the environment's)", secret=True, check=_key)
    if typed is None:
        return False
    if typed.strip():
        secrets[name] = typed.strip()
        screen.wizard.say(f"{name} is held in memory until this window closes.", "good")
    else:
        secrets.pop(name, None)
    return True


async def edit_setting(screen: StepScreen, setting: Setting) -> None:
    """Ask for a setting and write it into the recipe."""
    snapshot, wizard = screen.snapshot, screen.wizard
    if snapshot is None:
        return
    value = flatten(snapshot.recipe)[setting.name]
    if setting.name != _EXAMPLES:
        shown = value_words(value, setting) if isinstance(value, tuple) else str(value)
        text = await screen.ask(setting.label, shown, check=_checked(screen, setting.name))
        if text is not None and text != shown:
            wizard.change_setting(setting.name, text)
        return

    def check(text: str) -> None:
        told = {_EXAMPLES: parse_examples(text)}
        with _briefly():
            changed_recipe(snapshot.run, told, _EXAMPLES, snapshot.variant)

    shown = value_words(value, setting) if value else ""
    text = await screen.ask(setting.label, shown, check=check, joint="; ")
    if text is not None and text != shown:
        wizard.change_settings({_EXAMPLES: parse_examples(text)})


async def choose_endpoint(screen: StepScreen) -> None:
    """Let one of the presets be chosen, and write it into the recipe."""
    snapshot = screen.snapshot
    if snapshot is None:
        return
    presets = await asyncio.to_thread(read_presets, snapshot, home())
    rows = [_preset_row(preset) for preset in presets]
    index = await screen.wizard.push_screen_wait(Choice("Who writes the questions?", rows))
    if index is None:
        return
    settings = presets[index].settings
    if settings is None:
        url = await screen.ask("address", LOCAL_URL, check=_checked(screen, "sdg.base_url"))
        model = await screen.ask("model", check=_name) if url is not None else None
        if url is None or model is None:
            return
        settings = local_settings(url, model)
    screen.wizard.change_settings(settings)


def _checked(screen: StepScreen, name: str) -> Check:
    """The recipe's own check, and for an address that it is one."""

    def check(text: str) -> None:
        with _briefly():
            screen.wizard.check_setting(name, text)
        if name == "sdg.base_url":
            try:
                address_of(SdgSettings(base_url=text.strip()))
            except EndpointFailure as failure:
                raise ValueError(f"an address, such as {LOCAL_URL}") from failure

    return check


@contextmanager
def _briefly() -> Iterator[None]:
    """What is wrong, without the name and the value that stand beside it already.

    Raises:
        ValueError: the recipe refuses a value.
    """
    try:
        yield
    except BadRecipe as failure:
        _, _, wanted = failure.happened.partition(", but it ")
        raise ValueError(wanted or failure.happened) from failure


def _preset_row(preset: Preset) -> Row:
    settings = preset.settings
    if settings is None:
        about = f"such as {LOCAL_URL}; address and model are asked for"
    else:
        about = f"{settings.get('sdg.base_url', '')}  {settings.get('sdg.model', '')}".strip()
    return row(f"{preset.title:<16}", (f"  {about}", "muted"))


def _key(text: str) -> None:
    """As `pipeline.sdg.client.read_key` takes it.

    Raises:
        ValueError: no header can carry it.
    """
    if not (text.strip().isascii() and text.strip().isprintable()) or " " in text.strip():
        raise ValueError("A key has plain characters and no spaces.")


def _name(text: str) -> None:
    if not text.strip():
        raise ValueError("The server knows its models by name.")
