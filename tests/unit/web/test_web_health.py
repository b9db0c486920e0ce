import json
import threading

import pytest

MODEL = {"name": "en", "version": "1.0", "digest": "sha256:" + "0" * 64}


def test_livez_is_alive_whatever_torchserve_does(make_site, dead_url):
    reply = make_site(dead_url).get("/livez")

    assert (reply.status_code, reply.json) == (200, {"status": "alive"})


def test_readyz_is_ready_when_every_model_answers(upstream, make_site):
    reply = make_site(upstream.url, models=("en", "de")).get("/readyz")

    state = {"ready": True, "version": "1.0", "digest": MODEL["digest"]}
    assert reply.status_code == 200
    assert reply.json == {"status": "ready", "models": {"en": state, "de": state}}
    assert {path for path, _, _ in upstream.requests} == {"/predictions/en", "/predictions/de"}
    assert json.loads(upstream.requests[0][2]) == {"text": "Barack Obama was born in Hawaii."}


@pytest.mark.parametrize(
    ("ready_when", "models", "status"),
    [("all", ("en", "lost"), 503), ("any", ("en", "lost"), 200), ("any", ("lost", "gone"), 503)],
)
def test_a_lost_model_is_named_and_the_operator_decides_what_that_means(
    upstream, make_site, *, ready_when, models, status
):
    upstream.lost = {"lost", "gone"}

    reply = make_site(upstream.url, models=models, ready_when=ready_when).get("/readyz")

    assert (reply.status_code, reply.json["status"]) == (status, "ready" if status == 200 else "unready")
    assert {name: state["ready"] for name, state in reply.json["models"].items()} == {
        name: name == "en" for name in models
    }


def test_the_canary_can_be_another_sentence(upstream, make_site):
    site = make_site(upstream.url, canary="Oslo")

    assert site.get("/readyz").status_code == 200
    assert json.loads(upstream.requests[0][2]) == {"text": "Oslo"}


@pytest.mark.parametrize(("canary", "status"), [(None, 200), ("Oslo", 503)])
def test_an_entity_is_asked_for_only_in_a_sentence_that_the_operator_chose(upstream, make_site, canary, status):
    upstream.answer(200, {"model": MODEL, "entities": []})

    reply = make_site(upstream.url, canary=canary).get("/readyz")

    assert reply.status_code == status
    if canary:
        message = "The model found no entity in the canary sentence."
        assert reply.json["models"]["en"]["error"] == {"code": "bad_model_reply", "message": message}


@pytest.mark.parametrize(
    ("status", "answer", "code", "message"),
    [
        (503, b"", "model_unavailable", "The model server answered with status 503."),
        (404, b"", "model_unavailable", "The model is not loaded on the model server."),
        (200, b"Healthy", "bad_model_reply", "The model's reply is not JSON."),
    ],
)
def test_readyz_says_why_a_model_is_not_ready(upstream, site, *, status, answer, code, message):
    upstream.answer(status, answer)

    reply = site.get("/readyz")

    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "1"
    assert reply.json == {
        "status": "unready",
        "models": {"en": {"ready": False, "error": {"code": code, "message": message}}},
    }


def test_one_model_that_is_not_ready_makes_the_site_unready(raw_upstream, make_site, read_request):
    canary = {"text": "Hawaii", "label": "LOC", "start": 25, "end": 31, "score": 0.9}
    body = json.dumps({"model": MODEL, "entities": [canary]}).encode()

    def play(connection, n):
        head = connection.recv(65536)
        status = b"200 OK" if b"/predictions/en " in head else b"503 Service Unavailable"
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    reply = make_site(raw_upstream(play), models=("en", "de")).get("/readyz")

    assert reply.status_code == 503
    assert {name: state["ready"] for name, state in reply.json["models"].items()} == {"en": True, "de": False}


def test_readyz_asks_all_models_at_the_same_time(raw_upstream, make_site, read_request, good_reply):
    all_asked = threading.Barrier(4, timeout=60)

    def play(connection, n):
        read_request(connection)
        all_asked.wait()
        connection.sendall(good_reply)

    reply = make_site(raw_upstream(play), models=("a", "b", "c", "d"), ready_timeout_s=30).get("/readyz")

    assert reply.status_code == 200


def test_readyz_waits_for_no_model_longer_than_its_timeout(raw_upstream, make_site, silent):
    site = make_site(raw_upstream(silent), models=("a", "b", "c", "d"), ready_timeout_s=0.2)

    reply = site.get("/readyz")

    assert reply.status_code == 503
    assert {state["error"]["code"] for state in reply.json["models"].values()} == {"model_timeout"}
