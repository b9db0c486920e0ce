import json
import logging
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from socket import SO_LINGER, SOL_SOCKET

import pytest

from contract.errors import (
    DeadlineExceededError,
    ModelReplyError,
    ModelTimeoutError,
    ModelUnavailableError,
    OverloadedError,
    RequestTooLargeError,
    TooManyRequestsError,
    UpstreamError,
)
from contract.options import Options
from web.upstream.client import Caller
from web.upstream.errors import RequestRejectedError

PHRASE = "Attack at dawn"


def reset(connection):
    """Close with a reset instead of a farewell."""
    connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


def test_one_text_is_sent_as_json_and_its_entities_come_back(upstream, make_client):
    reply = make_client(upstream.url).tag_text("en", "Oslo, Hawaii")

    assert [(entity.text, entity.start, entity.end) for entity in reply.entities] == [("Oslo", 0, 4), ("Hawaii", 6, 12)]
    (path, headers, body) = upstream.requests[0]
    assert path == "/predictions/en"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"text": "Oslo, Hawaii"}


def test_several_texts_are_sent_at_once(upstream, make_client):
    reply = make_client(upstream.url).tag_texts("en", ["Oslo", "", "x"])

    assert [len(result) for result in reply.results] == [1, 0, 0]
    assert json.loads(upstream.requests[0][2]) == {"texts": ["Oslo", "", "x"]}


def test_a_path_in_front_of_the_api_is_kept(upstream, make_client):
    make_client(f"{upstream.url}/ner").tag_text("en", "x")

    assert upstream.requests[0][0] == "/ner/predictions/en"


def test_lone_surrogates_arrive_as_they_were_sent(upstream, make_client):
    make_client(upstream.url).tag_text("en", "\ud800 Oslo \udfff")

    body = upstream.requests[0][2]
    assert body == rb'{"text":"\ud800 Oslo \udfff"}'
    assert json.loads(body)["text"] == "\ud800 Oslo \udfff"


def test_only_our_own_headers_are_sent(upstream, make_client):
    make_client(upstream.url).tag_text("en", "x")

    names = {name.lower() for name in upstream.requests[0][1]}
    assert names == {
        "host", "accept-encoding", "content-type", "content-length", "user-agent", "x-request-deadline",
    }  # fmt: skip


def test_a_cookie_of_torchserve_is_not_kept(upstream, make_client):
    upstream.answer(
        200, {"model": {"name": "n", "version": "v", "digest": "d"}, "entities": []}, **{"Set-Cookie": "a=b"}
    )
    client = make_client(upstream.url)

    client.tag_text("en", "x")
    client.tag_text("en", "x")

    assert "Cookie" not in upstream.requests[1][1]


def test_proxies_and_netrc_of_the_environment_are_not_used(upstream, make_client, dead_url, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", dead_url)

    make_client(upstream.url).tag_text("en", "x")

    assert "Authorization" not in upstream.requests[0][1]


@pytest.mark.parametrize(
    ("status", "reply", "error", "message"),
    [
        (404, {"code": 404, "type": "ModelNotFoundException", "message": "m"}, ModelUnavailableError, "not loaded"),
        (500, {"code": 500, "type": "InternalServerException", "message": "m"}, ModelUnavailableError, "status 500"),
        (503, {"code": 503, "type": "ServiceUnavailableException", "message": "m"}, ModelUnavailableError, "503"),
        (507, {"code": 507, "type": "InsufficientStorage", "message": "m"}, ModelUnavailableError, "status 507"),
        (503, b"", ModelUnavailableError, "status 503"),
        (400, {"code": 400, "type": "InvalidKeyException", "message": "m"}, ModelUnavailableError, "our key"),
        (400, {"code": 400, "type": "BadRequestException", "message": "m"}, ModelReplyError, 'the key "error"'),
        (400, b"", ModelReplyError, "not JSON"),
        (413, b"<html>", ModelReplyError, "not JSON"),
        (401, b"", ModelReplyError, "status 401"),
        (204, b"", ModelReplyError, "status 204"),
        (302, b"", ModelReplyError, "status 302"),
        (200, b"", ModelReplyError, "not JSON"),
        (200, {"entities": []}, ModelReplyError, 'the key "model"'),
    ],
)
def test_each_way_of_failing_has_its_error(upstream, make_client, *, status, reply, error, message):
    upstream.answer(status, reply)

    with pytest.raises(error, match=message):
        make_client(upstream.url).tag_text("en", PHRASE)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "malformed_request"), (413, "text_too_long"), (400, "a_code_of_tomorrow")]
)
def test_a_rejection_is_passed_on(upstream, make_client, status, code):
    upstream.answer(status, {"error": {"code": code, "message": "No."}})

    with pytest.raises(RequestRejectedError, match=r"^No\.$") as caught:
        make_client(upstream.url).tag_texts("en", ["x"])

    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_bare_413_is_a_rejection(upstream, make_client):
    upstream.answer(413, b"")

    with pytest.raises(RequestRejectedError) as caught:
        make_client(upstream.url).tag_text("en", "x")

    assert (caught.value.status, caught.value.code) == (413, "request_too_large")


def test_redirects_are_not_followed(upstream, make_client, dead_url):
    upstream.answer(307, b"", Location=dead_url)

    with pytest.raises(ModelReplyError, match="status 307"):
        make_client(upstream.url).tag_text("en", "x")


def test_a_compressed_reply_is_refused(upstream, make_client):
    upstream.answer(200, b"\x1f\x8b\x08", **{"Content-Encoding": "gzip"})

    with pytest.raises(ModelReplyError, match="not JSON"):
        make_client(upstream.url).tag_text("en", "x")


def test_a_body_over_the_limit_of_torchserve_is_not_sent(upstream, make_client):
    with pytest.raises(RequestTooLargeError, match="takes 1,011 bytes on the way to the model, the limit is 1,010"):
        make_client(upstream.url, max_request_bytes=1_010).tag_texts("en", ["é" * 249, "é" * 248])

    assert upstream.requests == []


def test_a_reply_without_end_is_cut_off(raw_upstream, make_client, read_request):
    def play(connection, n):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            connection.sendall(b" " * 1_000_000)

    with pytest.raises(ModelReplyError, match="more than 16777216 bytes"):
        make_client(raw_upstream(play)).tag_text("en", "x")


def test_nobody_listening_is_unavailable(dead_url, make_client):
    with pytest.raises(ModelUnavailableError):
        make_client(dead_url).tag_text("en", "x")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
    ids=["none", "half its head", "half its body", "half a chunk", "no chunk", "not HTTP", "200 headers"],
)
def test_a_broken_reply_is_unavailable(raw_upstream, make_client, read_request, reply):
    def play(connection, n):
        read_request(connection)
        connection.sendall(reply)

    with pytest.raises(UpstreamError) as caught:
        make_client(raw_upstream(play)).tag_text("en", "x")

    assert caught.value.code in {"model_unavailable", "bad_model_reply"}


def test_a_reset_within_the_reply_is_unavailable(raw_upstream, make_client, read_request):
    def play(connection, n):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.05)
        reset(connection)

    with pytest.raises(ModelUnavailableError):
        make_client(raw_upstream(play)).tag_text("en", "x")


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"],
    ids=["before the status line", "within the headers", "within one header", "within the body"],
)
def test_a_slow_drip_hits_the_deadline(raw_upstream, make_client, read_request, head):
    def play(connection, n):
        read_request(connection)
        connection.sendall(head)
        while True:  # until the client hangs up
            connection.sendall(b"H")
            time.sleep(0.02)

    client = make_client(raw_upstream(play), timeout_s=0.3)
    started = time.monotonic()

    with pytest.raises(ModelTimeoutError, match=r"within 0\.3 seconds"):
        client.tag_text("en", "x")

    assert 0.25 < time.monotonic() - started < 30


def test_silence_hits_the_deadline(raw_upstream, make_client, silent):
    client = make_client(raw_upstream(silent), timeout_s=0.2)

    with pytest.raises(ModelTimeoutError):
        client.tag_text("en", "x")


def test_a_probe_has_its_own_deadline(raw_upstream, make_client, silent):
    client = make_client(raw_upstream(silent), timeout_s=60)

    with pytest.raises(ModelTimeoutError, match=r"within 0\.1 seconds"):
        client.probe("en", "x", timeout_s=0.1)


def test_a_timeout_leaves_nothing_behind_for_the_next_call(raw_upstream, make_client, read_request, good_reply):
    too_late = threading.Event()

    def play(connection, n):
        read_request(connection)
        if n == 0:
            too_late.wait(60)
        connection.sendall(good_reply)

    client = make_client(raw_upstream(play))
    with pytest.raises(ModelTimeoutError):
        client.tag_text("en", "Oslo", caller=Caller(timeout_s=0.2))
    too_late.set()

    assert client.tag_text("en", "x").entities == []


def test_a_connection_is_used_again(raw_upstream, make_client, read_request, good_reply):
    connections = []

    def play(connection, n):
        connections.append(n)
        for _ in range(3):
            read_request(connection)
            connection.sendall(good_reply)

    client = make_client(raw_upstream(play))
    for _ in range(3):
        client.tag_text("en", "x")

    assert connections == [0]


@pytest.mark.parametrize("farewell", [lambda _: None, reset], ids=["closed", "reset"])
def test_a_kept_connection_closed_instead_of_a_reply_is_retried(
    raw_upstream, make_client, read_request, good_reply, farewell
):
    bodies = []

    def play(connection, n):
        bodies.append(read_request(connection))
        connection.sendall(good_reply)
        if n == 0:
            bodies.append(read_request(connection))
            farewell(connection)

    client = make_client(raw_upstream(play))
    client.tag_text("en", "first")

    assert client.tag_text("en", "second").entities == []
    assert [json.loads(body)["text"] for body in bodies] == ["first", "second", "second"]


def test_a_connection_closed_while_it_was_idle_is_replaced(raw_upstream, make_client, read_request, good_reply):
    def play(connection, n):
        read_request(connection)
        connection.sendall(good_reply)

    client = make_client(raw_upstream(play))
    client.tag_text("en", "first")
    time.sleep(0.05)

    assert client.tag_text("en", "second").entities == []


def test_torchserve_closing_after_every_error_does_not_disturb(upstream, make_client):
    client = make_client(upstream.url)
    upstream.answer(503, b"")
    with pytest.raises(ModelUnavailableError):
        client.tag_text("en", "x")
    upstream.canned = None

    assert client.tag_text("en", "x").entities == []


def test_a_new_connection_closed_instead_of_a_reply_is_unavailable(raw_upstream, make_client, read_request):
    bodies = []
    client = make_client(raw_upstream(lambda connection, _: bodies.append(read_request(connection))))

    with pytest.raises(ModelUnavailableError):
        client.tag_text("en", "x")

    assert len(bodies) == 1


def test_after_a_kept_connection_was_closed_the_deadline_is_still_the_same(
    raw_upstream, make_client, read_request, *, good_reply, silent
):
    bodies = []

    def play(connection, n):
        bodies.append(read_request(connection))
        if n == 0:
            connection.sendall(good_reply)
            bodies.append(read_request(connection))
            time.sleep(1.5)
        else:
            silent(connection, n)

    client = make_client(raw_upstream(play), timeout_s=3)
    client.tag_text("en", "first")
    started = time.monotonic()

    with pytest.raises(ModelTimeoutError):
        client.tag_text("en", "second")

    assert time.monotonic() - started < 1.5 + 3
    assert len(bodies) == 3


def test_nothing_is_sent_when_no_time_is_left(upstream, make_client):
    with pytest.raises(ModelTimeoutError):
        make_client(upstream.url, timeout_s=1e-9).tag_text("en", "x")

    assert upstream.requests == []


@pytest.mark.parametrize(
    ("status", "reply"),
    [(503, b""), (200, b"{}"), (413, {"error": {"code": "text_too_long", "message": PHRASE}})],
)
def test_failures_are_logged_without_a_text(upstream, make_client, caplog, status, reply):
    caplog.set_level(logging.INFO, logger="web")
    upstream.answer(status, reply)

    with pytest.raises(UpstreamError):
        make_client(upstream.url).tag_text("en", PHRASE)
    with pytest.raises(UpstreamError):
        make_client(upstream.url).tag_texts("en", [PHRASE])

    assert len(caplog.records) == 2
    assert "model en" in caplog.text
    assert PHRASE not in caplog.text


def test_the_deadline_of_an_attempt_goes_along(upstream, make_client):
    before_s = time.time()

    make_client(upstream.url, timeout_s=3).tag_text("en", "x")

    deadline_s = float(upstream.requests[0][1]["X-Request-Deadline"])
    assert before_s + 2 < deadline_s < time.time() + 3.01


def test_a_caller_may_have_less_time_but_not_more(raw_upstream, make_client, silent):
    client = make_client(raw_upstream(silent), timeout_s=0.3)

    for asked_s, told in [(0.1, r"within 0\.1 seconds"), (60, r"within 0\.3 seconds")]:
        with pytest.raises(ModelTimeoutError, match=told):
            client.tag_text("en", "x", caller=Caller(timeout_s=asked_s))


def test_the_id_of_a_request_goes_along(upstream, make_client):
    make_client(upstream.url).tag_text("en", "x", caller=Caller("order-17"))

    assert upstream.requests[0][1]["X-Request-Id"] == "order-17"


@pytest.mark.parametrize(
    ("status", "code", "error", "shown"),
    [
        (503, "overloaded", OverloadedError, (503, "overloaded", 1)),
        (504, "deadline_exceeded", DeadlineExceededError, (504, "deadline_exceeded", None)),
        (503, "deadline_exceeded", ModelUnavailableError, (503, "model_unavailable", 1)),
        (504, "overloaded", ModelUnavailableError, (503, "model_unavailable", 1)),
    ],
)
def test_what_a_worker_says_of_its_load_is_passed_on(upstream, make_client, *, status, code, error, shown):
    upstream.answer(status, {"error": {"code": code, "message": PHRASE}})

    with pytest.raises(error) as caught:
        make_client(upstream.url).tag_text("en", "x")

    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == shown
    assert PHRASE not in str(caught.value)


@pytest.mark.parametrize(("status", "code"), [(415, "unsupported_media_type"), (422, "invalid_option")])
def test_other_refusals_are_passed_on_too(upstream, make_client, status, code):
    upstream.answer(status, {"error": {"code": code, "message": "No."}})

    with pytest.raises(RequestRejectedError, match=r"^No\.$") as caught:
        make_client(upstream.url).tag_text("en", "x", Options(labels=("GENE",)))

    assert (caught.value.status, caught.value.code) == (status, code)


def test_any_text_within_the_limit_of_characters_fits_in_that_of_bytes(upstream, make_client):
    client = make_client(upstream.url, max_request_bytes=1_048_576)

    for char in ["😀", "\x00", "\ud800", '"']:
        client.tag_text("en", char * 100_000)
        client.tag_texts("en", [char * 390] * 256)

    assert [json.loads(body) for _, _, body in upstream.requests[:2]] == [
        {"text": "😀" * 100_000},
        {"texts": ["😀" * 390] * 256},
    ]


def test_whoever_waits_for_a_turn_in_vain_has_not_bothered_the_model(
    raw_upstream, make_client, read_request, *, good_reply, wait_until
):
    attempts = []
    go_on = threading.Event()

    def play(connection, n):
        attempts.append(read_request(connection))
        go_on.wait(60)
        connection.sendall(good_reply)

    client = make_client(raw_upstream(play), timeout_s=60, queue_s=0.1)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(client.tag_text, "en", "x") for _ in range(4)]
        wait_until(lambda: len(attempts) == 4)
        with pytest.raises(TooManyRequestsError):
            client.tag_text("en", "y")
        go_on.set()
        replies = [task.result().entities for task in waiting]

    assert replies == [[]] * 4
    assert len(attempts) == 4
