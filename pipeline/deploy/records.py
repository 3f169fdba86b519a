"""`service.json`: a service that was started, as the run folder remembers it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import BadInput
from pipeline.files import read_json, write_json

FORMAT = 1
"""Version of `service.json`."""

Target = Literal["local", "nim"]


@dataclass(frozen=True)
class ServiceRecord:
    """A service that was started.

    Attributes:
        name: the variant's name, or the target's.
        target: what it is.
        url: without `/v1`.
        model: the name that it gives its model.
        export: digest of the export that it serves.
        instance: random; stands in the process's own arguments, so no other one is taken for it.
        host: the machine that it runs on.
        pid: of the local server; 0 for a container.
        container: docker's id; empty for the local server.
        log: the log's file name beside this record; empty for a container.
        started: seconds since the epoch.
    """

    name: str
    target: Target
    url: str
    model: str
    export: str
    instance: str
    host: str
    pid: int
    container: str
    log: str
    started: float


def write_service(path: Path, record: ServiceRecord) -> None:
    """Write `service.json`, durably."""
    write_json(path, {"format": FORMAT, **asdict(record)})


def read_service(path: Path) -> ServiceRecord:
    """Read `service.json`.

    Raises:
        BadInput: it is damaged or of a later format.
    """
    row: Any = read_json(path)
    try:
        if row.pop("format") == FORMAT:
            return ServiceRecord(**row)
    except (AttributeError, KeyError, TypeError):
        pass
    raise BadInput(
        f"{path} has a format that this version doesn't know.",
        safe="The service was left as it is.",
        next_step="Use the embedsmith version that wrote it, or a later one.",
    )
