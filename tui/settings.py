"""A recipe's settings as screens list them: value, default, and what a change makes stale. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import BadRecipe
from pipeline.recipe import Recipe, flatten
from pipeline.run import Run
from tui.choices import Choice
from tui.steps import StageState, find_step, step_of

_ACTS_THROUGH = {"corpus.source": "corpus", "sdg.threshold": "prep", "deploy.port": "deploy"}
"""Settings that no fingerprint holds, but whose effect is some stage's input."""


def setting_choice(
    recipe: Recipe, usual: Recipe, name: str, label: str, about: str, hint: str = ""
) -> Choice:
    """One setting as a row, its default marked.

    Args:
        recipe: the settings as they are.
        usual: the ones that the base model starts with: `base_recipe(profile)`.
        name: the setting's dotted name.
        label: what it is called on the screen.
        about: what it does, in a sentence or two.
        hint: what the value leads to, in a few words.
    """
    value, default = flatten(recipe)[name], flatten(usual)[name]
    said = "default" if value == default else f"default {setting_words(default)}"
    return Choice(
        setting=name,
        label=label,
        value=setting_words(value),
        hint=f"{said}; {hint}" if hint else said,
        about=about,
        tone="text" if value == default else "strong",
    )


def setting_words(value: Any) -> str:
    """A setting's value as it is typed and shown."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value) if value != "" else "-"


def stages_after(name: str) -> tuple[str, ...]:
    """The stages that another value of a setting would make again, in order."""
    from pipeline.identity import NOT_IDENTITY
    from pipeline.stage import STAGES

    touched: list[str] = []
    section = name.partition(".")[0]
    for stage in STAGES:
        own = section in stage.sections and name not in NOT_IDENTITY
        if own or _ACTS_THROUGH.get(name) == stage.name or set(stage.needs) & set(touched):
            touched.append(stage.name)
    return tuple(touched)


def stale_sentence(name: str, stages: Mapping[str, StageState]) -> str:
    """What a change of a setting leads to, to be said before it is made.

    Args:
        name: the setting's dotted name.
        stages: where the stages stand.
    """
    touched = stages_after(name)
    if not touched:
        return "Nothing that was made gets stale by this."
    made = [stage for stage in touched if stage in stages and stages[stage].state == "done"]
    if not made:
        return ""
    titles = dict.fromkeys(find_step(step_of(stage)).title for stage in made)
    return f"A change makes {_listed(list(titles))} stale; the old value brings them back."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def typed_setting(name: str, text: str) -> dict[str, Any]:
    """What was typed for a setting as a recipe's value; lists are typed with commas."""
    from pipeline.recipe import default_settings, parse_setting

    if isinstance(default_settings().get(name), tuple):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return {name: [int(part) if part.isdigit() else part for part in parts]}
    if isinstance(default_settings().get(name), str):
        return {name: text.strip()}
    return {name: parse_setting(f"{name}={text}")[1]}


def check_typed(run: Run, variant: str, name: str, text: str) -> None:
    """Whether a run's setting may have what was typed.

    Raises:
        BadRecipe: it may not; the message says what is wrong, without the setting's name.
    """
    from pipeline.run import changed_recipe

    try:
        changed_recipe(run, typed_setting(name, text), name, variant)
    except BadRecipe as error:
        # Beside the field there is room for what is wrong, not for its name once more.
        wrong = error.happened.partition(", but ")[2] or error.happened
        raise BadRecipe(wrong, safe=error.safe, next_step=error.next_step) from error
