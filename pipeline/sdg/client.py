"""The client of an OpenAI-compatible endpoint: one call in, one raw reply out, kept at once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import openai

from pipeline.errors import EndpointFailure, Interruption
from pipeline.sdg import refusals
from pipeline.sdg.address import Address, address_of
from pipeline.sdg.calls import Call, CallJournal, is_answer, is_page
from pipeline.sdg.limiter import STUCK_SECONDS, Limiter, Pace, start_rate
from pipeline.sdg.probe import REMEMBERED, Form, Memory, find_form, request_of, simpler
from pipeline.sdg.refusals import Verdict, verdict_on
from pipeline.sdg.replies import listed_models
from pipeline.sdg.turns import Again, GivenUp
from pipeline.settings import SdgSettings

ATTEMPTS_MAX = 8
"""So often one call is asked for in vain while others are answered; 429 doesn't count."""
PAGES_MAX = 3
"""So many pages instead of JSON, and never an answer: it is no API."""

_BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_TELL_SECONDS = 4.0
"""Who waits so long wants to know why."""


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


class _Waits(Exception):
    """An attempt came to nothing, and may not the next time."""

    def __init__(self, problem: str, status: int = 0, asked: float | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status
        self.asked = asked


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
            journal: where every reply goes before it is read; what is learned of the endpoint
                lies beside it.
            clock: time.
            stop: once set, no further call starts.
        """
        self._settings = settings
        self._environment = environment
        self._journal = journal
        self._clock = clock
        self._stop = stop
        self._guard = threading.Lock()
        self._preparing = threading.Lock()
        self._memory = Memory(journal.path.with_name(REMEMBERED))
        self._key = ""
        self._address: Address | None = None
        self._limiter: Limiter | None = None
        self._ready = False
        self._connections = threading.local()
        self._refusal: EndpointFailure | None = None
        self._forms: dict[str, Form] = {}
        self._failing: dict[str, tuple[int, int]] = {}
        """Calls without an answer: tries in vain, and how many others were paid before them."""
        self._fresh: set[str] = set()
        self._pages = 0
        self._notes: dict[str, None] = {}
        self.offered: tuple[str, ...] = ()
        """The models that the endpoint lists, once it was asked."""
        self.paid = 0
        """Calls answered by the endpoint, not by the journal; the tiny ones not counted."""

    def warnings(self) -> list[str]:
        """What the user should know about this endpoint, though it refuses nothing."""
        found = []
        models = {self._settings.model, self._settings.judge_model or self._settings.model}
        if self.offered and (unlisted := sorted(models.difference(self.offered))):
            found.append(f"The endpoint doesn't list {', '.join(unlisted)}, but answers for it.")
        for model, form in sorted(self._forms.items()):
            if form.mode == "prompt":
                found.append(
                    f"{model} follows no JSON schema here: more of its replies will be damaged."
                )
        address = address_of(self._settings)
        if self._key and address.scheme == "http" and not address.loopback:
            found.append("The key travels unencrypted: sdg.base_url is http, not https.")
        return found

    def take_notes(self) -> list[str]:
        """What calls wait for, each told once; empty where nothing waits for long."""
        with self._guard:
            notes, self._notes = list(self._notes), {}
        return notes

    def is_fresh(self, call: Call) -> bool:
        """Whether the endpoint itself answered this call, and not the journal."""
        with self._guard:
            return call.key in self._fresh

    def pace(self) -> Pace | None:
        """How fast the endpoint is asked; None before it was."""
        with self._guard:
            return self._limiter.pace(self._clock.now()) if self._limiter else None

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Wait, or less when the stage ends."""
        self._clock.sleep(seconds)

    def delay(self) -> float:
        """Seconds until an attempt may start; infinity until one of those out ends."""
        with self._guard:
            limiter = self._limited()
            now = self._clock.now()
            # The first attempt finds out how to ask; it goes alone.
            if not self._ready and limiter.in_flight:
                return math.inf
            return limiter.delay(now)

    def begin(self) -> float:
        """Count an attempt; the time of its start."""
        with self._guard:
            now = self._clock.now()
            self._limited().started(now)
            return now

    def rested(self, seconds: float) -> None:
        """Nothing was asked for so long because somebody wanted it."""
        with self._guard:
            self._limited().rested(seconds, self._clock.now())

    def attempt(self, call: Call, started: float) -> str | Again | GivenUp:
        """One attempt at a call; its raw reply is in the journal when this returns.

        Args:
            call: what to ask.
            started: what `begin` said.

        Raises:
            EndpointFailure: the endpoint refuses, is gone, answers nonsense, or stays silent.
            Stopped: the stage is ending.
            SystemRefusal: the reply cannot be written.
        """
        if self._stop.is_set():
            raise Stopped
        try:
            body = self._answer(call)
        except _Waits as waits:
            return self._wait(call, started, waits)
        with self._guard:
            now = self._clock.now()
            self._limited().succeeded(now, now - started)
            self._memory_of_rate()
            self._failing.pop(call.key, None)
            self._fresh.add(call.key)
            self.paid += 1
        return body

    def _answer(self, call: Call) -> str:
        self._prepare(call.model)
        api = self._connection()
        while True:
            form = self._forms[call.model]
            body = self._send(api, call, form)
            if body is not None:
                return body
            with self._guard:
                # Another thread may have found a form already.
                if self._forms[call.model] == form:
                    easier = simpler(form)
                    assert easier is not None
                    self._forms[call.model] = easier
                    self._memory.learn_form(self._place().base, call.model, easier)

    def _send(self, api: openai.OpenAI, call: Call, form: Form) -> str | None:
        """One request; None where its form is refused and there is a simpler one."""
        try:
            response = api.chat.completions.with_raw_response.create(**request_of(call, form))
        except openai.APITimeoutError:
            raise _Waits(f"no reply within {self._settings.timeout_seconds:g} seconds") from None
        except openai.APIConnectionError as error:
            raise _Waits(f"the connection failed ({_cause(error)})") from None
        except openai.APIStatusError as error:
            self._refused(error, call, form)
            return None
        body = self._cleaned(response.text)
        self._journal.keep(call, body, form.mode)
        if is_answer(body):
            return body
        if is_page(body):
            with self._guard:
                self._pages += 1
            if not self.paid and self._pages >= PAGES_MAX:
                raise refusals.not_an_api(self._settings, refusals.excerpt(body, self._key))
            raise _Waits("a page came instead of JSON")
        raise _Waits(f"status {response.status_code} without an answer")

    def _refused(self, error: openai.APIStatusError, call: Call, form: Form) -> None:
        """Returns where a simpler form is worth trying."""
        status, said = error.status_code, refusals.excerpt(error.response.text, self._key)
        verdict = verdict_on(status, error.response.text)
        if verdict is Verdict.WAIT:
            asked = refusals.retry_after(
                error.response.headers.get("retry-after"), self._clock.now()
            )
            raise _Waits(f"status {status}: {said}", status, asked)
        if verdict is Verdict.SIMPLER and simpler(form):
            return
        if status in (401, 403):
            raise refusals.key_refused(self._settings, status)
        if status in (404, 410):
            raise refusals.model_gone(self._settings, call.model, status, self.offered)
        raise refusals.refused(self._settings, status, said)

    def _wait(self, call: Call, started: float, waits: _Waits) -> Again | GivenUp:
        with self._guard:
            now, limiter = self._clock.now(), self._limited()
            if limiter.silence(now) > STUCK_SECONDS:
                minutes = limiter.silence(now) / 60
                raise refusals.silent(self._settings, minutes, waits.problem)
            if waits.status == 429:
                pause = limiter.refused(now, started, waits.asked)
                self._memory_of_rate()
                self._tell(pause, waits.problem)
                # The hold is everybody's; this call goes first after it.
                return Again(0.0)
            limiter.failed(now)
            tries, paid_before = self._failing.get(call.key, (0, self.paid))
            tries += 1
            self._failing[call.key] = tries, paid_before
            if tries >= ATTEMPTS_MAX and self.paid > paid_before:
                del self._failing[call.key]
                return GivenUp(f"no answer in {tries} attempts: {waits.problem}")
            backoff = _BACKOFF_SECONDS[min(tries, len(_BACKOFF_SECONDS)) - 1]
            pause = backoff if waits.asked is None else min(waits.asked, _BACKOFF_SECONDS[-1])
            self._tell(pause, waits.problem)
            return Again(pause)

    def _tell(self, pause: float, problem: str) -> None:
        if pause >= _TELL_SECONDS:
            self._notes[f"Waiting {pause:.0f} s before asking again: {problem}."] = None

    def _limited(self) -> Limiter:
        if self._limiter is None:
            start = self._start()
            learned = self._memory.rate(self._place().host, start)
            self._limiter = Limiter(
                learned or start,
                self._settings.concurrency,
                self._clock.now(),
                start,
                local=self._place().loopback,
            )
        return self._limiter

    def _memory_of_rate(self) -> None:
        self._memory.learn_rate(self._place().host, self._start(), self._limited().rate)

    def _start(self) -> float:
        place = self._place()
        return start_rate(place.host, place.loopback, self._settings.requests_per_minute)

    def _place(self) -> Address:
        if self._address is None:
            self._address = address_of(self._settings)
        return self._address

    def _prepare(self, model: str) -> None:
        """Try the connection, once for all threads, and find the forms of its models."""
        with self._preparing:
            if self._refusal:
                raise self._refusal
            try:
                if not self._ready:
                    self._key = read_key(self._settings, self._environment)
                    self._preflight(self._connection())
                for name in dict.fromkeys((model, self._judge())):
                    if name not in self._forms:
                        self._forms[name] = self._form(self._connection(), name)
            except EndpointFailure as failure:
                self._refusal = failure
                raise
            self._ready = True

    def _judge(self) -> str:
        return self._settings.judge_model or self._settings.model

    def _connection(self) -> openai.OpenAI:
        """This thread's own: threads that share a pool spend their time waiting for its lock."""
        api: openai.OpenAI | None = getattr(self._connections, "api", None)
        if api is None:
            api = self._connections.api = self._connected()
        return api

    def _connected(self) -> openai.OpenAI:
        place = self._place()
        api = openai.OpenAI(
            base_url=self._settings.base_url,
            # The client insists on a key; a server on this machine needs none.
            api_key=self._key or "none",
            timeout=self._settings.timeout_seconds,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(
                # The yes was for this host: a redirect must not carry documents to another one.
                follow_redirects=False,
                # Nor may a proxy: who agreed to this machine agreed to nobody else.
                trust_env=not place.loopback,
                # Certificates take a while to load, and plain http has none.
                verify=place.scheme == "https",
            ),
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
        if is_page(body):
            raise refusals.not_an_api(self._settings, refusals.excerpt(body, self._key))
        self.offered = listed_models(body)

    def _form(self, api: openai.OpenAI, model: str) -> Form:
        """How a model wants to be asked: as remembered, or found by tiny calls."""
        base = self._place().base
        if known := self._memory.form(base, model):
            return known
        found = find_form(lambda call, form: self._send(api, call, form))(model)
        assert found is not None
        with self._guard:
            self._memory.learn_form(base, model, found)
        return found

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


def _cause(error: openai.APIConnectionError) -> str:
    cause = error.__cause__ or error
    return refusals.excerpt(str(cause) or type(cause).__name__, "")
