"""Findings: what looks like a secret or like personal data, by its form alone.

Few false alarms count for more than completeness: values that documentation uses as examples (RFC
2606 names, RFC 5737 addresses, 555-01xx telephone numbers, providers' published samples and test
cards, placeholders) are no findings. A finding never holds the value itself.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.corpus.records import Finding

ENTROPY_MIN = 3.0
"""Bits a character from which an assigned value is no ordinary word. Ours."""
_SHOWN = 2
_PLACEHOLDER = re.compile(
    r"example|sample|dummy|placeholder|redacted|changeme|change_me|your[-_ ]?|my[-_]?secret|xxxx|"
    r"\*{3}|\.\.\.|…|12345|abcde|(.)\1{5}",
    re.IGNORECASE,
)
_ORDINARY = frozenset(
    {
        *("password", "passwd", "passw0rd", "p4ssw0rd", "pass", "pwd", "secret", "hunter2"),
        *("user", "username", "token", "key", "test"),
    }
)
_EXAMPLE_HOST = re.compile(
    r"(?:^|\.)(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost|local|domain\.com|"
    r"yourdomain\.com|mycompany\.com|company\.com)$"
)
_FILE_ENDINGS = ("png", "jpg", "jpeg", "gif", "svg", "webp", "js", "css", "py")
_SERVICE_NAMES = frozenset({"git", "noreply", "no-reply", "user", "you", "name"})
_EXAMPLE_NUMBERS = frozenset(
    {
        # Test cards that payment providers publish.
        *("4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556"),
        *("5555555555554444", "5105105105105100", "2223003122003222", "378282246310005"),
        *("371449635398431", "6011111111111117", "6011000990139424", "5200828282828210"),
        # Numbers of the Social Security Administration's own advertisements.
        *("078051120", "219099999", "123456789"),
        # The registry's and the banks' sample IBANs.
        *("GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606"),
        *("CH9300762011623852957", "GB29NWBK60161331926819", "NL91ABNA0417164300"),
        *("ES9121000418450200051332", "IT60X0542811101000000123456", "BE68539007547034"),
        # Public name servers.
        *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222"),
    }
)
_IBAN_LENGTHS = {
    country: size
    for size, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI NL",
        19: "SI",
        20: "AT EE LT LU",
        21: "CH HR LI LV",
        22: "BG DE GB IE RS",
        23: "AE IL",
        24: "AD CZ ES PT RO SA SE SK",
        26: "IS TR",
        27: "FR GR IT MC",
        28: "CY HU PL",
        29: "BR UA",
        31: "MT",
    }.items()
    for country in countries.split()
}
"""Lengths by the IBAN registry (ISO 13616)."""
_VERSION_OCTET_MAX = 31
"""Four numbers that are all this small are a version, not an address."""

Span = tuple[int, int]


@dataclass(frozen=True)
class _Rule:
    """A form, which is only looked for where one of its `hints` stands in the text."""

    kind: str
    hints: tuple[str, ...]
    form: re.Pattern[str]
    holds: Callable[[re.Match[str]], bool]


def _no_sample(match: re.Match[str]) -> bool:
    return not _PLACEHOLDER.search(match[0])


def _mixed(match: re.Match[str]) -> bool:
    """A random value has digits and letters."""
    value = match[0]
    return _no_sample(match) and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _assigned(match: re.Match[str]) -> bool:
    """A value that looks random, given to a name that says what it is."""
    value, start = match["value"], match.start()
    return (
        bool(_SECRET_NAME.search(match.string, max(0, start - _NAME_MAX), start))
        and not _PLACEHOLDER.search(value)
        and any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and entropy(value) >= ENTROPY_MIN
    )


def _signed_in(match: re.Match[str]) -> bool:
    value = match["value"]
    return (
        value.lower() not in _ORDINARY
        and not _PLACEHOLDER.search(value)
        and not _EXAMPLE_HOST.search(match["host"].lower())
    )


def _rule(kind: str, hints: str, form: str, holds: Callable[[re.Match[str]], bool]) -> _Rule:
    return _Rule(kind, tuple(hints.split("|")), re.compile(form), holds)


_SECRETS = (
    _rule(
        "private key",
        "PRIVATE KEY",
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?=\s*\w)",
        lambda match: True,
    ),
    _rule("AWS access key", "AKIA|ASIA", r"\bA[KS]IA[0-9A-Z]{16}\b", _no_sample),
    _rule("Google API key", "AIza", r"\bAIza[\w-]{35}(?![\w-])", _no_sample),
    _rule("Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}==", _no_sample),
    _rule(
        "GitHub token",
        "gh|github_pat_",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})",
        _no_sample,
    ),
    _rule("GitLab token", "glpat-", r"\bglpat-[\w-]{20,}", _no_sample),
    _rule("Slack token", "xox", r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}", _mixed),
    _rule(
        "Slack webhook",
        "hooks.slack.com",
        r"hooks\.slack\.com/services/T\w+/B\w+/\w{16,}",
        _no_sample,
    ),
    _rule("Stripe key", "_live_", r"\b[sr]k_live_[0-9A-Za-z]{16,}", _no_sample),
    _rule("OpenAI or Anthropic key", "sk-", r"\bsk-[A-Za-z0-9_-]{20,}", _mixed),
    _rule("NVIDIA API key", "nvapi-", r"\bnvapi-[\w-]{20,}", _mixed),
    _rule("Hugging Face token", "hf_", r"\bhf_[A-Za-z0-9]{30,}", _no_sample),
    _rule("JSON web token", "eyJ", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", _no_sample),
    _rule(
        "password in a URL",
        "://",
        r"://[^\s/:@<>\"'{}$\[\]()]{1,80}:(?P<value>[^\s/@<>\"'{}$\[\]()]{3,80})@(?P<host>[\w.-]+)",
        _signed_in,
    ),
)
_ASSIGNED = re.compile(
    r"[:=][ \t]{0,3}[\"']?(?P<value>[\w+/=~!@#%^&*-]{8,100})(?![\w.(\[])", re.ASCII
)
_SECRET_NAME = re.compile(
    r"(?:passw(?:or)?d|pwd|secret|(?:api|access|private)[_-]?key|token)[\"']?[ \t]{0,3}\Z",
    re.IGNORECASE,
)
_NAME_MAX = 20
_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}(?P<top>[A-Za-z]{2,24})(?![\w-])")
_LOCAL = re.compile(r"[\w.+%-]+\Z", re.ASCII)
_LOCAL_MAX = 64
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_NUMBERS = re.compile(r"\d[\d ./()-]{5,60}\d")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\d.-])")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\d-])")
_PHONE = re.compile(
    r"(?<![\w+])\+\d{1,3}[ ./-]?(?:\(\d{1,4}\)[ ./-]?)?\d(?:[ ./-]?\d){5,11}(?![\d-])"
    r"|(?<![\w-])(?:\([2-9]\d\d\) ?|[2-9]\d\d-)[2-9]\d\d-\d{4}(?![\d-])"
)
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)")
_CARD_NETWORK = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}"
)
_FICTIONAL = re.compile(r"55501\d\d\Z|555\d{4}\Z")


def find_in(document: str, path: str, text: str) -> list[Finding]:
    """What looks sensitive in a document, in reading order.

    Args:
        document: its id.
        path: its path.
        text: its normalised text.
    """
    found: list[Finding] = []
    behind = 0
    line = 1
    counted = 0
    for (start, end), kind, group in sorted(
        _suspects(text), key=lambda one: (one[0][0], -one[0][1])
    ):
        if start < behind:
            continue
        behind = end
        line, counted = line + text.count("\n", counted, start), start
        excerpt = f"{text[start : start + _SHOWN]}… ({end - start} characters)"
        found.append(Finding(document, path, kind, group, line, excerpt))
    return found


def entropy(value: str) -> float:
    """Shannon's entropy of a value's characters, in bits a character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())


Suspect = tuple[Span, str, Literal["secret", "personal"]]


def _suspects(text: str) -> Iterator[Suspect]:
    for rule in _SECRETS:
        if any(hint in text for hint in rule.hints):
            for match in rule.form.finditer(text):
                if rule.holds(match):
                    group = "value" if "value" in match.re.groupindex else 0
                    yield match.span(group), rule.kind, "secret"
    for match in _ASSIGNED.finditer(text):
        if _assigned(match):
            yield match.span("value"), "assigned secret", "secret"
    for span in _mails(text):
        yield span, "e-mail address", "personal"
    for match in _IBAN.finditer(text):
        inside = match.start() and text[match.start() - 1].isalnum()
        if not inside and (size := _iban_size(match[0])):
            yield (match.start(), match.start() + size), "IBAN", "personal"
    for match in _NUMBERS.finditer(text):
        for kind, form, holds in _NUMBER_RULES:
            # A plus or a bracket may stand before the first digit.
            for one in form.finditer(text, max(0, match.start() - 1), match.end()):
                if holds(one[0]):
                    yield one.span(), kind, "personal"


def _mails(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text, max(0, at - _LOCAL_MAX), at)
        domain = _DOMAIN.match(text, at + 1)
        if (
            local
            and domain
            and domain["top"].lower() not in _FILE_ENDINGS
            and local[0].lower() not in _SERVICE_NAMES
            and not _EXAMPLE_HOST.search(domain[0].lower())
        ):
            yield local.start(), domain.end()
        at = text.find("@", at + 1)


def _iban_size(text: str) -> int:
    """Characters of the IBAN that a text begins with, its blanks included; 0 for none.

    The check is ISO 7064's MOD 97-10.
    """
    wanted = _IBAN_LENGTHS.get(text[:2], 0)
    places = [place for place, character in enumerate(text) if character != " "][:wanted]
    compact = "".join(text[place] for place in places)
    if not wanted or len(compact) < wanted or compact in _EXAMPLE_NUMBERS:
        return 0
    moved = compact[4:] + compact[:4]
    remainder = int("".join(str(int(character, 36)) for character in moved)) % 97
    return places[-1] + 1 if remainder == 1 else 0


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _is_card(text: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1) on a number that a card network could have given."""
    digits = _digits(text)
    if digits in _EXAMPLE_NUMBERS or not _CARD_NETWORK.fullmatch(digits) or len(set(digits)) < 4:
        return False
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 * (number > 9) for number in doubled) % 10 == 0


def _is_ssn(text: str) -> bool:
    return _digits(text) not in _EXAMPLE_NUMBERS


def _is_phone(text: str) -> bool:
    digits = _digits(text)
    return 8 <= len(digits) <= 15 and not _FICTIONAL.search(digits) and len(set(digits)) > 3


def _is_address(text: str) -> bool:
    """Whether anybody's machine could have it: RFC 5737 and private ranges are nobody's."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    small = max(address.packed) <= _VERSION_OCTET_MAX
    return address.is_global and not small and text not in _EXAMPLE_NUMBERS


_NUMBER_RULES = (
    ("payment card", _CARD, _is_card),
    ("US social security number", _SSN, _is_ssn),
    ("telephone number", _PHONE, _is_phone),
    ("public IP address", _ADDRESS, _is_address),
)
