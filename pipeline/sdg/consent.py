"""What would leave this machine and for where, and the yes that was given to it.

Consents stand outside of results and only grow: one JSON object a line, synced. A torn last line
counts for nothing, and the next one begins behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.records import Document, Passage, read_documents, read_imported, read_passages
from pipeline.errors import NoConsent
from pipeline.files import append_line, canonical_json, digest_value
from pipeline.run import Run
from pipeline.sdg.address import address_of
from pipeline.sdg.batches import asked_documents
from pipeline.sdg.feedback import avoid_for
from pipeline.sdg.rounds import last_round
from pipeline.sdg.writer import OFFLINE
from pipeline.settings import SdgSettings

FORMAT = 2
"""Version of a line, written as `v`. Any other counts for nothing: the first one named no
documents, so nobody can tell what its yes was given to."""


@dataclass(frozen=True)
class Leaving:
    """What a stage would send at most. The judge is asked at the same address as the writer.

    Attributes:
        host: for where: name and, if the address has one, port.
        base_url: the address without user name, password and query.
        ids: of the documents that parts would be sent of; an id is a hash of the text.
        passages: how many passages they have.
        characters: their text; each passage may be sent several times.
        loopback: whether the host is this machine, so that nothing leaves it.
        along: the user's own words that go with every call, each kind named; empty for none.
    """

    host: str
    base_url: str
    ids: frozenset[str]
    passages: int
    characters: int
    loopback: bool
    along: tuple[str, ...] = ()

    @property
    def documents(self) -> int:
        """How many documents parts would be sent of."""
        return len(self.ids)

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self.base_url.partition(":")[0]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for exactly these documents, to show."""
        return digest_value(sorted(self.ids))[:16]

    @property
    def fields(self) -> dict[str, Any]:
        """What is shown of it, by name; the documents' digest for their ids."""
        return {
            "host": self.host,
            "base_url": self.base_url,
            "documents": self.documents,
            "digest": self.digest,
            "passages": self.passages,
            "characters": self.characters,
            "loopback": self.loopback,
            "along": list(self.along),
        }


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
        ids=frozenset(document.id for document, _ in asked),
        passages=sum(len(cut) for _, cut in asked),
        characters=sum(len(passage.text) for _, cut in asked for passage in cut),
        loopback=address.loopback,
        along=_along(settings),
    )


def _along(settings: SdgSettings) -> tuple[str, ...]:
    """What of the recipe leaves with the documents, in words."""
    examples = len(settings.examples)
    # Later rounds are told more, and the last one is told all of it.
    rejected = len(avoid_for(settings, last_round(settings)))
    return (
        *(["the audience"] if settings.audience else ()),
        *(["the language"] if settings.language else ()),
        *([_counted(examples, "example query", "example queries")] if examples else ()),
        *([_counted(rejected, "rejected question", "rejected questions")] if rejected else ()),
    )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


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
        **agreed.fields,
        "ids": sorted(agreed.ids),
    }
    torn = "" if _ends_whole(run.consents_path) else "\n"
    append_line(run.consents_path, torn + canonical_json(row))


def has_consent(run: Run, wanted: Leaving) -> bool:
    """Whether a recorded yes covers this; see `consented_at`."""
    return consented_at(run, wanted) is not None


def consented_at(run: Run, wanted: Leaving) -> float | None:
    """When the first yes that covers this was recorded, in seconds since the epoch; None for none.

    The rule: one single yes was for the same scheme and host, and named every document that is
    wanted. So a yes to the whole corpus covers a trial and every repetition, other models,
    guidance and settings included; a document that is new or was edited, another host or port, and
    http instead of https need another yes.
    """
    return next(
        (
            agreed.when
            for agreed in _consents(run.consents_path)
            if agreed.host == wanted.host
            and agreed.scheme == wanted.scheme
            and agreed.ids >= wanted.ids
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
    unsafe = " unencrypted" if what.scheme == "http" and not what.loopback else ""
    here = " on this machine" if what.loopback else ", outside of this machine"
    along = along_words(what)
    return f"{amount} go{unsafe} to {what.host}{here}{along and f', and {along}'}"


def along_words(what: Leaving) -> str:
    """What of the user's own words goes along, in one clause; empty where nothing does."""
    if not what.along:
        return ""
    *most, last = what.along
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"with them goes what the recipe tells the writer: {listed}"


@dataclass(frozen=True)
class _Consent:
    """One yes: when, for where, and to which documents."""

    when: float
    scheme: str
    host: str
    ids: frozenset[str]


def _consents(path: Path) -> Iterator[_Consent]:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            if row["v"] == FORMAT:
                scheme = str(row["base_url"]).partition(":")[0]
                yield _Consent(
                    float(row["time"]), scheme, str(row["host"]), frozenset(map(str, row["ids"]))
                )
        except (ValueError, KeyError, TypeError):
            continue


def _ends_whole(path: Path) -> bool:
    return not path.is_file() or path.read_bytes()[-1:] in (b"", b"\n")
