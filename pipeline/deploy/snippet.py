"""How an endpoint is called: for a shell, for Python, and what re-indexing takes. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from urllib.parse import urlsplit

from pipeline.deploy.records import ServiceRecord
from pipeline.deploy.services import KEY_VARIABLE, is_loopback

EXAMPLE = "How do I reset the device?"
"""The query of the snippets."""


def key_variable_of(record: ServiceRecord, environment: Mapping[str, str]) -> str:
    """The variable with the key that a service wants; empty where it wants none.

    A NIM asks nobody; the local server asks beyond loopback, and where the variable is set.
    """
    if record.target == "nim":
        return ""
    beyond = not is_loopback(urlsplit(record.url).hostname or "")
    return KEY_VARIABLE if beyond or environment.get(KEY_VARIABLE) else ""


def snippets(record: ServiceRecord, *, dimension: int, key_variable: str = "") -> Mapping[str, str]:
    """Texts to copy, by name: `curl`, `python`, `reindex`.

    Args:
        record: the service.
        dimension: numbers a vector has.
        key_variable: the variable with the key that the service wants; empty for none.
    """
    return {
        "curl": _curl(record, key_variable),
        "python": _python(record, dimension, key_variable),
        "reindex": _reindex(record, dimension),
    }


def _curl(record: ServiceRecord, key_variable: str) -> str:
    body = {"model": record.model, "input": [EXAMPLE], "input_type": "query"}
    lines = [
        f"curl -sS {shlex.quote(record.url + '/v1/embeddings')}",
        "-H 'Content-Type: application/json'",
        # In double quotes: the shell puts the key in, and no text holds it.
        *([f'-H "Authorization: Bearer ${key_variable}"'] if key_variable else []),
        f"-d {shlex.quote(json.dumps(body))}",
    ]
    return " \\\n  ".join(lines)


def _python(record: ServiceRecord, dimension: int, key_variable: str) -> str:
    key = f'os.environ["{key_variable}"]' if key_variable else '"none"'
    return "\n".join(
        [
            *(["import os", ""] if key_variable else []),
            "from openai import OpenAI",
            "",
            f"client = OpenAI(base_url={json.dumps(record.url + '/v1')}, api_key={key})",
            "answer = client.embeddings.create(",
            f"    model={json.dumps(record.model)},",
            f"    input=[{json.dumps(EXAMPLE)}],",
            '    extra_body={"input_type": "query"},  # "passage" for what is searched',
            ")",
            f"print(len(answer.data[0].embedding))  # {dimension}",
        ]
    )


def _reindex(record: ServiceRecord, dimension: int) -> str:
    return "\n".join(
        [
            "Vectors of another model can't be compared with these: embed every passage again.",
            f"1. Make a new index of {dimension} dimensions with the inner product, as it was "
            "measured.",
            f'2. Embed the passages with input_type "passage" and the model {record.model}, some '
            'dozens a request; "truncate": "END" cuts those that are too long.',
            '3. Let the search embed its queries with input_type "query", and point it at the new '
            "index at one moment.",
            "4. Keep the old index until the new one is trusted.",
        ]
    )
