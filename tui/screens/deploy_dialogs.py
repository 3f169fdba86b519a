"""What the Deploy step asks in dialogs: where to serve, and which service to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tui.deploy_rows import TARGETS, Probe, nim_refusal, target_hint
from tui.rows import row
from tui.screens.dialogs import Choice, Question
from tui.watch import Snapshot

if TYPE_CHECKING:
    from tui.app import Wizard


def choose_target(wizard: Wizard, snapshot: Snapshot) -> None:
    """Choose between the local server and the NIM, where there is a choice."""
    settings, profile = snapshot.recipe.deploy, snapshot.profile
    names = list(TARGETS)
    if refusal := nim_refusal(profile):
        if settings.target == "nim":
            wizard.change_settings({"deploy.target": "local"})
        else:
            wizard.say(f"The local server it is: {refusal}.")
        return

    def chosen(index: int | None) -> None:
        if index is not None and names[index] != settings.target:
            wizard.change_settings({"deploy.target": names[index]})

    rows = [
        row(f"{title:<16}", (target_hint(name, profile), "muted"))
        for name, title in TARGETS.items()
    ]
    wizard.push_screen(Choice("Serve with", rows, names.index(settings.target)), chosen)


def choose_to_stop(
    wizard: Wizard, probes: Mapping[str, Probe], stop: Callable[[str], None]
) -> None:
    """Ask which service to stop, where there are several, and whether to.

    Args:
        wizard: the app.
        probes: every service by name; at least one.
        stop: is called with the name after a yes.
    """
    names = sorted(probes)
    if len(names) == 1:
        _ask(wizard, probes[names[0]], stop)
        return

    def chosen(index: int | None) -> None:
        if index is not None:
            _ask(wizard, probes[names[index]], stop)

    rows = [row(f"{name:<16}", (probes[name].record.url, "muted")) for name in names]
    wizard.push_screen(Choice("Stop which service", rows), chosen)


def _ask(wizard: Wizard, probe: Probe, stop: Callable[[str], None]) -> None:
    url = probe.record.url
    lines = [
        f"{url} will answer nobody any more. What it has begun is finished."
        if probe.running or not probe.here
        else f"{url} has ended already: this takes it off the list.",
        "Model, export and verification are kept; enter starts it again.",
    ]

    def answered(yes: bool | None) -> None:
        if yes:
            stop(probe.record.name)

    wizard.push_screen(Question("Stop the service?", lines), answered)
