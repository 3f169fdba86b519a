"""Which commit a dataset's branch or tag stands for: asked of the hub once, then remembered.

The answer is kept in the machine's cache, so that a run keeps its fingerprint while the dataset
moves on. Another commit is chosen by naming it: `hf://owner/name@COMMIT`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from pipeline.corpus.hf_address import SCHEME, Dataset, is_commit
from pipeline.errors import BadInput
from pipeline.files import read_json, write_json
from pipeline.hub import endpoint_of, is_offline

MEMORY = "revisions.json"
"""In the cache's folder of datasets: commit by hub, dataset and revision."""
PATIENCE = 10.0
"""Seconds that the hub has for its answer."""


def resolved(dataset: Dataset, environment: Mapping[str, str], cache: Path) -> Dataset:
    """The dataset with its commit.

    It is the one that its address names, or that this machine remembers, or that the hub tells
    now, or else that Hugging Face's own cache holds.

    Args:
        dataset: one of the hub.
        environment: says which hub, whether it may be asked, and holds the token.
        cache: where commits are remembered, a folder of our own.

    Raises:
        BadInput: nobody knows the commit; three sentences say why.
    """
    if dataset.commit:
        return dataset
    memory = cache / MEMORY
    known = read_json(memory) if memory.is_file() else {}
    key = f"{endpoint_of(environment)} {dataset.name}@{dataset.revision}"
    if is_commit(known.get(key, "")):
        return replace(dataset, commit=known[key])
    asked = "offline" if is_offline(environment) else _ask(dataset, environment)
    commit = asked if is_commit(asked) else _in_hub_cache(dataset, environment)
    if not commit:
        raise _unknown(dataset, asked)
    write_json(memory, {**known, key: commit})
    return replace(dataset, commit=commit)


def _in_hub_cache(dataset: Dataset, environment: Mapping[str, str]) -> str:
    """What Hugging Face's own cache says that the revision was, or nothing."""
    place = environment.get("HF_HUB_CACHE", "")
    folder = Path(place).expanduser() if place else _hub_home(environment) / "hub"
    path = folder / f"datasets--{dataset.name.replace('/', '--')}" / "refs" / dataset.revision
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return found if is_commit(found) else ""


def _hub_home(environment: Mapping[str, str]) -> Path:
    home = environment.get("HF_HOME", "")
    base = environment.get("XDG_CACHE_HOME", "") or "~/.cache"
    return Path(home or f"{base}/huggingface").expanduser()


def _token(environment: Mapping[str, str]) -> str:
    """The token that Hugging Face's own programs would use; it is sent, and never kept."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := environment.get(name, "").strip():
            return token
    path = environment.get("HF_TOKEN_PATH", "")
    try:
        return (Path(path) if path else _hub_home(environment) / "token").read_text().strip()
    except (OSError, ValueError):
        return ""


def _ask(dataset: Dataset, environment: Mapping[str, str]) -> str:
    """The commit, or what kept the hub from telling; returns within `PATIENCE`."""
    revision = quote(dataset.revision, safe="")
    url = f"{endpoint_of(environment)}/api/datasets/{dataset.name}/revision/{revision}"
    said: list[str] = []

    def ask() -> None:
        said.append(_commit(url, _token(environment)))

    # In a thread of its own: no timeout of a socket holds for a name server that is silent.
    thread = threading.Thread(target=ask, name="hub", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return said[0] if said else "silent"


def _commit(url: str, token: str) -> str:
    # Here, so that a machine that knows the commit doesn't wait for it.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        request = Request(url, headers={"User-Agent": "embedsmith"})
        if token:
            # Unredirected: no other host gets the token.
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        with urlopen(request, timeout=PATIENCE) as reply:
            document = json.loads(reply.read())
    except HTTPError as error:
        if error.code in (401, 403):
            return "refused"
        return "absent" if error.code == 404 else "silent"
    except (OSError, HTTPException, ValueError, RecursionError):
        return "silent"
    commit = str(document.get("sha")) if isinstance(document, dict) else ""
    return commit if is_commit(commit) else "silent"


def _unknown(dataset: Dataset, trouble: str) -> BadInput:
    what = f"{SCHEME}{dataset.name}"
    happened, next_step = {
        "offline": (
            f"HF_HUB_OFFLINE is set, and nobody asked yet what {dataset.revision!r} of {what} is.",
            "Unset HF_HUB_OFFLINE once, or name the commit: hf://owner/name@COMMIT.",
        ),
        "refused": (
            f"The hub refuses {what}: it is private or gated, or there is no such dataset.",
            "Check the name; if it is right, ask for access on its page and set HF_TOKEN.",
        ),
        "absent": (
            f"The hub has no dataset {what} with a revision {dataset.revision!r}.",
            "Check owner, name and revision: hf://owner/name[/config][@revision][:split].",
        ),
        "silent": (
            f"The hub didn't say what {dataset.revision!r} of {what} is.",
            "Try again when it can be reached, or download the dataset and give its folder.",
        ),
    }[trouble]
    return BadInput(happened, safe="Nothing was changed.", next_step=next_step)
