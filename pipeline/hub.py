"""Whether the hub can be asked for a base model; nothing of it is downloaded."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

from pipeline.profiles import Profile

Answer = Literal["reachable", "offline", "refused", "absent", "silent"]
"""`offline`: HF_HUB_OFFLINE is set, so nobody asked. `refused`: it wants a token. `absent`: it
doesn't have the model. `silent`: no answer in time, or none that can be understood."""

ENDPOINT = "https://huggingface.co"
"""The hub, unless HF_ENDPOINT names another one."""

_TRUE = ("1", "ON", "YES", "TRUE")
"""What huggingface_hub takes for true."""


def is_offline(environment: Mapping[str, str]) -> bool:
    """Whether the user forbade to ask the hub."""
    return environment.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def endpoint_of(environment: Mapping[str, str]) -> str:
    """The hub's address, without a slash at its end."""
    return environment.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT


def ask_hub(profile: Profile, environment: Mapping[str, str], seconds: float) -> Answer:
    """Ask whether the hub has a profile's configuration; returns within `seconds`.

    No token is sent: this only looks whether a download could work.
    """
    if is_offline(environment):
        return "offline"
    place = f"{quote(profile.id)}/resolve/{quote(profile.revision)}/config.json"
    url = f"{endpoint_of(environment)}/{place}"
    said: list[Answer] = []

    def ask() -> None:
        said.append(_head(url, seconds))

    # In a thread of its own: no timeout of a socket holds for a name server that is silent.
    thread = threading.Thread(target=ask, name="hub", daemon=True)
    thread.start()
    thread.join(seconds)
    return said[0] if said else "silent"


def _head(url: str, seconds: float) -> Answer:
    # Here, so that a machine that has its weights doesn't wait for it.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(url, method="HEAD", headers={"User-Agent": "embedsmith"})
    try:
        with urlopen(request, timeout=seconds):
            return "reachable"
    except HTTPError as error:
        if error.code in (401, 403):
            return "refused"
        return "absent" if error.code == 404 else "silent"
    except (OSError, HTTPException, ValueError):
        return "silent"
