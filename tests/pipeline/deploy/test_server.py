"""The local server in a process of its own, spoken to by OpenAI's own client."""

import base64
import json
import threading
import time

import httpx2
import numpy as np
import openai
import pytest

TEXTS = ["w1 w2 w3", "w4", " ".join(f"w{n}" for n in range(60))]


@pytest.fixture(scope="module")
def client(client_for, llama_service):
    return client_for(llama_service["url"])


def embed(client, service, texts, **extra):
    body = {name: extra.pop(name) for name in ("input_type", "truncate") if name in extra}
    return client.embeddings.create(
        model=extra.pop("model", service["model"]), input=texts, extra_body=body, **extra
    )


def vectors(answer):
    return np.array([row.embedding for row in answer.data], dtype=np.float32)


def test_a_vector_is_the_encoders(client, llama_service, llama_encoder):
    for kind in ("query", "passage"):
        answer = embed(client, llama_service, TEXTS, input_type=kind)
        assert [row.index for row in answer.data] == [0, 1, 2]
        assert np.abs(vectors(answer) - llama_encoder.encode(TEXTS, kind)).max() < 1e-5
    tokens = sum(map(len, llama_encoder.tokenize(TEXTS, "passage")))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
    assert answer.model == llama_service["model"]


def test_base64_is_the_clients_default_and_equals_floats(client, llama_service):
    url = f"{llama_service['url']}/v1/embeddings"
    body = {"model": llama_service["model"], "input": TEXTS[0], "input_type": "query"}
    plain = httpx2.post(url, json=body).json()["data"][0]["embedding"]
    coded = httpx2.post(url, json=body | {"encoding_format": "base64"}).json()
    decoded = np.frombuffer(base64.b64decode(coded["data"][0]["embedding"]), dtype="<f4")
    assert np.array_equal(decoded, np.array(plain, dtype=np.float32))
    default = vectors(embed(client, llama_service, TEXTS[0], input_type="query"))[0]
    asked = vectors(
        embed(client, llama_service, TEXTS[0], input_type="query", encoding_format="float")
    )[0]
    assert np.array_equal(default, decoded)
    assert np.array_equal(asked, decoded)


def test_dimensions_are_cut_and_scaled_again_and_others_refused(client, llama_service):
    whole = vectors(embed(client, llama_service, TEXTS, input_type="query"))
    for dimension in (16, 32, 64):
        cut = vectors(embed(client, llama_service, TEXTS, input_type="query", dimensions=dimension))
        expected = whole[:, :dimension]
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.abs(cut - expected).max() < 1e-6
    with pytest.raises(openai.BadRequestError, match="one of 16, 32, 64") as caught:
        embed(client, llama_service, TEXTS, input_type="query", dimensions=20)
    assert caught.value.param == "dimensions"


def test_a_suffix_of_the_model_stands_for_the_input_type(client, llama_service):
    name = llama_service["model"]
    for kind in ("query", "passage"):
        suffixed = embed(client, llama_service, TEXTS, model=f"{name}-{kind}")
        assert np.allclose(
            vectors(suffixed),
            vectors(embed(client, llama_service, TEXTS, input_type=kind)),
            atol=1e-6,
        )
    with pytest.raises(openai.BadRequestError, match="contradicts"):
        embed(client, llama_service, TEXTS, model=f"{name}-query", input_type="passage")


def test_a_model_that_tells_queries_from_passages_wants_to_know(client, llama_service):
    with pytest.raises(openai.BadRequestError, match="'query' or 'passage'") as caught:
        embed(client, llama_service, TEXTS)
    assert caught.value.param == "input_type"


def test_a_model_without_prefixes_needs_no_input_type(client_for, minilm_service):
    _, service = minilm_service
    assert service["model"].startswith("rehearsal")
    client = client_for(service["url"])
    plain = vectors(embed(client, service, ["a short text"]))
    assert plain.shape == (1, 384)
    assert np.allclose(
        plain, vectors(embed(client, service, ["a short text"], input_type="query")), atol=1e-6
    )


def test_a_text_that_is_too_long_is_refused_unless_it_may_be_cut(
    client, llama_service, llama_encoder
):
    long = " ".join(f"w{n}" for n in range(200))
    with pytest.raises(openai.BadRequestError, match=r"input\[1\].*203 tokens.*128") as caught:
        embed(client, llama_service, ["w1", long], input_type="query")
    assert caught.value.code == "context_length_exceeded"
    end = embed(client, llama_service, [long], input_type="query", truncate="END")
    assert np.abs(vectors(end) - llama_encoder.encode([long], "query")).max() < 1e-5
    assert end.usage.prompt_tokens == 128
    start = embed(client, llama_service, [long], input_type="query", truncate="START")
    tail = " ".join(f"w{n}" for n in range(75, 200))  # 128 less `<s>`, `query` and `:`
    assert np.abs(vectors(start) - llama_encoder.encode([tail], "query")).max() < 1e-5
    raw = client.embeddings.with_raw_response.create(
        model=llama_service["model"],
        input=["w1", long],
        extra_body={"input_type": "query", "truncate": "END"},
    )
    assert raw.headers["x-truncated-inputs"] == "1"


@pytest.mark.parametrize(
    ("change", "status", "param", "said"),
    [
        ({"input": ""}, 400, "input", "empty"),
        ({"input": ["w1", ""]}, 400, "input", r"input\[1\]"),
        ({"input": []}, 400, "input", "list of texts"),
        ({"input": None}, 400, "input", "list of texts"),
        ({"input": [1, 2, 3]}, 400, "input", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, 400, "input", "check_embedding_ctx_length=False"),
        ({"input": ["w1"] * 2049}, 400, "input", "at most 2048"),
        ({"model": "other"}, 404, "model", "does not exist"),
        ({"model": None}, 400, "model", "must provide a model"),
        ({"encoding_format": "hex"}, 400, "encoding_format", "float, base64"),
        ({"truncate": "MIDDLE"}, 400, "truncate", "NONE, END, START"),
        ({"input_type": "document"}, 400, "input_type", "query, passage"),
        ({"input_tpye": "query"}, 400, "input_tpye", "Unrecognized"),
        ({"dimensions": "16"}, 400, "dimensions", "one of"),
        ({"modality": "image"}, 400, "modality", "text only"),
    ],
)
def test_a_bad_request_is_answered_in_openais_shape(llama_service, change, status, param, said):
    body = {"model": llama_service["model"], "input": "w1", "input_type": "query"} | change
    answer = httpx2.post(f"{llama_service['url']}/v1/embeddings", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    import re

    assert re.search(said, error["message"])


def test_what_is_no_json_or_no_path_is_answered_in_openais_shape(llama_service):
    url = llama_service["url"]
    for content in (b"{", b"[1]", b"\xff\xfe", b""):
        answer = httpx2.post(f"{url}/v1/embeddings", content=content)
        assert answer.status_code == 400
        assert "JSON" in answer.json()["error"]["message"]
    assert httpx2.get(f"{url}/v1/nothing").json()["error"]["message"] == "Not Found"
    assert httpx2.get(f"{url}/v1/embeddings").status_code == 405


def test_a_body_that_is_too_large_is_cut_off(llama_service):
    with httpx2.Client() as http:
        answer = http.post(f"{llama_service['url']}/v1/embeddings", content=b" " * (33 * 2**20))
    assert answer.status_code == 413


def test_models_and_health(client, llama_service):
    assert [entry.id for entry in client.models.list()] == [llama_service["model"]]
    for what in ("live", "ready"):
        answer = httpx2.get(f"{llama_service['url']}/v1/health/{what}")
        assert answer.status_code == 200
        assert answer.json() == {"object": "health.response", "message": what, what: True}


def test_no_other_origin_is_allowed_and_no_text_is_logged(deploy_service, llama_export):
    context, outcome = deploy_service(llama_export)
    body = {"model": outcome.summary["model"], "input": "w17 secret", "input_type": "query"}
    url = f"{outcome.summary['url']}/v1/embeddings"
    answer = httpx2.post(url, json=body, headers={"origin": "https://example.org"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    httpx2.post(url, json=body | {"input": "w17 secret " * 200})
    log = context.run.service_path("local").parent / "server.log"
    assert "ready" in log.read_text()
    assert "secret" not in log.read_text()


def test_many_clients_at_once_all_get_their_own_vectors(client_for, llama_service, llama_encoder):
    texts = [[f"w{n}", f"w{n} " * (n + 1)] for n in range(24)]
    found = {}

    def ask(number):
        answer = embed(
            client_for(llama_service["url"]), llama_service, texts[number], input_type="passage"
        )
        found[number] = vectors(answer)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, pair in enumerate(texts):
        assert np.abs(found[number] - llama_encoder.encode(pair, "passage")).max() < 1e-5


def test_a_key_is_asked_for_when_there_is_one(deploy_service, llama_export, client_for):
    _, outcome = deploy_service(llama_export, environment={"EMBEDSMITH_API_KEY": "right"})
    service = outcome.summary
    with pytest.raises(openai.AuthenticationError):
        embed(client_for(service["url"], "wrong"), service, TEXTS, input_type="query")
    with pytest.raises(openai.AuthenticationError):
        client_for(service["url"], "wrong").models.list()
    right = client_for(service["url"], "right")
    assert len(embed(right, service, TEXTS, input_type="query").data) == 3
    assert httpx2.get(f"{service['url']}/v1/health/ready").status_code == 200


def test_sigterm_finishes_what_was_begun_and_refuses_what_is_new(deploy_service, minilm_export):
    import os
    import signal

    context, outcome = deploy_service(minilm_export)
    service = outcome.summary
    record = json.loads(context.run.service_path("local").read_text())
    text = "a passage that is long enough to take its time " * 20
    body = {"model": service["model"], "input": [text] * 24, "truncate": "END"}
    answers = []

    def ask():
        answers.append(httpx2.post(f"{service['url']}/v1/embeddings", json=body, timeout=60).json())

    with httpx2.Client(base_url=service["url"]) as kept:
        kept.get("/v1/health/live")  # a connection that was there before
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.3)
        os.kill(record["pid"], signal.SIGTERM)
        time.sleep(0.2)
        ready = kept.get("/v1/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        refused = kept.post("/v1/embeddings", json=body | {"input": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert refused.headers["retry-after"]
    asking.join()
    assert len(answers[0]["data"]) == 24
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            httpx2.get(f"{service['url']}/v1/health/live")
        except httpx2.ConnectError:
            return
        time.sleep(0.1)
    raise AssertionError("the server is still there")
