from __future__ import annotations

import base64
import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.findings import find_in
from pipeline.corpus.records import count_findings

LETTERS = string.ascii_letters + string.digits


def drawn(size, alphabet=LETTERS, seed=3):
    """A value that looks random; the same every time, and nobody's."""
    return "".join(random.Random(seed).choices(alphabet, k=size - 2)) + "a7"


def jwt_part(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


SECRETS = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "AWS access key": "AKIA" + drawn(16, string.ascii_uppercase).upper(),
    "Google API key": "AIza" + drawn(35),
    "Azure storage key": "AccountKey=" + drawn(86) + "==",
    "GitHub token": "ghp_" + drawn(36),
    "GitLab token": "glpat-" + drawn(20),
    "Slack token": "xoxb-" + drawn(24),
    "Slack webhook": "hooks.slack.com/services/T0AB/B0CD/" + drawn(24),
    "Stripe key": "sk_live_" + drawn(24),
    "OpenAI or Anthropic key": "sk-proj-" + drawn(40),
    "NVIDIA API key": "nvapi-" + drawn(64),
    "Hugging Face token": "hf_" + drawn(34),
    "JSON web token": ".".join(
        [jwt_part('{"alg":"HS256"}'), jwt_part('{"sub":"u71x"}'), drawn(43)]
    ),
    "password in a URL": "postgres://svc:q8Zr!m2@db.intern.corp/x",
    "assigned secret": 'password = "q8Zr!m2Lx0"',
}
PERSONAL = {
    "e-mail address": "jane.doe@kernel.org",
    "IBAN": "DE02 1203 0000 0000 2020 51",
    "payment card": "4539 1488 0343 6467",
    "US social security number": "536-90-4399",
    "telephone number": "+49 30 901820",
    "public IP address": "129.22.8.215",
}


@pytest.mark.parametrize(("kind", "value"), [*SECRETS.items(), *PERSONAL.items()])
def test_every_form_is_found_where_it_stands_and_its_value_is_not_repeated(kind, value):
    text = f"# Setup\n\nUse {value}\nfor all of it.\n"
    (found,) = find_in("d1", "a.md", text)
    assert (found.kind, found.line, found.path, found.document) == (kind, 3, "a.md", "d1")
    assert found.group == ("secret" if kind in SECRETS else "personal")
    shown, _, rest = found.excerpt.partition("… (")
    assert len(shown) == 2
    assert shown in value
    assert rest.removesuffix(" characters)").isdigit()


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE is what the manual writes",
        "password = os.environ['DB_PASSWORD']",
        'password: "changeme123456"',
        "token = tokenizer.encode_plus2(text)",
        "api_key=YOUR_API_KEY_1234567890",
        "api_key: ${OPENAI_API_KEY_2}",
        "secret: internationalization",
        "https://user:password@example.com/x and https://user:s3cr3tpw@example.org",
        "write to jane@example.com, root@localhost or git@github.com:org/repo",
        "logo@2x.png",
        "call 555-0142, (212) 555-0187 or +1 212 555 0100",
        "127.0.0.1, 10.0.0.12, 192.168.1.4, 192.0.2.44, 198.51.100.7, 203.0.113.9, 8.8.8.8",
        "version 2.10.0.31 and section 1.2.3.4",
        "4111 1111 1111 1111 or 4242424242424242",
        "4539 1488 0343 6468 fails the checksum",
        "IBAN DE89 3704 0044 0532 0130 00, GB82WEST12345698765432",
        "DE03 1203 0000 0000 2020 51 fails the checksum",
        "000-12-3456, 078-05-1120, 123-45-6789",
        "U+03E2-03EF, U+0460-0463",
        "2026-11-21 10:30:00, 1234567890123, 3.141592653589793",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_what_documentation_writes_as_an_example_is_no_finding(text):
    assert find_in("d1", "a.md", text) == []


def test_one_value_is_one_finding_and_they_come_in_reading_order():
    token = "ghp_" + drawn(36)
    text = f"token = {token}\n\nmail a.b@kernel.org\n\nphone +49 30 901820\n"
    found = find_in("d1", "a.md", text)
    assert [(one.kind, one.line) for one in found] == [
        ("GitHub token", 1),
        ("e-mail address", 3),
        ("telephone number", 5),
    ]
    counts = count_findings(found)
    assert (counts.secrets, counts.personal, counts.documents) == (1, 2, 1)


pieces = st.one_of(
    st.text(max_size=30),
    st.sampled_from([*SECRETS.values(), *PERSONAL.values(), "@", "+", "(", "://", "eyJ.", "\n"]),
    st.text(alphabet="0123456789 -./()+", max_size=80),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=12).map("".join))
def test_any_text_can_be_looked_through_and_no_value_leaks(text):
    for found in find_in("d1", "a.md", text):
        assert 1 <= found.line <= text.count("\n") + 1
        shown = found.excerpt.partition("… (")[0]
        assert len(shown) <= 2
        assert shown in text


@pytest.mark.parametrize(
    "unit",
    [
        *("a@", "@a.", "1 ", "1", "12.", "+1(", "AB12", "eyJaaaaaaaaa.", "://a:", "key="),
        *("token: x1-", "a" * 63 + ".", "-----BEGIN A ", "xoxb-a1"),
    ],
)
def test_no_text_makes_it_slow(unit):
    text = unit * (100_000 // len(unit))
    started = time.process_time()
    find_in("d1", "a.md", text)
    assert time.process_time() - started < 3
