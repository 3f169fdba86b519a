"""How an endpoint's model wants to be asked for JSON: found once by a tiny call, then remembered.

An option that is answered with status 200 may still be ignored. So the tiny call doesn't say in
words what a schema says: only who honours the schema can answer with the right object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.files import write_json
from pipeline.sdg.calls import Call
from pipeline.sdg.shapes import fault_in

FORMAT = 1
"""Version of the file; another one is as good as none."""
REMEMBERED = "endpoint.json"
"""What was found of endpoints, beside the call journal: `<run>/sdg/endpoint.json`."""

Mode = Literal["json_schema", "json_object", "prompt"]
_MODES: tuple[Mode, ...] = ("json_schema", "json_object", "prompt")
_TOKENS = 1024
"""Room for a model that thinks before it answers."""
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"colours": {"type": "array", "items": {"type": "string"}}},
    "required": ["colours"],
    "additionalProperties": False,
}
_ASKS: Mapping[Mode, str] = {
    "json_schema": "Name three colours.",
    "json_object": "Name three colours, as a JSON object.",
    "prompt": 'Name three colours. Reply with one JSON object: {"colours": ["..."]}',
}


@dataclass(frozen=True)
class Form:
    """How JSON is asked for.

    Attributes:
        mode: the strictest way that is honoured.
        quiet: whether thoughts are switched off (`chat_template_kwargs.enable_thinking`).
    """

    mode: Mode
    quiet: bool


FIRST = Form("json_schema", quiet=True)


def simpler(form: Form) -> Form | None:
    """The next form where the endpoint refuses this one, or None."""
    if form.quiet:
        return Form(form.mode, quiet=False)
    return _next_mode(form, quiet=True)


def looser(form: Form) -> Form | None:
    """The next form where the endpoint takes this one and doesn't follow it, or None."""
    return _next_mode(form, form.quiet)


def _next_mode(form: Form, quiet: bool) -> Form | None:
    left = _MODES[_MODES.index(form.mode) + 1 :]
    return Form(left[0], quiet) if left else None


def request_of(call: Call, form: Form) -> dict[str, Any]:
    """The arguments of openai's `chat.completions.create` for a call in some form."""
    request: dict[str, Any] = {
        "messages": [dict(message) for message in call.messages],
        "temperature": call.temperature,
        "top_p": call.top_p,
        "max_tokens": call.max_tokens,
    }
    if form.mode == "json_schema":
        schema = {"name": call.purpose, "schema": dict(call.schema), "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form.mode == "json_object":
        request["response_format"] = {"type": "json_object"}
    if form.quiet:
        request["chat_template_kwargs"] = {"enable_thinking": False}
    # As it is: the library would walk through it all by type hints, at a third of its time.
    return {"model": call.model, "messages": (), "extra_body": request}


def tiny_call(model: str, mode: Mode) -> Call:
    """The call that finds out; it holds no document's text."""
    message = {"role": "user", "content": _ASKS[mode]}
    return Call("probe", model, (message,), 0.0, 1.0, _TOKENS, _SCHEMA)


def honoured(mode: Mode, body: str) -> bool:
    """Whether a reply followed the mode. Without one there is nothing to follow."""
    if mode == "prompt":
        return True
    try:
        found = json.loads(json.loads(body)["choices"][0]["message"]["content"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return False
    return isinstance(found, dict) and (mode == "json_object" or not fault_in(found, _SCHEMA))


def find_form(ask: Callable[[Call, Form], str | None]) -> Callable[[str], Form | None]:
    """The search for one model's form.

    Args:
        ask: one tiny call; None where the endpoint refuses its form.

    Returns:
        Model to its form, or None where every form is refused.
    """

    def search(model: str) -> Form | None:
        form: Form | None = FIRST
        while form:
            body = ask(tiny_call(model, form.mode), form)
            if body is None:
                form = simpler(form)
            elif honoured(form.mode, body):
                return form
            else:
                form = looser(form)
        return None

    return search


class Memory:
    """What is known of endpoints from earlier attempts: forms by model, rates by host."""

    def __init__(self, path: Path) -> None:
        """Reads what is there; a damaged or later file is as good as none."""
        self._path = path
        self._rates: dict[str, tuple[float, float]] = {}
        self._forms: dict[str, dict[str, Form]] = {}
        self._take(path)

    def rate(self, host: str, start: float) -> float:
        """Requests a minute that were learned for a host; 0 for none.

        Args:
            host: of the endpoint.
            start: the rate to begin with. What was learned from another one counts no more: the
                user has changed it.
        """
        begun, learned = self._rates.get(host, (start, 0.0))
        return learned if begun == start else 0.0

    def form(self, base: str, model: str) -> Form | None:
        """How a model behind an address wants to be asked."""
        return self._forms.get(base, {}).get(model)

    def learn_rate(self, host: str, start: float, rate: float) -> None:
        """Keep a learned rate."""
        known = (start, round(rate, 1))
        if rate and known != self._rates.get(host):
            self._rates[host] = known
            self._write()

    def learn_form(self, base: str, model: str, form: Form) -> None:
        """Keep a form that was found."""
        if self.form(base, model) != form:
            self._forms.setdefault(base, {})[model] = form
            self._write()

    def _write(self) -> None:
        forms = {
            base: {model: {"mode": f.mode, "quiet": f.quiet} for model, f in found.items()}
            for base, found in self._forms.items()
        }
        rates = {
            host: {"start": start, "requests_per_minute": rate}
            for host, (start, rate) in self._rates.items()
        }
        write_json(self._path, {"format": FORMAT, "rates": rates, "forms": forms})

    def _take(self, path: Path) -> None:
        if not path.is_file():
            return
        try:
            known = json.loads(path.read_bytes())
            if known["format"] != FORMAT:
                return
            rates = {
                str(host): (float(row["start"]), float(row["requests_per_minute"]))
                for host, row in known["rates"].items()
            }
            forms = {
                str(base): {
                    str(model): Form(_MODES[_MODES.index(row["mode"])], bool(row["quiet"]))
                    for model, row in found.items()
                }
                for base, found in known["forms"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        self._rates, self._forms = rates, forms
