"""What would leave this machine and for where, and the yes that was given to it.

Consents stand outside of results and only grow: one JSON object a line, synced. A torn last line
counts for nothing, and the next one begins behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.records import Document, Passage, read_documents, read_imported, read_passages
from pipeline.errors import NoConsent
from pipeline.files import append_line, canonical_json
from pipeline.recipe import SdgSettings
from pipeline.run import Run
from pipeline.sdg.address import address_of
from pipeline.sdg.batches import asked_documents
from pipeline.sdg.writer import OFFLINE

FORMAT = 1
"""Version of a line, written as `v`; a later one counts for nothing."""


@dataclass(frozen=True)
class Leaving:
    """What a stage would send at most. The judge is asked at the same address as the writer.

    Attributes:
        host: for where: name and, if the address has one, port.
        base_url: the address without user name, password and query.
        documents: how many documents parts would be sent of.
        passages: how many passages they have.
        characters: their text; each passage may be sent several times.
        loopback: whether the host is this machine, so that nothing leaves it.
    """

    host: str
    base_url: str
    documents: int
    passages: int
    characters: int
    loopback: bool


def leaving(corpus_folder: Path, settings: SdgSettings) -> Leaving | None:
    """What `sdg` would send of a corpus; None where it asks nobody.

    Raises:
        EndpointFailure: `sdg.base_url` is no address.
        BadInput: the corpus cannot be read.
    """
    if settings.writer == OFFLINE or any(True for _ in read_imported(corpus_folder)):
        return None
    return leaving_of(read_documents(corpus_folder), read_passages(corpus_folder), settings)


def leaving_of(
    documents: Iterable[Document], passages: Iterable[Passage], settings: SdgSettings
) -> Leaving:
    """What asking about these documents would send.

    Raises:
        EndpointFailure: `sdg.base_url` is no address.
    """
    address = address_of(settings)
    asked = asked_documents(documents, passages)
    return Leaving(
        host=address.host,
        base_url=address.base,
        documents=len(asked),
        passages=sum(len(cut) for _, cut in asked),
        characters=sum(len(passage.text) for _, cut in asked for passage in cut),
        loopback=address.loopback,
    )


def record_consent(run: Run, agreed: Leaving, clock: Callable[[], float]) -> None:
    """Write down a yes; it is on the disk when this returns.

    Args:
        run: the run whose documents it is about.
        agreed: what was shown.
        clock: seconds since the epoch.
    """
    row = {
        "v": FORMAT,
        "time": round(clock(), 3),
        "host": agreed.host,
        "base_url": agreed.base_url,
        "documents": agreed.documents,
        "passages": agreed.passages,
        "characters": agreed.characters,
    }
    torn = "" if _ends_whole(run.consents_path) else "\n"
    append_line(run.consents_path, torn + canonical_json(row))


def has_consent(run: Run, wanted: Leaving) -> bool:
    """Whether a recorded yes covers this; see `consented_at`."""
    return consented_at(run, wanted) is not None


def consented_at(run: Run, wanted: Leaving) -> float | None:
    """When the first yes that covers this was recorded, in seconds since the epoch; None for none.

    The rule: one single yes was for the same host, and for at least as many documents, passages
    and characters. So a yes to the whole corpus covers a trial and every repetition, other models
    and settings included; a grown corpus, or another host or port, needs another yes.
    """
    return next(
        (
            when
            for when, host, documents, passages, characters in _consents(run.consents_path)
            if host == wanted.host
            and documents >= wanted.documents
            and passages >= wanted.passages
            and characters >= wanted.characters
        ),
        None,
    )


def require_consent(run: Run, wanted: Leaving) -> None:
    """Refuse to go on without a recorded yes.

    Raises:
        NoConsent: nobody said yes to this; nothing was sent.
    """
    if has_consent(run, wanted):
        return
    raise NoConsent(
        f"Nobody has agreed yet that {in_words(wanted)}.",
        safe="Nothing was sent and nothing was asked.",
        next_step="Run the same command with --yes to agree, or choose another sdg.base_url, such "
        "as a server on this machine.",
    )


def in_words(what: Leaving) -> str:
    """What would be sent, and for where, in one clause."""
    amount = (
        f"up to {what.characters:,} characters of {what.documents:,} documents "
        f"({what.passages:,} passages)"
    )
    here = " on this machine" if what.loopback else ", outside of this machine"
    return f"{amount} go to {what.host}{here}"


def _consents(path: Path) -> Iterator[tuple[float, str, int, int, int]]:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            if row["v"] <= FORMAT:
                sizes = (int(row[name]) for name in ("documents", "passages", "characters"))
                yield (float(row["time"]), str(row["host"]), *sizes)  # type: ignore[misc]
        except (ValueError, KeyError, TypeError):
            continue


def _ends_whole(path: Path) -> bool:
    return not path.is_file() or path.read_bytes()[-1:] in (b"", b"\n")
