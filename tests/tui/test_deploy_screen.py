"""The Deploy step: where to, what stands there, what was measured through it, and its end."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from piloted import drive, screen_text, settled, snapshot_of, until
from text_snapshot import assert_snapshot

from pipeline.deploy.records import ServiceRecord, write_service
from pipeline.deploy.services import KEY_VARIABLE, SERVER_MODULE
from pipeline.gate import Check
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import Result, create_run
from pipeline.settings import DeploySettings
from tui.deploy_rows import (
    Probe,
    deploy_choices,
    service_rows,
    snippet_rows,
    standing,
    verification_rows,
)
from tui.deploying import nim_checks, probe_services, snippets_of
from tui.glyphs import UNICODE
from tui.rows import plain, width_of
from tui.steps import StageState

REHEARSAL = find_profile(REHEARSAL_PROFILE)
LLAMA = find_profile("nvidia/llama-nemotron-embed-1b-v2")
RECORD = ServiceRecord(
    name="local",
    target="local",
    url="http://127.0.0.1:8123",
    model="rehearsal-one",
    export="d",
    instance="1234abcd",
    host=socket.gethostname(),
    pid=77,
    container="",
    log="server.log",
    started=1_795_000_000.0,
)
ANSWERS = Probe(RECORD, True, True, True, "06:58")
DONE = dict.fromkeys(("corpus", "sdg", "prep", "finetune", "eval", "export"), "done")


def text_of(rows):
    return "\n".join(plain(cells).rstrip() for cells in rows)


def words_of(rows):
    return " ".join(text_of(rows).split())


def summary_of(verdict="PASS", verdicts=("within", "within"), reasons=(), queries=200):
    """A verification's summary as the stage writes it."""
    rows = [
        {"metric": metric, "stored": 0.8, "served": 0.75, "tolerance": tolerance, "state": state}
        | {"difference": -0.05}
        for metric, tolerance, state in zip(
            ("ndcg@10", "ndcg@1"), (0.01, 0.03), verdicts, strict=True
        )
    ]
    drift = {"mean": 0.999999, "low": 0.99999, "min": 0.9999}
    return {
        "headline": f"{verdict}.",
        "verdict": verdict,
        "reasons": list(reasons),
        "url": RECORD.url,
        "model": RECORD.model,
        "identity": {"cosine": 0.9999999, "nearer_to_base": 0, "telling": 9},
        "contract": [{"name": "order", "passed": True, "found": "kept"}],
        "sets": [
            {
                "name": "synthetic",
                "queries": queries,
                "resolution": 1 / queries,
                "rows": rows,
                "drift": {"queries": drift, "passages": drift},
                "flipped": ["q-1", "q-7"],
            }
        ],
    }


# Rows


@pytest.mark.parametrize(
    ("verdict", "words", "tone"),
    [
        ("PASS", "gives what was measured", "good"),
        ("FAIL", "don't use it before the cause is found", "bad"),
        ("INCONCLUSIVE", "too few queries", "warn"),
    ],
)
def test_a_verdict_has_its_meaning_in_words_and_its_reasons(verdict, words, tone):
    summary = summary_of(verdict, reasons=["synthetic: ndcg@10 moved by -0.0500"])
    rows = verification_rows(summary, "", UNICODE, 80)
    assert rows[0][0].tone == tone
    assert words in words_of(rows)
    assert "ndcg@10 moved by -0.0500" in words_of(rows)


@pytest.mark.parametrize("width", [60, 79, 96])
def test_every_metric_stands_against_its_tolerance_at_any_width(width):
    summary = summary_of("FAIL", ("outside", "too few queries"))
    rows = verification_rows(summary, "", UNICODE, width)
    lines = text_of(rows).splitlines()
    # By measure and rank, and the verdict is never cut off.
    place = next(number for number, line in enumerate(lines) if line.startswith(" nDCG@1 "))
    assert lines[place].endswith("0.03  too few queries")
    assert lines[place + 1].startswith(" nDCG@10")
    assert lines[place + 1].endswith("0.01  outside")
    assert ("-0.0500" in lines[place]) == (width >= 79)
    assert "flipped queries: q-1, q-7" in words_of(rows)
    assert "queries cosine mean 0.999999, least 0.999900" in words_of(rows)
    assert all(width_of(cells) <= width for cells in rows)


def test_before_and_beside_a_measurement_the_table_says_so():
    assert "Nothing was measured" in text_of(verification_rows({}, "", UNICODE, 80))
    rows = verification_rows(summary_of(), "Measured before.", UNICODE, 80)
    assert rows[0][0].text == " Measured before."


@pytest.mark.parametrize(
    ("probe", "export", "words"),
    [
        (ANSWERS, "d", "✓ answers http://127.0.0.1:8123/v1/embeddings as rehearsal-one"),
        (ANSWERS, "other", "It serves an older export: enter replaces it."),
        (replace(ANSWERS, answers=False), "d", "! doesn't answer yet"),
        (replace(ANSWERS, running=False, answers=False), "d", "✗ gone"),
        (replace(ANSWERS, here=False, running=False, answers=False), "d", "stop it there"),
    ],
)
def test_a_service_says_whether_it_answers_and_what_it_serves(probe, export, words):
    for rehearsal in (False, True):
        text = words_of(service_rows(probe, export, rehearsal, UNICODE, 80))
        assert words in text
        assert "local server, process 77, since 06:58" in text
        assert ("not for use" in text) == rehearsal
        assert ("when this window closes" in text) == probe.answers


def test_choices_say_what_they_need_and_offer_no_dead_end():
    target, host, port = deploy_choices(DeploySettings(), REHEARSAL, False)
    assert target.value == "local server"
    assert "there is no NIM for" in target.about
    assert (host.hint, port.hint) == ("this machine alone", "0 takes a free one")
    nim = deploy_choices(DeploySettings(target="nim"), LLAMA, False)[0]
    assert "docker, a GPU, an NGC key" in nim.hint
    assert "onnx" in nim.about
    dead = deploy_choices(DeploySettings(target="nim"), REHEARSAL, False)[0]
    assert dead.tone == "bad"


def test_a_host_beyond_this_machine_needs_a_key_by_its_variable():
    wide = DeploySettings(host="0.0.0.0")
    without = deploy_choices(wide, LLAMA, False)[1]
    assert (without.tone, KEY_VARIABLE in without.hint) == ("bad", True)
    assert deploy_choices(wide, LLAMA, True)[1].tone == "strong"
    assert "127.0.0.1" in deploy_choices(replace(wide, target="nim"), LLAMA, True)[1].hint


def stages(deploy="new", reason="no service was started", verify="waiting", evaluation="done"):
    states = {"eval": (evaluation, ""), "deploy": (deploy, reason), "verify": (verify, "changed")}
    return {name: StageState(*state) for name, state in states.items()}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"missing": "Export"}, "Export comes first: enter goes there."),
        ({}, "enter starts the local server and measures through it."),
        ({"failed": "Port 8000 is in use."}, "The last start failed: Port 8000 is in use. enter"),
        ({"stages": stages(evaluation="new")}, "Metrics comes first to verify it"),
        ({"stages": stages("done"), "started": True}, "Not verified: changed. enter measures"),
        (
            {"stages": stages("done", evaluation="new"), "started": True},
            "Nothing to verify against: Metrics comes first",
        ),
        ({"stages": stages("done", verify="done"), "started": True}, ""),
        (
            {"stages": stages("stale", "it answers, but deploy.port is 1"), "started": True},
            "it answers, but deploy.port is 1: enter starts it anew.",
        ),
    ],
)
def test_every_state_says_what_enter_does(given, words):
    asked = {"stages": stages(), "missing": "", "started": False, "failed": "", **given}
    text, _tone = standing(**asked, target="local server")
    assert words in text if words else text == ""


def test_a_snippet_is_shown_whole_and_names_a_key_by_its_variable():
    environment = {KEY_VARIABLE: "very secret"}
    recipe = snapshot_recipe()
    texts = snippets_of(ANSWERS, recipe, REHEARSAL, environment)
    assert "".join(plain(cells)[1:] for cells in snippet_rows(texts["curl"], 40, prose=False)) == (
        texts["curl"].replace("\n", "")
    )
    for text in texts.values():
        assert "very secret" not in text
    assert f"${KEY_VARIABLE}" in texts["curl"]
    assert "# 384" in texts["python"]
    assert "384 dimensions" in texts["reindex"]


def snapshot_recipe():
    from pipeline.profiles import base_recipe

    return base_recipe(REHEARSAL)


def test_a_nim_is_preceded_by_the_checks_that_it_waits_for(tmp_path):
    empty = {"PATH": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    checks = nim_checks(snapshot_recipe(), LLAMA, empty)
    assert [(check.name, check.verdict) for check in checks] == [
        ("docker", "warn"),
        ("NIM image", "warn"),
        ("NGC key", "warn"),
    ]
    assert all(check.remedy for check in checks)


# A service that answers, without a model in it

SERVER = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def serve():
    """Starts a process that is a run's service as far as its health goes."""
    started = []

    def start(run, name="local", **changes):
        command = [sys.executable, "-c", SERVER, SERVER_MODULE, RECORD.instance]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        record = replace(RECORD, name=name, url=url, pid=process.pid, started=time.time())
        write_service(run.service_path(name), replace(record, **changes))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_services_are_found_by_asking_them(rehearsal_run, serve):
    process = serve(rehearsal_run)
    probe = probe_services(rehearsal_run)["local"]
    assert (probe.here, probe.running, probe.answers) == (True, True, True)
    assert probe.since.count(":") == 1
    process.kill()
    process.wait()
    probe = probe_services(rehearsal_run)["local"]
    assert (probe.running, probe.answers) == (False, False)


# The screen


@pytest.fixture
def at_deploy(make_wizard, rehearsal_run):
    """Runs a script on the Deploy step of a run whose stages stand as it is told."""

    def go(script, summary=None, size=(80, 24), ascii_only=False, run=None, **states):
        wizard = make_wizard(size=size, ascii_only=ascii_only)
        wizard.started = []
        wizard.start = lambda names, options=None: wizard.started.append((list(names), options))
        reads = []
        wizard.read_run = lambda **_: reads.append(1)
        wizard.reads = reads

        async def with_snapshot(pilot):
            snapshot = snapshot_of(run or rehearsal_run, **{**DONE, "deploy": "new", **states})
            results = {
                name: Result(rehearsal_run.path, name, "f", "d", made, "made", False, 0.0, 1.0)
                for name, made in (("export", {}), ("verify", summary))
                if made is not None
            }
            wizard.snapshot = replace(snapshot, results=results)
            wizard.open_step("deploy")
            shown = ("target", "What happened")
            await until(pilot, lambda: any(word in screen_text(wizard) for word in shown))
            await script(pilot, wizard)

        drive(wizard, with_snapshot, size)

    return go


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_verified_service_as_it_is_seen(at_deploy, rehearsal_run, serve, size, ascii_only):
    process = serve(rehearsal_run, started=RECORD.started)
    url = next(iter(probe_services(rehearsal_run).values())).record.url

    async def script(pilot, wizard):
        await until(pilot, lambda: "answers" in screen_text(wizard))
        text = await settled(pilot)
        for changing, fixed in (
            (url, "http://127.0.0.1:PORT"),
            (f"process {process.pid}", "process PID"),
            (time.strftime("%Y-%m-%d %H:%M", time.localtime(RECORD.started)), "WHEN"),
        ):
            text = text.replace(changing, fixed)
        name = f"deploy-{size[0]}x{size[1]}{'-ascii' if ascii_only else ''}"
        assert_snapshot(name, text)

    at_deploy(script, summary_of(), size, ascii_only, deploy="done", verify="done")


def test_enter_starts_and_verifies_in_one_worker(at_deploy):
    async def script(pilot, wizard):
        assert wizard.screen.primary() == "Deploy"
        assert "not for use" in screen_text(wizard)
        await pilot.press("enter")
        assert wizard.started == [(["deploy", "verify"], None)]
        assert not wizard.screen.check_action("stop", ())

    at_deploy(script)


def test_without_an_evaluation_the_service_alone_is_started(at_deploy):
    async def script(pilot, wizard):
        await pilot.press("enter")
        assert wizard.started == [(["deploy"], None)]

    at_deploy(script, eval="new")


def test_a_service_that_was_not_verified_is_verified_alone(at_deploy, rehearsal_run, serve):
    serve(rehearsal_run)

    async def script(pilot, wizard):
        await until(pilot, lambda: "Not verified" in screen_text(wizard))
        assert wizard.screen.primary() == "Verify"
        await pilot.press("enter")
        assert wizard.started == [(["verify"], None)]

    at_deploy(script, deploy="done", verify="new")


def test_v_is_a_new_measurement_each_time(at_deploy, rehearsal_run, serve):
    serve(rehearsal_run)

    async def script(pilot, wizard):
        await until(pilot, lambda: "answers" in screen_text(wizard))
        assert wizard.screen.primary() == ""
        await pilot.press("v")
        ((names, options),) = wizard.started
        assert names == ["verify"]
        assert float(options["again"].removeprefix("@")) == pytest.approx(time.time(), abs=60)

    at_deploy(script, summary_of(), deploy="done", verify="done")


def test_without_an_export_enter_leads_to_the_step_that_comes_first(at_deploy):
    async def script(pilot, wizard):
        await until(pilot, lambda: "Export comes first" in screen_text(wizard))
        assert wizard.screen.primary() == "To Export"
        await pilot.press("enter")
        await until(pilot, lambda: wizard.screen.STEP == "export")
        assert wizard.started == []

    at_deploy(script, export="stale", deploy="waiting")


def test_s_goes_through_the_snippets_and_c_copies_what_is_shown(at_deploy, rehearsal_run, serve):
    serve(rehearsal_run)
    copied = []

    async def script(pilot, wizard):
        wizard.copy = copied.append
        await until(pilot, lambda: "answers" in screen_text(wizard))
        for words in ("PASS", "curl -sS", "from openai", "Make a new index"):
            await until(pilot, lambda words=words: words in screen_text(wizard))
            await pilot.press("c")
            await pilot.press("s")
        await until(pilot, lambda: "PASS" in screen_text(wizard))

    at_deploy(script, summary_of(), deploy="done", verify="done")
    table, curl, python, reindex = copied
    assert "nDCG@10" in table
    assert curl.startswith("curl -sS http://127.0.0.1:")
    assert "\n  -d " in curl
    compile(python, "snippet", "exec")
    assert "inner product" in reindex


def test_a_service_that_dies_is_seen_without_a_key(at_deploy, rehearsal_run, serve, monkeypatch):
    monkeypatch.setattr("tui.screens.deploy.PROBE_SECONDS", 0.1)
    process = serve(rehearsal_run)

    async def script(pilot, wizard):
        await until(pilot, lambda: "answers" in screen_text(wizard))
        process.kill()
        process.wait()
        await until(pilot, lambda: "gone" in screen_text(wizard))
        assert "enter starts it again" in screen_text(wizard)
        # Where the run stands has to be read again: nothing in its folder has changed.
        assert wizard.reads

    at_deploy(script, summary_of(), deploy="done", verify="done")


def test_x_stops_the_service_after_a_yes_alone(at_deploy, rehearsal_run, serve):
    process = serve(rehearsal_run)

    async def script(pilot, wizard):
        await until(pilot, lambda: "answers" in screen_text(wizard))
        await pilot.press("x", "n")
        await pilot.pause(0.2)
        assert process.poll() is None
        await pilot.press("x")
        await until(pilot, lambda: "Stop the service?" in screen_text(wizard))
        await pilot.press("y")
        await until(pilot, lambda: "is stopped; the export is kept" in screen_text(wizard))
        assert process.wait(5) == -15
        await until(pilot, lambda: "127.0.0.1:" not in screen_text(wizard))

    at_deploy(script, summary_of(), deploy="done", verify="done")


def test_with_several_services_x_asks_which(at_deploy, rehearsal_run, serve):
    kept, ended = serve(rehearsal_run), serve(rehearsal_run, name="other")

    async def script(pilot, wizard):
        await until(pilot, lambda: "also started: other" in screen_text(wizard))
        await pilot.press("x")
        await until(pilot, lambda: "Stop which service" in screen_text(wizard))
        await pilot.press("j", "enter")
        await until(pilot, lambda: "Stop the service?" in screen_text(wizard))
        await pilot.press("y")
        await until(pilot, lambda: "also started" not in screen_text(wizard))
        assert (ended.wait(5), kept.poll()) == (-15, None)

    at_deploy(script, summary_of(), deploy="done", verify="done")


def test_a_damaged_record_is_a_line_and_no_dialog(at_deploy, rehearsal_run):
    path = rehearsal_run.service_path("local")
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 9}')

    async def script(pilot, wizard):
        await until(pilot, lambda: "format that this version" in screen_text(wizard))
        assert "What happened" not in screen_text(wizard)

    at_deploy(script)


def test_a_rehearsal_is_offered_the_local_server_alone(at_deploy):
    async def script(pilot, wizard):
        await pilot.press("e")
        await until(pilot, lambda: "The local server it is" in screen_text(wizard))

    at_deploy(script)


def test_a_nim_is_chosen_and_its_needs_are_looked_at(at_deploy, tmp_path, monkeypatch):
    run = create_run(tmp_path / "real", LLAMA, {"deploy.target": "nim"}, "a test")
    check = Check("NGC key", "warn", "NGC_API_KEY is not set", "Make a key.")
    monkeypatch.setattr("tui.screens.deploy.nim_checks", lambda *_: [check])

    async def script(pilot, wizard):
        await until(pilot, lambda: "NGC_API_KEY is not set" in screen_text(wizard))
        assert "NIM in docker" in screen_text(wizard)
        await pilot.press("e")
        await until(pilot, lambda: "Serve with" in screen_text(wizard))
        await pilot.press("k", "enter")
        await until(pilot, lambda: run.recipe().deploy.target == "local")

    at_deploy(script, run=run)


def test_a_port_is_asked_for_and_a_wrong_one_is_said_beside_the_field(at_deploy, rehearsal_run):
    async def script(pilot, wizard):
        await pilot.press("j", "j", "e")
        await until(pilot, lambda: wizard.screen.query_one("#prompt").asking)
        await pilot.press("ctrl+u", *"99999", "enter")
        await until(pilot, lambda: "at most 65535" in screen_text(wizard))
        await pilot.press("ctrl+u", *"8123", "enter")
        await until(pilot, lambda: rehearsal_run.recipe().deploy.port == 8123)

    at_deploy(script, size=(120, 40))


def test_no_secret_of_the_environment_is_on_the_screen(
    at_deploy, rehearsal_run, serve, monkeypatch
):
    monkeypatch.setitem(os.environ, KEY_VARIABLE, "s3cr3t-key")
    serve(rehearsal_run)

    async def script(pilot, wizard):
        await until(pilot, lambda: "answers" in screen_text(wizard))
        for _ in range(4):
            assert "s3cr3t-key" not in screen_text(wizard)
            await pilot.press("s")

    at_deploy(script, summary_of(), size=(120, 40), deploy="done", verify="done")
