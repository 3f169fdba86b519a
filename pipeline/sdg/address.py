"""The endpoint's address, taken apart: without the client, so that screens can read it, too."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.sdg import refusals
from pipeline.settings import SdgSettings


@dataclass(frozen=True)
class Address:
    """Where calls go.

    Attributes:
        scheme: `http` or `https`.
        host: name or number, and the port where the address names one: behind another port of
            this machine there may be a tunnel to somewhere else.
        base: the address without user name, password and query.
        loopback: whether the host is this machine.
    """

    scheme: str
    host: str
    base: str
    loopback: bool


def address_of(settings: SdgSettings) -> Address:
    """The address of `sdg.base_url`.

    Raises:
        EndpointFailure: it is no http or https address.
    """
    try:
        parts = urlsplit(settings.base_url)
        name, port = parts.hostname, parts.port
    except ValueError:
        raise refusals.unusable_address(settings) from None
    if parts.scheme not in ("http", "https") or not name:
        raise refusals.unusable_address(settings)
    shown = f"[{name}]" if ":" in name else name
    host = shown if port is None else f"{shown}:{port}"
    return Address(parts.scheme, host, f"{parts.scheme}://{host}{parts.path}", is_loopback(name))


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
