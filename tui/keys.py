"""Every key of the wizard, in one table: dispatch, footer, help and the user's keymap read it.

Only keys that every terminal sends: letters, digits, F1 to F10, arrows, enter, tab, escape and
plain control letters; none that tmux, screen or a terminal's own menu takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """One key and what it does.

    Attributes:
        id: its name in the user's keymap, `scope.action`.
        keys: the keys by Textual's names, with commas between them.
        label: a word or two for the footer.
        help: what it does, in a line for F1.
        shown: whether the footer shows it.
    """

    id: str
    keys: str
    label: str
    help: str
    shown: bool = True

    @property
    def scope(self) -> str:
        """Where it works: `everywhere`, a step, `list`, `dialog` ..."""
        return self.id.partition(".")[0]

    @property
    def action(self) -> str:
        """The action's name: the method `action_<name>` does it."""
        return self.id.partition(".")[2]


KEYS: tuple[Key, ...] = (
    Key("everywhere.help", "f1,question_mark", "Help", "every key of this screen"),
    Key(
        "everywhere.previous_step",
        "less_than_sign",
        "Back",
        "the step before; nothing is lost",
        False,
    ),
    Key("everywhere.next_step", "greater_than_sign", "Next", "the step after", False),
    Key("everywhere.steps", "f2", "Steps", "all steps, to go to one", False),
    Key("everywhere.runs", "f3", "Runs", "all runs, to open another", False),
    Key("everywhere.log", "f4", "Log", "the log of the step's last worker", False),
    Key("everywhere.theme", "f5", "Theme", "the next theme", False),
    Key(
        "everywhere.command_palette",
        "ctrl+p,colon",
        "Palette",
        "find any command by its name",
        False,
    ),
    Key("everywhere.redraw", "ctrl+l", "Redraw", "paint the whole screen again", False),
    Key("everywhere.leave", "q,ctrl+q,ctrl+c", "Quit", "leave the wizard; running work goes on"),
    Key("list.next", "down,j", "Down", "one row down", False),
    Key("list.previous", "up,k", "Up", "one row up", False),
    Key("list.next_page", "pagedown,ctrl+f", "Page down", "a page down", False),
    Key("list.previous_page", "pageup", "Page up", "a page up", False),
    Key("list.first", "home,g", "First", "the first row", False),
    Key("list.last", "end,G", "Last", "the last row", False),
    Key("list.choose", "enter", "Choose", "the row under the cursor", False),
    Key("dialog.dismiss", "escape,q", "Close", "close this; nothing is changed"),
    Key("dialog.yes", "y,enter", "Yes", "do it"),
    Key("dialog.no", "n,escape,q", "No", "leave it"),
    Key("dialog.copy", "c", "Copy", "copy the text"),
    Key("dialog.retry", "r", "Try again", "start again where it stopped"),
    Key("dialog.remedy", "s", "Apply", "change the setting that helps, and go on"),
    Key("dialog.log", "l", "Log", "the whole log"),
    Key("dialog.down", "down,j,space,pagedown", "Down", "scroll down", False),
    Key("dialog.up", "up,k,pageup", "Up", "scroll up", False),
    Key("runs.new", "n", "New run", "start another run"),
    Key("machine.go_on", "enter", "Go on", "go on to the corpus"),
    Key("machine.rehearse", "e", "Rehearse", "the whole chain on the CPU, with a small model"),
    Key("machine.profile", "b", "Base model", "choose the base model"),
    Key("machine.recheck", "r", "Check again", "look at the machine again"),
    Key("machine.copy", "c", "Copy", "copy the checks"),
    Key("corpus.go_on", "enter", "Go on", "scan, or go on to the next step"),
    Key("corpus.path", "p", "Path", "type the path of the documents"),
    Key("corpus.browse", "b", "Browse", "choose a folder from the directory tree"),
    Key("corpus.slice", "s", "Slice", "how many documents the pilot takes; 50-100 are usual"),
    Key("corpus.name", "n", "Name", "what the new run is called"),
    Key("corpus.eval_set", "v", "Queries", "take a BEIR folder of your own queries as a judge"),
    Key("corpus.scan", "r", "Scan", "look at the documents again"),
    Key("corpus.seed", "d", "Deal", "another seed: other documents in the slice"),
    Key("corpus.skipped", "o", "Order", "skipped documents first, or by name"),
    Key("corpus.findings", "f", "Findings", "suspected secrets and personal data, one by one"),
    Key("browser.choose", "space,o", "Choose", "take what is under the cursor"),
    Key("browser.into", "right,l", "Into", "into the folder under the cursor", False),
    Key("browser.up", "backspace,left,h", "Up", "to the folder above"),
    Key("generate.go_on", "enter", "Start", "write the questions, or go on to the review"),
    Key("generate.edit", "e", "Edit", "change the setting under the cursor"),
    Key("generate.preset", "o", "Endpoint", "NVIDIA's endpoint, or a local one"),
    Key("generate.key", "a", "API key", "type the endpoint's key; it is held in memory"),
    Key("generate.consent", "y", "Agree", "say yes to what leaves this machine"),
    Key("generate.trial", "t", "Try", "write questions for three documents first"),
    Key("generate.compare", "c", "Compare", "this try and the one before, side by side"),
    Key("generate.view", "v", "View", "the settings, the last try, or how the writing goes"),
    Key("generate.losses", "l", "Losses", "documents that came out empty, and lost questions"),
    Key("generate.retry", "r", "Parked", "ask again where replies were damaged", False),
    Key(
        "generate.more",
        "m",
        "More",
        "ask again about empty documents, up to a target, or with what was rejected",
    ),
    Key("generate.pause", "p", "Pause", "pause or resume"),
    Key("generate.stop", "x", "Stop", "end it here; what was answered is kept"),
    Key("review.accept", "a", "Accept", "keep this question and go on"),
    Key("review.reject", "x", "Reject", "drop this question and go on; then 1-6 for the reason"),
    Key("review.skip", "s", "Skip", "seen, and left to its score"),
    Key("review.edit", "e", "Edit", "change question and answer here"),
    Key("review.edit_outside", "E", "$EDITOR", "change question and answer in your editor", False),
    Key("review.undo", "u", "Undo", "take the last action back"),
    Key("review.redo", "U", "Redo", "do it again", False),
    Key("review.clear", "c", "Clear", "leave this question to its score again", False),
    Key("review.next_undecided", "n", "Undecided", "the next one that nobody decided"),
    Key("review.threshold_down", "left_square_bracket,minus", "-0.1", "lower the threshold by 0.1"),
    Key("review.threshold_up", "right_square_bracket,plus", "+0.1", "raise the threshold by 0.1"),
    Key("review.threshold_down_far", "left_curly_bracket", "-0.5", "lower it by 0.5", False),
    Key("review.threshold_up_far", "right_curly_bracket", "+0.5", "raise it by 0.5", False),
    Key("review.search", "slash", "Filter", "search words, and facets such as score<7 role:test"),
    Key("review.order", "o", "Order", "queue, document, score, flags", False),
    Key("review.accept_all", "A", "Accept all", "accept everything that is listed, as one", False),
    Key("review.reject_all", "X", "Reject all", "reject everything that is listed, as one", False),
    Key("review.audit", "m", "Audit", "a random few, and how far they speak for all", False),
    Key("review.evidence", "space", "Evidence", "the next page of the passage", False),
    Key("review.agreement", "t", "Agreement", "how your decisions and the scores agree", False),
    Key("review.copy", "y", "Copy", "copy this sample", False),
    Key("review.go_on", "enter", "Go on", "go on to training"),
    Key("train.go_on", "enter", "Start", "mine and train, or go on to the metrics"),
    Key("train.edit", "e", "Edit", "change the setting under the cursor"),
    Key("train.pause", "p", "Pause", "pause or resume"),
    Key("train.finish", "f", "Finish", "end training now and keep the best"),
    Key("train.stop", "x", "Stop", "checkpoint and end; it can go on later"),
    Key("train.log", "l", "Log", "the worker's log"),
    Key("train.scale", "s", "Scale", "a linear or a logarithmic loss", False),
    Key("train.view", "v", "View", "the charts, or the settings"),
    Key("metrics.go_on", "enter", "Go on", "measure, or go on to the export"),
    Key("metrics.next_set", "s", "Set", "the next eval set"),
    Key("metrics.measure", "m", "Measure", "nDCG, Recall, Precision or MAP first", False),
    Key("metrics.misses", "v", "Misses", "the queries that miss, with what won instead"),
    Key("metrics.page", "space", "Page", "the next page of the query's passages", False),
    Key("metrics.export", "w", "Write", "write the table as Markdown, CSV or JSON"),
    Key("metrics.copy", "c", "Copy", "copy the table"),
    Key("export.go_on", "enter", "Export", "export, or go on to deploying"),
    Key("export.edit", "e", "Change", "change the choice under the cursor"),
    Key("export.stop", "x", "Stop", "end it; what is finished is kept"),
    Key("export.copy", "c", "Copy", "copy the parity report"),
    Key("deploy.go_on", "enter", "Deploy", "start the service and verify it"),
    Key("deploy.edit", "e", "Change", "change the choice under the cursor"),
    Key("deploy.verify", "v", "Verify", "measure through the endpoint once more"),
    Key("deploy.snippet", "s", "Snippet", "curl, Python, or how to index again"),
    Key("deploy.copy", "c", "Copy", "copy the snippet or the table that is shown"),
    Key("deploy.stop", "x", "Stop", "end the work, else the service"),
)
"""The keys. Letters that change something work on the screen, never inside a text field."""


def keys_of(*scopes: str) -> tuple[Key, ...]:
    """The keys of some scopes, in the order of the table."""
    return tuple(key for key in KEYS if key.scope in scopes)


def bindings(*scopes: str) -> list[Binding]:
    """The keys of some scopes as Textual's bindings; their ids take the user's keymap."""
    # Here, so that the table can be read without Textual.
    from textual.binding import Binding

    return [
        Binding(key.keys, key.action, key.label, show=key.shown, id=key.id)
        for key in keys_of(*scopes)
    ]


def default_keymap() -> dict[str, str]:
    """Keys by binding id."""
    return {key.id: key.keys for key in KEYS}


_used: dict[str, str] = {}


def use_keymap(keymap: Mapping[str, str]) -> None:
    """Name these keys from now on; the wizard says its user's."""
    _used.update(keymap)


def key_of(binding: str) -> str:
    """The first key of a binding, as people write it: for sentences that name a key."""
    keys = _used.get(binding) or next(key.keys for key in KEYS if key.id == binding)
    return key_name(keys.split(",")[0].strip())


_NAMES = {
    "question_mark": "?",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "slash": "/",
    "colon": ":",
    "minus": "-",
    "plus": "+",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "escape": "esc",
}


def key_name(key: str) -> str:
    """A key as people write it: `?` for `question_mark`, `^p` for `ctrl+p`, `F1` for `f1`."""
    if key.startswith("ctrl+"):
        return "^" + key.removeprefix("ctrl+")
    if key[:1] == "f" and key[1:].isdigit():
        return key.upper()
    return _NAMES.get(key, key)


def names_of(keys: str) -> Iterable[str]:
    """The keys of one entry as people write them."""
    return [key_name(key.strip()) for key in keys.split(",")]
