from __future__ import annotations

import email.utils
import json
import socket
import threading
from dataclasses import replace

import pytest
from endpoint import CHAT, MODEL, MODELS, PROBE, Answer, ScriptedEndpoint, completion

from pipeline.errors import EndpointFailure
from pipeline.files import read_json
from pipeline.sdg.address import is_loopback
from pipeline.sdg.allowance import Allowance
from pipeline.sdg.calls import Call, CallJournal
from pipeline.sdg.client import ATTEMPTS_MAX, PAGES_MAX, Client, Clock, Stopped, read_key
from pipeline.sdg.probe import REMEMBERED, Form
from pipeline.sdg.turns import Unanswered, converse

KEY = "nvapi-0123456789abcdefSECRET"
CALL = Call(
    purpose="generate",
    model=MODEL,
    messages=({"role": "user", "content": "<slots>\n[]\n</slots>"},),
    temperature=0.6,
    top_p=0.95,
    max_tokens=100,
    schema={"type": "object"},
)


class Unhindered:
    """Nobody asks anything of the worker."""

    finish_asked = False

    def poll(self):
        pass


class Asking:
    """A client with a journal, and a clock that goes on only while somebody sleeps."""

    def __init__(self, settings, folder, environment):
        self.start = self.time = 1_000_000.0
        self.stop = threading.Event()
        self.journal = CallJournal(folder / "calls.jsonl")
        self.settings = settings
        clock = Clock(lambda: self.time, self.sleep)
        self.client = Client(settings, environment, self.journal, clock, self.stop)

    def sleep(self, seconds):
        self.time += seconds

    @property
    def waited(self):
        """Seconds that were slept so far."""
        return round(self.time - self.start, 1)

    def ask_all(self, calls, control=None):
        """The raw replies to some calls, or why there is none."""

        def one(call):
            try:
                return (yield call)
            except Unanswered as why:
                return why

        return list(
            converse(
                [one(call) for call in calls],
                known=lambda call: self.journal.body(call.key),
                caller=self.client,
                width=self.settings.concurrency,
                control=control or Unhindered(),
                stop=threading.Event(),
                allowance=Allowance(0, 1),
            )
        )

    def ask(self, **changes):
        return self.ask_all([replace(CALL, **changes)])[0]

    def refusal(self, **changes):
        with pytest.raises(EndpointFailure) as caught:
            self.ask(**changes)
        failure = caught.value
        for sentence in (failure.happened, failure.safe, failure.next_step):
            assert sentence
            assert KEY not in sentence
        return failure


@pytest.fixture
def asking(settings, tmp_path):
    made = Asking(settings, tmp_path, {"NVIDIA_API_KEY": KEY})
    yield made
    made.journal.close()


def test_a_reply_is_journalled_and_never_asked_for_again(asking, endpoint):
    assert asking.ask() == asking.ask()
    assert len(endpoint.chats()) == 1
    assert asking.client.paid == 1
    assert endpoint.chats()[0].headers["authorization"] == f"Bearer {KEY}"
    assert endpoint.chats()[0].body["temperature"] == 0.6


def test_a_journalled_call_needs_neither_network_nor_key(asking, settings, tmp_path):
    asking.ask()
    asking.journal.close()
    offline = replace(settings, base_url="https://nowhere.invalid/v1")
    assert Asking(offline, tmp_path, {}).ask()


def test_models_are_asked_for_once_before_the_first_call(asking, endpoint):
    asking.ask()
    asking.ask(sample=1)
    assert [request.path for request in endpoint.requests] == [MODELS, CHAT, CHAT, CHAT]
    assert asking.client.offered == (MODEL,)


@pytest.mark.parametrize("path", [CHAT, MODELS])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_named_by_its_variable_and_not_shown(asking, endpoint, status, path):
    endpoint.script(Answer(status, body=json.dumps({"error": f"bad key {KEY}"})), path=path)
    failure = asking.refusal()
    assert "NVIDIA_API_KEY" in failure.happened
    assert str(status) in failure.happened
    assert len(endpoint.chats()) == (1 if path == CHAT else 0)
    assert asking.waited == 0


@pytest.mark.parametrize("status", [404, 410])
def test_a_model_that_is_gone_names_what_is_offered_and_the_successor(settings, tmp_path, status):
    offered = ("vendor/a", settings.successor, "vendor/b")
    with ScriptedEndpoint(models=offered) as endpoint:
        endpoint.script(Answer(status))
        gone = replace(settings, base_url=endpoint.base_url, model="vendor/old")
        failure = Asking(gone, tmp_path, {}).refusal(model="vendor/old")
    assert "vendor/old" in failure.happened
    assert all(name in failure.happened for name in offered)
    assert f"--set sdg.model={settings.successor}" in failure.next_step


def test_a_successor_that_is_not_offered_is_not_proposed(asking, endpoint, settings):
    endpoint.script(Answer(410))
    failure = asking.refusal()
    assert settings.successor not in failure.next_step
    assert "sdg.model=NAME" in failure.next_step


def test_a_judge_that_is_gone_names_its_own_setting(settings, tmp_path, endpoint):
    endpoint.script(Answer(404))
    both = replace(settings, judge_model="vendor/judge")
    assert "sdg.judge_model=" in Asking(both, tmp_path, {}).refusal(model="vendor/judge").next_step


@pytest.mark.parametrize("path", [CHAT, MODELS, PROBE])
def test_pages_with_status_200_are_no_api_and_no_answer(asking, endpoint, path):
    page = "<!DOCTYPE html><html><body>Please <b>sign in</b></body></html>"
    endpoint.script(*[Answer(body=page)] * PAGES_MAX, path=path)
    failure = asking.refusal()
    assert "sdg.base_url" in failure.next_step
    assert "<" not in failure.happened
    assert asking.journal.body(CALL.key) is None


def test_nobody_listening_is_said_at_once(settings, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asking = Asking(replace(settings, base_url=f"http://127.0.0.1:{port}/v1"), tmp_path, {})
    failure = asking.refusal()
    assert "cannot be reached" in failure.happened
    assert str(port) in failure.happened
    assert asking.waited == 0


def test_a_missing_key_is_named_before_anything_is_sent(settings, tmp_path):
    away = replace(settings, base_url="https://integrate.example.invalid/v1")
    failure = Asking(away, tmp_path, {"OTHER_KEY": KEY}).refusal()
    assert "NVIDIA_API_KEY" in failure.happened
    assert "NVIDIA_API_KEY" in failure.next_step


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(settings, key):
    with pytest.raises(EndpointFailure) as caught:
        read_key(settings, {"NVIDIA_API_KEY": key})
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://h:x/"])
def test_an_address_that_is_none_is_refused(settings, url):
    with pytest.raises(EndpointFailure, match="no http or https address"):
        read_key(replace(settings, base_url=url), {"NVIDIA_API_KEY": KEY})


def test_a_password_in_the_address_is_not_repeated(settings, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:hunter2@127.0.0.1:{free.getsockname()[1]}/v1"
    assert "hunter2" not in Asking(replace(settings, base_url=url), tmp_path, {}).refusal().happened


def test_loopback_is_told_from_elsewhere():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("localhost.example.com", "10.0.0.1", "0.0.0.0", "api.x.com")))


def test_a_local_server_needs_no_key(settings, tmp_path, endpoint, monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "somebody-elses")
    Asking(settings, tmp_path, {}).ask()
    assert "somebody-elses" not in str(endpoint.requests)


def test_429_waits_as_long_as_it_is_told_to(asking, endpoint):
    date = email.utils.formatdate(1_000_042.0, usegmt=True)
    waits = []
    for value in ("7", date, "100000"):
        before = asking.waited
        endpoint.script(Answer(429, headers={"retry-after": value}))
        assert asking.ask(sample=len(waits))
        waits.append(round(asking.waited - before))
    assert waits == [7, 35, 120]


def test_429_without_a_time_waits_for_the_minute_to_pass(asking, endpoint):
    endpoint.script(*[Answer(429)] * 4)
    assert asking.ask()
    assert asking.waited == 15 + 30 + 60 + 60


@pytest.mark.parametrize(
    "bad",
    [
        Answer(500),
        Answer(503, body="<html>busy</html>"),
        Answer(408),
        Answer(400, body='{"detail": "DEGRADED function cannot be invoked"}'),
        Answer(202, body="{}"),
        Answer(200, body="{}"),
        Answer(200, body="<html>one moment</html>"),
        Answer(reset=True),
    ],
)
def test_what_may_pass_is_asked_again(asking, endpoint, bad):
    endpoint.script(bad, bad)
    assert json.loads(asking.ask())["choices"]
    assert asking.waited == 1 + 2
    assert len(endpoint.chats()) == 3


def test_a_slow_reply_is_given_up_and_asked_for_again(settings, tmp_path, endpoint):
    endpoint.script(Answer(delay=1.0))
    asking = Asking(replace(settings, timeout_seconds=0.3), tmp_path, {})
    assert asking.ask()
    assert asking.waited == 1


def test_ten_minutes_without_an_answer_end_it(asking, endpoint):
    endpoint.always(Answer(500))
    failure = asking.refusal()
    assert "500" in failure.happened
    assert "10 minutes" in failure.happened
    assert 600 < asking.waited < 700


def test_ten_minutes_of_refusals_end_it_too(asking, endpoint):
    endpoint.always(Answer(429))
    assert "429" in asking.refusal().happened
    assert 600 < asking.waited < 700


def test_a_call_that_gets_no_answer_while_others_do_is_given_up_alone(asking, endpoint):
    calls = [replace(CALL, sample=n) for n in range(3)]
    asking.settings = replace(asking.settings, concurrency=1)
    endpoint.script(*[Answer(500)] * 1, *[Answer()] * 2, *[Answer(500)] * (ATTEMPTS_MAX - 1))
    outcomes = asking.ask_all(calls)
    assert [isinstance(outcome, str) for outcome in outcomes].count(True) == 2
    (why,) = (outcome for outcome in outcomes if isinstance(outcome, Unanswered))
    assert f"{ATTEMPTS_MAX} attempts" in str(why)


def test_a_refusal_holds_everybody_and_costs_no_call_its_attempts(asking, endpoint):
    endpoint.script(*[Answer(429, headers={"retry-after": "1"})] * (2 * ATTEMPTS_MAX))
    outcomes = asking.ask_all([replace(CALL, sample=n) for n in range(4)])
    assert all(isinstance(outcome, str) for outcome in outcomes)
    assert asking.client.pace().refused == 2 * ATTEMPTS_MAX


def test_what_was_learned_is_remembered_and_used_next_time(settings, endpoint, tmp_path):
    settings = replace(settings, requests_per_minute=600.0)
    asking = Asking(settings, tmp_path, {"NVIDIA_API_KEY": KEY})
    endpoint.script(Answer(429, headers={"retry-after": "0"}))
    asking.ask()
    known = read_json(tmp_path / REMEMBERED)
    assert KEY not in json.dumps(known)
    asking.journal.close()
    (host,) = known["rates"]
    again = Asking(settings, tmp_path, {})
    probes = len(endpoint.probes())
    again.ask(sample=1)
    assert again.client.pace().limit == known["rates"][host]["requests_per_minute"] == 480
    assert len(endpoint.probes()) == probes
    again.journal.close()
    changed = Asking(replace(settings, requests_per_minute=900.0), tmp_path, {})
    changed.ask(sample=2)
    assert changed.client.pace().limit == 900


def test_a_damaged_memory_is_as_good_as_none(settings, tmp_path):
    for text in ("", "[]", '{"format": 9}', '{"format": 1, "rates": {"h": 3}, "forms": {}}'):
        (tmp_path / REMEMBERED).write_text(text)
        asking = Asking(settings, tmp_path, {})
        assert asking.ask()
        asking.journal.close()


def test_an_endpoint_that_lists_no_models_is_asked_all_the_same(asking, endpoint):
    endpoint.always(Answer(404), path=MODELS)
    assert asking.ask()


SCHEMA, OBJECT, THINKS = "json_schema", "json_object", "chat_template_kwargs"


@pytest.mark.parametrize(
    ("refuses", "ignores", "found", "probes"),
    [
        ((), (), Form(SCHEMA, quiet=True), 1),
        ((THINKS,), (), Form(SCHEMA, quiet=False), 2),
        ((SCHEMA,), (), Form(OBJECT, quiet=True), 3),
        ((), (SCHEMA,), Form(OBJECT, quiet=True), 2),
        ((SCHEMA, THINKS), (), Form(OBJECT, quiet=False), 4),
        ((), (SCHEMA, OBJECT), Form("prompt", quiet=True), 3),
        ((SCHEMA, OBJECT, THINKS), (), Form("prompt", quiet=False), 6),
    ],
)
def test_the_strictest_way_that_is_honoured_is_found_once(
    settings, tmp_path, refuses, ignores, found, probes
):
    with ScriptedEndpoint(refuses=frozenset(refuses), ignores=frozenset(ignores)) as endpoint:
        asking = Asking(replace(settings, base_url=endpoint.base_url), tmp_path, {})
        asking.ask()
        asking.ask(sample=1)
        assert len(endpoint.probes()) == probes
        assert len(endpoint.chats()) == 2
        for request in endpoint.chats():
            form = request.body.get("response_format", {}).get("type", "prompt")
            assert Form(form, "chat_template_kwargs" in request.body) == found
    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [r["mode"] for r in rows if r["purpose"] == "generate"] == [found.mode] * 2
    assert bool(asking.client.warnings()) == (found.mode == "prompt")


def test_the_tiny_call_holds_no_text_and_asks_writer_and_judge(settings, tmp_path, endpoint):
    both = replace(settings, judge_model="vendor/judge")
    Asking(both, tmp_path, {}).ask()
    assert [request.body["model"] for request in endpoint.probes()] == [MODEL, "vendor/judge"]
    assert all("<" not in str(request.body["messages"]) for request in endpoint.probes())
    assert all(request.body["max_tokens"] <= 1024 for request in endpoint.probes())


def test_a_judge_that_is_gone_is_found_before_anything_is_written(settings, tmp_path, endpoint):
    endpoint.script(Answer(), Answer(410), path=PROBE)
    both = replace(settings, judge_model="vendor/judge")
    failure = Asking(both, tmp_path, {}).refusal()
    assert "vendor/judge" in failure.happened
    assert endpoint.chats() == []


def test_a_form_that_stops_working_is_left_for_a_simpler_one(asking, endpoint):
    asking.ask()
    endpoint.script(Answer(400), Answer(422))
    asking.ask(sample=1)
    form = endpoint.chats()[-1].body["response_format"]["type"]
    assert form == "json_object"
    assert asking.waited == 0


def test_a_call_that_stays_refused_says_what_the_endpoint_said(asking, endpoint):
    endpoint.always(Answer(400, body=json.dumps({"error": f"temperature too high for {KEY}"})))
    failure = asking.refusal()
    assert "temperature too high" in failure.happened
    assert len(endpoint.chats()) == 6


def test_nothing_is_asked_any_more_once_the_stage_ends(asking, endpoint):
    asking.stop.set()
    with pytest.raises(Stopped):
        asking.ask()
    assert endpoint.requests == []


def test_a_model_that_answers_unlisted_is_worth_a_warning(asking, settings, tmp_path, endpoint):
    asking.ask()
    assert asking.client.warnings() == []
    asking.journal.close()
    other = Asking(replace(settings, model="vendor/alias"), tmp_path, {})
    other.ask(sample=1)
    assert "vendor/alias" in other.client.warnings()[0]


def test_a_reply_that_repeats_the_key_is_kept_without_it(asking, endpoint, tmp_path):
    endpoint.script(Answer(body=completion(MODEL, f"your key is {KEY}")))
    assert KEY not in asking.ask()
    assert KEY not in (tmp_path / "calls.jsonl").read_text()


def test_a_redirect_carries_no_document_to_another_host(asking, endpoint):
    with ScriptedEndpoint() as elsewhere:
        target = elsewhere.base_url + "/chat/completions"
        endpoint.always(Answer(status=307, body="{}", headers={"location": target}))
        asking.refusal()
        assert elsewhere.requests == []


def test_no_proxy_stands_between_this_machine_and_itself(asking, monkeypatch):
    with ScriptedEndpoint() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url.removesuffix("/v1"))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        asking.ask()
        assert proxy.requests == []
