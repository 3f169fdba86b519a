"""The client of an OpenAI-compatible endpoint: one call in, one raw reply out, kept at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import openai

from pipeline.errors import EndpointFailure, Interruption
from pipeline.recipe import SdgSettings
from pipeline.sdg import refusals
from pipeline.sdg.address import address_of
from pipeline.sdg.calls import Call, CallJournal, is_answer
from pipeline.sdg.refusals import Verdict, verdict_on
from pipeline.sdg.replies import listed_models

ATTEMPTS_MAX = 8
"""Then a call is given up, and the stage with it."""

_BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_HOLD_SECONDS = (15.0, 30.0, 60.0)
"""After a 429 that names no time: the hosted limits count by the minute."""
_WAIT_MAX_SECONDS = 120.0
_TELL_SECONDS = 4.0
"""Who waits so long wants to know why."""

_NO_THINKING: Mapping[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
_SCHEMA_UNTHINKING, _SCHEMA, _JSON, _PLAIN = range(4)
"""Ways to ask for JSON, from the strictest; an endpoint that refuses one gets the next."""


class Stopped(Interruption):
    """A call was not started because the stage is ending."""


@dataclass(frozen=True)
class Clock:
    """Time, handed in.

    Attributes:
        now: seconds since the epoch.
        sleep: waits so many seconds, or less when the stage ends.
    """

    now: Callable[[], float]
    sleep: Callable[[float], object]


class Client:
    """Asks one endpoint, from any number of threads. Nothing is asked that the journal answers."""

    def __init__(
        self,
        settings: SdgSettings,
        environment: Mapping[str, str],
        journal: CallJournal,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        """Makes no connection; that waits for the first call that the journal can't answer.

        Args:
            settings: address, models and timeouts.
            environment: where the key's variable is looked up.
            journal: where every reply goes before it is read.
            clock: time.
            stop: once set, no further call starts.
        """
        self._settings = settings
        self._environment = environment
        self._journal = journal
        self._clock = clock
        self._stop = stop
        self._guard = threading.Lock()
        self._key = ""
        self._api: openai.OpenAI | None = None
        self._refusal: EndpointFailure | None = None
        self._dialect = _SCHEMA_UNTHINKING
        self._notes: dict[str, None] = {}
        self.offered: tuple[str, ...] = ()
        """The models that the endpoint lists, once it was asked."""
        self.paid = 0
        """Calls answered by the endpoint, not by the journal."""

    def warnings(self) -> list[str]:
        """What the user should know about this endpoint, though it refuses nothing."""
        found = []
        models = {self._settings.model, self._settings.judge_model or self._settings.model}
        if self.offered and (unlisted := sorted(models.difference(self.offered))):
            found.append(f"The endpoint doesn't list {', '.join(unlisted)}, but answers for it.")
        address = address_of(self._settings)
        if self._key and address.scheme == "http" and not address.loopback:
            found.append("The key travels unencrypted: sdg.base_url is http, not https.")
        return found

    def take_notes(self) -> list[str]:
        """What calls wait for, each told once; empty where nothing waits for long."""
        with self._guard:
            notes, self._notes = list(self._notes), {}
        return notes

    def ask(self, call: Call) -> str:
        """The raw body of a chat completion; it is in the journal when this returns.

        Raises:
            EndpointFailure: the endpoint refuses, is gone, answers nonsense, or stays silent.
            Stopped: the stage is ending.
            SystemRefusal: the reply cannot be written.
        """
        if (known := self._journal.body(call.key)) is not None:
            return known
        api = self._prepared()
        waited = 0
        while True:
            if self._stop.is_set():
                raise Stopped
            problem, pause = self._attempt(api, call, waited)
            if problem is None:
                body = self._journal.body(call.key)
                assert body is not None
                return body
            if pause is None:
                continue
            waited += 1
            if waited == ATTEMPTS_MAX:
                raise refusals.exhausted(self._settings, ATTEMPTS_MAX, problem)
            pause = min(pause, _WAIT_MAX_SECONDS)
            if pause >= _TELL_SECONDS:
                with self._guard:
                    self._notes[f"Waiting {pause:.0f} s before asking again: {problem}."] = None
            self._clock.sleep(pause)

    def _attempt(
        self, api: openai.OpenAI, call: Call, waited: int
    ) -> tuple[str | None, float | None]:
        """One request: the problem and how long to wait; no problem, or no wait, where none is."""
        backoff = _BACKOFF_SECONDS[min(waited, len(_BACKOFF_SECONDS) - 1)]
        dialect = self._dialect
        try:
            response = api.chat.completions.with_raw_response.create(**_request(call, dialect))
        except openai.APITimeoutError:
            return f"no reply within {self._settings.timeout_seconds:g} seconds", backoff
        except openai.APIConnectionError as error:
            return f"the connection failed ({_cause(error)})", backoff
        except openai.APIStatusError as error:
            return self._refused(error, call, dialect, waited, backoff)
        body = self._cleaned(response.text)
        self._journal.keep(call, body)
        if is_answer(body):
            with self._guard:
                self.paid += 1
            return None, None
        if _is_page(body):
            raise refusals.not_an_api(self._settings, refusals.excerpt(body, self._key))
        return f"status {response.status_code} without an answer", backoff

    def _refused(
        self, error: openai.APIStatusError, call: Call, dialect: int, waited: int, backoff: float
    ) -> tuple[str, float | None]:
        status, said = error.status_code, refusals.excerpt(error.response.text, self._key)
        verdict = verdict_on(status, error.response.text)
        if verdict is Verdict.WAIT:
            asked = refusals.retry_after(
                error.response.headers.get("retry-after"), self._clock.now()
            )
            if status == 429:
                backoff = _HOLD_SECONDS[min(waited, len(_HOLD_SECONDS) - 1)]
            return f"status {status}: {said}", backoff if asked is None else asked
        if verdict is Verdict.SIMPLER and dialect < _PLAIN:
            with self._guard:
                self._dialect = max(self._dialect, dialect + 1)
            return f"status {status}: {said}", None
        if status in (401, 403):
            raise refusals.key_refused(self._settings, status)
        if status in (404, 410):
            raise refusals.model_gone(self._settings, call.model, status, self.offered)
        raise refusals.refused(self._settings, status, said)

    def _prepared(self) -> openai.OpenAI:
        """The connection, made and tried once for all threads."""
        with self._guard:
            if self._refusal:
                raise self._refusal
            if self._api is None:
                try:
                    self._key = read_key(self._settings, self._environment)
                    api = self._connected()
                    self._preflight(api)
                except EndpointFailure as failure:
                    self._refusal = failure
                    raise
                self._api = api
            return self._api

    def _connected(self) -> openai.OpenAI:
        api = openai.OpenAI(
            base_url=self._settings.base_url,
            # The client insists on a key; a server on this machine needs none.
            api_key=self._key or "none",
            timeout=self._settings.timeout_seconds,
            max_retries=0,
            # The yes was for this host: a redirect must not carry documents to another one.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )
        # Read from the environment, and none of this endpoint's business.
        api.organization = api.project = api.admin_api_key = None
        return api

    def _preflight(self, api: openai.OpenAI) -> None:
        """One free request that finds a wrong key or address before anything is paid."""
        try:
            body = api.models.with_raw_response.list().text
        except openai.APIConnectionError as error:
            raise refusals.unreachable(self._settings, _cause(error)) from error
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise refusals.key_refused(self._settings, error.status_code) from None
            # Not every server lists its models, and a busy one may answer the calls.
            return
        if _is_page(body):
            raise refusals.not_an_api(self._settings, refusals.excerpt(body, self._key))
        self.offered = listed_models(body)

    def _cleaned(self, body: str) -> str:
        return body.replace(self._key, "[key]") if self._key else body


def read_key(settings: SdgSettings, environment: Mapping[str, str]) -> str:
    """The key, from the environment; empty for a server on this machine without one.

    Raises:
        EndpointFailure: the address is none, or the key is missing or cannot be sent.
    """
    address = address_of(settings)
    key = environment.get(settings.key_variable, "").strip()
    if not key and not address.loopback:
        raise refusals.missing_key(settings)
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise refusals.unusable_key(settings)
    return key


def _request(call: Call, dialect: int) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": call.model,
        "messages": [dict(message) for message in call.messages],
        "temperature": call.temperature,
        "top_p": call.top_p,
        "max_tokens": call.max_tokens,
    }
    if dialect <= _SCHEMA:
        schema = {"name": call.purpose, "schema": dict(call.schema), "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    if dialect == _SCHEMA_UNTHINKING:
        request["extra_body"] = dict(_NO_THINKING)
    if dialect == _JSON:
        request["response_format"] = {"type": "json_object"}
    return request


def _is_page(body: str) -> bool:
    return body.lstrip()[:1] not in ("{", "[")


def _cause(error: openai.APIConnectionError) -> str:
    cause = error.__cause__ or error
    return refusals.excerpt(str(cause) or type(cause).__name__, "")
