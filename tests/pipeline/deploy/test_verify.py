"""Evaluation through the endpoint: the right model passes, the base model doesn't."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from pipeline.deploy.verify import execute
from pipeline.errors import EndpointFailure


@pytest.fixture
def verify(make_context, evaluation, minilm_export):
    """Runs the stage and gives its summary and its report."""

    def run(**how):
        context = make_context({"eval": evaluation, "export": minilm_export}, **how)
        outcome = execute(context)
        assert outcome.outputs == ("verify.json",)
        report = json.loads((context.folder / "verify.json").read_text())
        assert report["verdict"] == outcome.summary["verdict"]
        return outcome.summary, report, context

    return run


def test_the_exported_model_passes(verify, minilm_service):
    run, service = minilm_service
    summary, report, context = verify(run=run)
    assert summary["verdict"] == "PASS", summary["reasons"]
    assert (summary["url"], summary["model"]) == (service["url"], service["model"])
    (synthetic,) = summary["sets"]
    assert synthetic["queries"] == 100
    assert {row["metric"] for row in synthetic["rows"]} == {
        f"{measure}@{k}" for measure in ("ndcg", "recall") for k in (1, 5, 10, 100)
    }
    tolerances = {row["metric"]: row["tolerance"] for row in synthetic["rows"]}
    assert (tolerances["ndcg@1"], tolerances["ndcg@5"]) == (0.03, 0.01)
    assert all(abs(row["difference"]) < 1e-6 for row in synthetic["rows"])
    assert synthetic["drift"]["queries"]["min"] > 0.99999
    assert summary["identity"]["cosine"] > 0.99999
    assert summary["identity"]["telling"] > 0
    assert all(check["passed"] for check in summary["contract"])
    assert synthetic["flipped"] == []
    done, total, _ = context.events.steps[-1]
    assert done == total
    # Nothing of this machine or moment in what identifies the result.
    assert service["url"] not in json.dumps(report)


def test_the_base_model_in_place_of_the_fine_tuned_one_fails(verify, deploy_service, base_export):
    context, _ = deploy_service(base_export)
    summary, report, _ = verify(run=context.run)
    assert summary["verdict"] == "FAIL"
    assert "nearer to the base model" in summary["reasons"][0]
    (synthetic,) = report["sets"]
    assert synthetic["query_drift"]["min"] < 0.999
    assert len(synthetic["query_drift"]["worst"]) == 5
    for changed in synthetic["flipped"].values():
        for before, after in changed.values():
            assert before != after


def test_too_few_queries_for_the_tolerance_are_inconclusive(verify, minilm_service):
    run, _ = minilm_service
    summary, _, _ = verify(run=run, verify__tolerance=0.009)
    assert summary["verdict"] == "INCONCLUSIVE"
    assert "one of 100 queries moves a metric by 0.0100" in summary["reasons"][0]


def test_another_endpoint_is_measured_by_its_url(verify, minilm_service):
    _, service = minilm_service
    summary, _, _ = verify(options={"url": service["url"] + "/v1/"})
    assert (summary["verdict"], summary["url"]) == ("PASS", service["url"])


def test_a_model_of_another_dimension_is_refused(verify, llama_service):
    with pytest.raises(EndpointFailure, match="vectors of 64 numbers; the exported model has 384"):
        verify(options={"url": llama_service["url"]})


def test_a_run_without_a_service_says_so(verify):
    with pytest.raises(EndpointFailure, match="no service 'local'"):
        verify()


def answer_with(status, kind, body, models=None):
    class Handler(BaseHTTPRequestHandler):
        def _send(self):
            listing = self.path.endswith("/models") and models is not None
            content = models if listing else body
            self.send_response(200 if listing else status)
            self.send_header("content-type", "application/json" if listing else kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _send  # noqa: N815 - the library's names

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


MODELS = b'{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"x"}]}'


@pytest.mark.parametrize(
    ("status", "kind", "body", "models", "said", "hint"),
    [
        (200, "text/html", b"<html>Sign in</html>", None, "answers text/html", "sign-in"),
        (200, "text/html", b"<html>Sign in</html>", MODELS, "answers text/html", "sign-in"),
        (401, "application/json", b'{"error":{"message":"no"}}', None, "401", "EMBEDSMITH_API_KEY"),
        (404, "application/json", b"{}", MODELS, "404", "/v1/embeddings"),
        (410, "text/plain", b"gone", None, "410", "retired"),
        (400, "application/json", b'{"error":{"message":"extra"}}', MODELS, "400", "input_type"),
        (200, "application/json", b"{", None, "something else", "OpenAI-compatible"),
        (200, "application/json", b"{}", None, "something else", "OpenAI-compatible"),
        (200, "application/json", b'{"data":[]}', None, "names no model", "loading"),
        (200, "application/json", b'{"data":[1]}', MODELS, "something else", "OpenAI-compatible"),
        (
            200,
            "application/json",
            b'{"data":[{"index":0,"embedding":[1.0]}]}',
            MODELS,
            "32 texts with 1 vectors",
            "embeddings endpoint",
        ),
    ],
)
def test_an_endpoint_that_answers_wrongly_is_named(verify, status, kind, body, models, said, hint):
    server = answer_with(status, kind, body, models)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with pytest.raises(EndpointFailure, match=said) as caught:
            verify(options={"url": url})
    finally:
        server.shutdown()
        server.server_close()
    assert url in caught.value.happened
    assert hint in caught.value.next_step


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "can't be reached"),
        ("ftp://127.0.0.1", "is no http address"),
        ("http://me:secret@127.0.0.1:9", "has a name in its URL"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(verify, url, said):
    with pytest.raises(EndpointFailure, match=said) as caught:
        verify(options={"url": url})
    assert "secret" not in caught.value.happened
