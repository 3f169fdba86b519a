"""What the later stages need of a machine: base weights, the NIM's image, its registry's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.deploy.docker import Docker, image_size
from pipeline.deploy.nim_plan import KEY_VARIABLE
from pipeline.errors import Failure
from pipeline.gate import Check, gigabytes
from pipeline.hub import Answer, ask_hub
from pipeline.profiles import Profile
from pipeline.weights import Weights, find_weights

Image = int | None | Failure
"""Bytes of an image that is here, None for one that isn't, or why nobody can tell."""

_LOCAL_SERVER = "the local server needs none"

_HUB: Mapping[Answer, tuple[str, str]] = {
    "reachable": ("The hub has them.", ""),
    "offline": (
        "HF_HUB_OFFLINE is set, so the hub was not asked.",
        "Unset HF_HUB_OFFLINE. ",
    ),
    "refused": (
        "The hub wants a token.",
        "Accept the model's terms on the hub, and log in (`hf auth login`). ",
    ),
    "absent": ("The hub doesn't have them.", "Check HF_ENDPOINT and proxy (HTTPS_PROXY). "),
    "silent": (
        "The hub doesn't answer.",
        "Check network and proxy (HTTPS_PROXY), or copy the hub's cache from another machine and "
        "name it in HF_HOME. ",
    ),
}
"""What the hub's answer means, and what has to be done before the download."""


@dataclass(frozen=True)
class Tail:
    """What was found for one base model.

    Attributes:
        profile: the base model.
        weights: where they lie, or why they can't be used.
        hub: the hub's answer; empty where it didn't matter.
        registry_key: whether the key of NVIDIA's registry is set; never what it is.
    """

    profile: Profile
    weights: Weights | Failure
    hub: Answer | None
    registry_key: bool


def read_tail(profile: Profile, environment: Mapping[str, str], seconds: float) -> Tail:
    """Look for weights, ask the hub where they are missing; returns within about `seconds`."""
    weights: Weights | Failure
    hub: Answer | None = None
    try:
        weights = find_weights(profile)
    except Failure as failure:
        weights = failure
        hub = None if profile.package else ask_hub(profile, environment, seconds)
    return Tail(profile, weights, hub, bool(environment.get(KEY_VARIABLE)))


def read_image(docker: Docker, profile: Profile) -> Image:
    """Look for the profile's container image, if it has one."""
    if not profile.nim_image:
        return None
    try:
        return image_size(docker, profile.nim_image)
    except Failure as failure:
        return failure


def tail_checks(tail: Tail, image: Image) -> tuple[Check, ...]:
    """Pass or warn for weights, image and registry key; nothing is refused."""
    if not tail.profile.nim_image:
        none = f"there is none for {tail.profile.title}; {_LOCAL_SERVER}"
        return (_weights_check(tail), Check("NIM image", "pass", none))
    return (_weights_check(tail), _image_check(tail.profile, image), _key_check(tail))


def _weights_check(tail: Tail) -> Check:
    if isinstance(tail.weights, Weights):
        size, folder = size_words(tail.weights.size), tail.weights.folder
        return Check("weights", "pass", f"{tail.profile.title}: {size} in {folder}")
    missing = tail.weights
    if tail.hub is None:
        return Check("weights", "warn", missing.happened, missing.next_step)
    found, first = _HUB[tail.hub]
    return Check("weights", "warn", f"{missing.happened} {found}", first + missing.next_step)


def _image_check(profile: Profile, image: Image) -> Check:
    name = "NIM image"
    if isinstance(image, Failure):
        return Check(
            name, "warn", f"{profile.nim_image}: docker can't tell", "Mend docker, then look again."
        )
    if image is not None:
        return Check(name, "pass", f"{profile.nim_image}, {size_words(image)}")
    return Check(
        name,
        "warn",
        f"{profile.nim_image} is not on this machine",
        f"Log in (`echo \"${KEY_VARIABLE}\" | docker login nvcr.io -u '$oauthtoken' "
        f"--password-stdin`), then `docker pull {profile.nim_image}`; {_LOCAL_SERVER}.",
    )


def _key_check(tail: Tail) -> Check:
    if tail.registry_key:
        return Check("NGC key", "pass", f"{KEY_VARIABLE} is set")
    return Check(
        "NGC key",
        "warn",
        f"{KEY_VARIABLE} is not set",
        "Make a key at https://org.ngc.nvidia.com/setup/api-keys and export it before deploying "
        f"a NIM; {_LOCAL_SERVER}.",
    )


def size_words(count: int) -> str:
    """Bytes in GB of 1e9, or in MB of 1e6 where that says more."""
    return gigabytes(count) if count >= 1_000_000_000 else f"{count / 1e6:.0f} MB"
