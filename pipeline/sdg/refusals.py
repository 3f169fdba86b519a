"""What an endpoint's refusals mean, in words: pure, and without the key in any of them."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Sequence
from enum import Enum

from pipeline.errors import EndpointFailure
from pipeline.settings import SdgSettings

SAFE = "Every reply so far is kept in sdg/calls.jsonl and will not be paid again."

_EXCERPT = 200
_MODELS_NAMED = 8
_TRANSIENT = frozenset({202, 408, 409, 425, 429})
_SHAPE = frozenset({400, 422})
_DEGRADED = "DEGRADED"
"""NVIDIA's hosted endpoint says so in a 400 while a function restarts."""


class Verdict(Enum):
    """What to do about a status."""

    WAIT = "wait"
    """It may pass: ask again later."""
    SIMPLER = "simpler"
    """The request's form isn't understood: leave options away."""
    STOP = "stop"
    """It won't pass: key, address or model are wrong."""


def verdict_on(status: int, body: str) -> Verdict:
    """What a status other than success means for the calls that follow."""
    if status in _TRANSIENT or status >= 500 or (status == 400 and _DEGRADED in body):
        return Verdict.WAIT
    return Verdict.SIMPLER if status in _SHAPE else Verdict.STOP


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None without one."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def excerpt(text: str, key: str) -> str:
    """The beginning of what an endpoint said: one line, no control characters, no key."""
    if key:
        text = text.replace(key, "[key]")
    text = "".join(c if c.isprintable() else " " for c in re.sub(r"<[^>]*>", " ", text))
    text = " ".join(text.split())
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."


def missing_key(settings: SdgSettings) -> EndpointFailure:
    """The key's variable is empty, and the endpoint is not on this machine."""
    return EndpointFailure(
        f"The environment variable {settings.key_variable} is not set, and {where(settings)} "
        "needs a key.",
        safe=SAFE,
        next_step=f"export {settings.key_variable}=... and run the same command again, or set "
        "sdg.base_url to a server on this machine.",
    )


def unusable_key(settings: SdgSettings) -> EndpointFailure:
    """The key holds characters that no HTTP header can carry."""
    return EndpointFailure(
        f"The environment variable {settings.key_variable} holds spaces, line breaks or characters "
        "that a key cannot have.",
        safe=SAFE,
        next_step=f"Set {settings.key_variable} again and run the same command again.",
    )


def unusable_address(settings: SdgSettings) -> EndpointFailure:
    """The base URL is none."""
    return EndpointFailure(
        f"sdg.base_url = {excerpt(settings.base_url, '')!r} is no http or https address.",
        safe=SAFE,
        next_step="Set it, for example --set sdg.base_url=http://127.0.0.1:8000/v1",
    )


def key_refused(settings: SdgSettings, status: int) -> EndpointFailure:
    """401 or 403. What the endpoint said is left out: some quote the key."""
    return EndpointFailure(
        f"{where(settings)} answered {status}: it does not accept the key in "
        f"{settings.key_variable}.",
        safe=SAFE,
        next_step=f"Check {settings.key_variable} and that the account may use {settings.model}; "
        "then run the same command again.",
    )


def model_gone(
    settings: SdgSettings, model: str, status: int, offered: Sequence[str]
) -> EndpointFailure:
    """404 or 410 for a model."""
    setting = "sdg.judge_model" if model == settings.judge_model else "sdg.model"
    status_says = "any more" if status == 410 else "or not at this address"
    remedy: dict[str, str] = {}
    if model == settings.successor or (offered and settings.successor not in offered):
        next_step = f"Choose one that it serves: run the same command with --set {setting}=NAME"
    else:
        remedy[setting] = settings.successor
        next_step = (
            f"Use {settings.successor}: run the same command with "
            f"--set {setting}={settings.successor}"
        )
    return EndpointFailure(
        f"{where(settings)} answered {status}: it does not serve {model} {status_says}. "
        f"{_offer(settings, offered)}",
        safe=SAFE,
        next_step=next_step,
        remedy=remedy,
    )


def _offer(settings: SdgSettings, offered: Sequence[str]) -> str:
    if not offered:
        return "It lists no models; check sdg.base_url, too, which usually ends in /v1."
    # The successor comes first where it is there: it is what most users will take.
    first = sorted(offered, key=lambda name: (name != settings.successor, name))
    names = ", ".join(excerpt(name, "") for name in first[:_MODELS_NAMED])
    rest = len(offered) - _MODELS_NAMED
    return f"It offers {names}{f' and {rest} more' if rest > 0 else ''}."


def not_an_api(settings: SdgSettings, said: str) -> EndpointFailure:
    """A page, or something else that is no JSON, with status 200."""
    return EndpointFailure(
        f"{where(settings)} answered with a page instead of JSON: {said!r}.",
        safe=SAFE,
        next_step="Set sdg.base_url to the API itself (it usually ends in /v1), or sign in to the "
        "proxy in between; then run the same command again.",
    )


def unreachable(settings: SdgSettings, reason: str) -> EndpointFailure:
    """Nobody answers."""
    return EndpointFailure(
        f"{where(settings)} cannot be reached: {reason}.",
        safe=SAFE,
        next_step="Check sdg.base_url and the network, start the server if it is yours, and run "
        "the same command again.",
    )


def refused(settings: SdgSettings, status: int, said: str) -> EndpointFailure:
    """Any other refusal that waiting doesn't cure."""
    return EndpointFailure(
        f"{where(settings)} refused a call with status {status}: {said!r}.",
        safe=SAFE,
        next_step="Correct the sdg settings that it speaks of and run the same command again.",
    )


def silent(settings: SdgSettings, minutes: float, reason: str) -> EndpointFailure:
    """It did not pass in the time that we wait."""
    return EndpointFailure(
        f"{where(settings)} did not answer any call for {minutes:.0f} minutes; the last time: "
        f"{reason}.",
        safe=SAFE,
        next_step="Wait a while and run the same command again, perhaps with a lower "
        "sdg.concurrency or a longer sdg.timeout_seconds; it goes on where it stopped.",
    )


def unusable_replies(
    settings: SdgSettings, failed: int, first: int, problem: str, said: str
) -> EndpointFailure:
    """Most of the first replies hold nothing that can be used."""
    return EndpointFailure(
        f"{failed} of the first {first} replies of {settings.model} were of no use: {problem}. "
        f"One says: {said!r}.",
        safe=SAFE,
        next_step="Look at the replies in sdg/calls.jsonl, choose another sdg.model, and run the "
        "same command again; a few documents can be tried first with `embedsmith trial`.",
    )


def where(settings: SdgSettings) -> str:
    """The endpoint's address without what may stand before an @ in it."""
    return re.sub(r"//[^/@]*@", "//", excerpt(settings.base_url, ""))
