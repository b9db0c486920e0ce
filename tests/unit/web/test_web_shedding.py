"""Refusals while no more may wait: as cheap as they are, they say what every other refusal says."""

import contextlib
import json
import threading

import pytest
import requests

LONG = "x" * 50_000  # too long to be refused unread
ROOM = {"max_in_flight": 1, "max_queue": 1}


@pytest.fixture
def full(upstream, make_site):
    """A site in which no more may wait."""
    site = make_site(upstream.url, **ROOM)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(site.application.extensions["nerserve"].admission.request())
        yield site


def numbers(site):
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in site.get("/metrics").text.splitlines()
        if not line.startswith("#")
    }


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"json": {"text": "x"}}, {"json": {"text": LONG}}),
        (
            {"data": b"x", "content_type": "text/plain; charset=UTF-8"},
            {"data": LONG.encode(), "content_type": "text/plain"},
        ),
        ({"json": {"texts": ["x"], "offsets": "utf8"}}, {"json": {"texts": [LONG]}}),
    ],
)
def test_a_request_refused_unread_gets_what_one_gets_that_was_read(full, upstream, short, long):
    unread = full.post("/api/predict", **short)
    read = full.post("/api/predict", **long)

    assert unread.status == read.status == "429 TOO MANY REQUESTS"
    assert unread.data == read.data
    assert unread.json["error"]["code"] == "too_many_requests"
    assert unread.headers["Retry-After"] == "1"
    assert {**unread.headers, "X-Request-Id": ""} == {**read.headers, "X-Request-Id": ""}
    assert upstream.requests == []


def test_both_are_counted_alike(full):
    full.post("/api/predict", json={"text": "x"}).close()
    unread = numbers(full)
    full.post("/api/predict", json={"text": LONG}).close()
    read = numbers(full)

    for name in [
        'nerserve_rejected_total{reason="queue_full"}',
        'nerserve_errors_total{code="too_many_requests"}',
        'nerserve_request_seconds_count{endpoint="api.predict",status="4xx"}',
    ]:
        assert (unread[name], read[name]) == (1, 2)


@pytest.mark.parametrize(
    ("method", "path", "request_", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/livez", {}, 200),
        ("GET", "/readyz", {}, 200),
        ("GET", "/api/predict", {}, 405),
        ("POST", "/api/nowhere", {"json": {"text": "x"}}, 404),
        ("POST", "/api/predict", {"data": b"x", "content_type": "image/png"}, 415),
        ("POST", "/api/predict", {"data": b'{"text": "x"}\n', "content_type": "application/x-ndjson"}, 429),
        ("POST", "/predict", {"data": {"text": "x"}}, 429),
    ],
)
def test_everything_else_is_answered_as_ever(full, method, path, request_, status):
    with full.open(path, method=method, **request_) as reply:
        assert reply.status_code == status
        assert reply.data


def test_who_comes_when_there_is_room_again_is_answered(upstream, make_site):
    site = make_site(upstream.url, **ROOM)
    admission = site.application.extensions["nerserve"].admission

    with admission.request(), admission.request():
        refused = site.post("/api/predict", json={"text": "Oslo"})
    answered = site.post("/api/predict", json={"text": "Oslo"})

    assert (refused.status_code, answered.status_code) == (429, 200)


def test_a_connection_serves_on_after_a_refusal(start_site, raw_upstream, read_request, good_reply, wait_until):
    go_on = threading.Event()
    asked = []

    def play(connection, n):
        asked.append(read_request(connection))
        go_on.wait(60)
        connection.sendall(good_reply)

    site = start_site(raw_upstream(play), NERSERVE_MAX_IN_FLIGHT="1", NERSERVE_MAX_QUEUE="0", NERSERVE_TIMEOUT_S="60")
    url = f"{site.url}/api/predict"
    first = threading.Thread(target=requests.post, args=(url,), kwargs={"json": {"text": "first"}, "timeout": 90})
    first.start()
    wait_until(lambda: asked)
    with requests.Session() as session:
        refused = [session.post(url, json={"text": "x" * n}, timeout=60) for n in (1, 20_000, 3)]
        go_on.set()
        first.join()
        answered = session.post(url, json={"text": "last"}, timeout=60)

    assert [reply.status_code for reply in refused] == [429] * 3
    assert answered.status_code == 200
    assert json.loads(asked[-1]) == {"text": "last"}
