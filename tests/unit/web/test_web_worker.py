"""What gunicorn's worker does with clients that misbehave, on real sockets."""

import contextlib
import errno
import http.client
import json
import re
import socket
import threading
import time

import pytest
import requests

from web.worker import ClientSocket


def talk(port, data, *, timeout=10):
    """What comes back for *data*, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


@pytest.fixture
def impatient(start_site, upstream):
    return start_site(upstream.url, NERSERVE_CLIENT_TIMEOUT_S="0.5")


def test_a_head_that_never_ends_is_let_go(impatient):
    started = time.monotonic()

    assert talk(impatient.port, b"GET /livez HTTP/1.1\r\nHost: ") == b""
    assert time.monotonic() - started < 5
    assert "Traceback" not in impatient.log.read_text()


@pytest.mark.parametrize(("path", "content_type"), [("/api/predict", "text/plain"), ("/predict", "text/plain")])
def test_a_body_that_stops_is_told_so(impatient, path, content_type):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: 100\r\n\r\nOslo"
    if path == "/predict":
        head = head.replace("text/plain", "application/x-www-form-urlencoded")

    answer = talk(impatient.port, head.encode())

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The request was not complete in time." in answer


def test_a_malformed_chunk_is_a_bad_request(impatient):
    head = (
        b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )

    answer = talk(impatient.port, head)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"malformed_request"' in answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400),
    ],
)
def test_what_is_no_http_is_refused_in_our_own_form(impatient, wait_until, data, status):
    answer = talk(impatient.port, data)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["error"]["code"] == "malformed_request"
    wait_until(impatient.answers)
    (line,) = impatient.answers()
    assert f"X-Request-Id: {line['request_id']}".encode() in head
    assert line["status"] == status


@pytest.fixture
def pair():
    """A client's end, and ours with half a second of patience and one second for a request."""
    client, plain = socket.socketpair()
    ours = ClientSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
    ours.idle_s, ours.request_s = 0.5, 1.0
    ours.setblocking(True)
    with client, ours:
        yield client, ours


def drip(client, ours):
    while True:
        client.sendall(b"x")
        ours.recv(1)
        time.sleep(0.05)


def test_a_request_that_drips_is_given_up_after_its_time(pair):
    client, ours = pair
    started = time.monotonic()

    with pytest.raises(TimeoutError) as caught:
        drip(client, ours)

    assert 0.9 < time.monotonic() - started < 3
    assert caught.value.errno == errno.ECONNRESET  # which gunicorn takes for a client that has gone


def test_each_request_has_a_time_of_its_own(pair):
    client, ours = pair
    for _ in range(3):
        ours.setblocking(True)
        time.sleep(0.4)
        client.sendall(b"x")
        assert ours.recv(1) == b"x"


def test_a_stream_may_take_as_long_as_it_likes_if_something_comes(pair):
    client, ours = pair
    ours.settimeout(0.5)
    for _ in range(8):
        time.sleep(0.2)
        client.sendall(b"x")
        assert ours.recv(1) == b"x"

    with pytest.raises(TimeoutError):
        ours.recv(1)


def test_whoever_takes_nothing_has_gone(pair):
    _, ours = pair

    with pytest.raises(BrokenPipeError):
        ours.sendall(b"x" * 10_000_000)


def test_whoever_takes_a_long_answer_slowly_gets_all_of_it(pair):
    client, ours = pair
    ours.idle_s = 10.0
    ours.setblocking(True)
    data = bytes(range(256)) * 20_000
    sender = threading.Thread(target=ours.sendall, args=(data,))
    sender.start()

    received = b""
    while len(received) < len(data):
        time.sleep(0.001)
        received += client.recv(100_000)
    sender.join()

    assert received == data


def test_a_connection_carries_one_request_after_another(start_site, upstream):
    site = start_site(upstream.url)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=5)) as connection:
        connection.connect()
        own_port = connection.sock.getsockname()[1]
        statuses = []
        for n in range(100):
            method, path = [("GET", "/livez"), ("HEAD", "/"), ("GET", "/static/site.css"), ("DELETE", "/")][n % 4]
            connection.request(method, path)
            reply = connection.getresponse()
            body = reply.read()
            assert len(body) == (0 if method == "HEAD" else int(reply.headers["Content-Length"]))
            statuses.append(reply.status)
            assert connection.sock.getsockname()[1] == own_port

    assert statuses == [200, 200, 200, 405] * 25


def test_requests_that_are_sent_ahead_are_answered_in_order(start_site, upstream):
    site = start_site(upstream.url)
    heads = [b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: r%d\r\n" % n for n in range(10)]

    answer = talk(site.port, b"\r\n".join([*heads[:-1], heads[-1] + b"Connection: close\r\n", b""]))

    assert re.findall(rb"X-Request-Id: (r\d)\r", answer) == [b"r%d" % n for n in range(10)]
    assert answer.count(b'{"status":"alive"}') == 10


def test_a_kept_connection_holds_up_no_stop(start_site, upstream):
    site = start_site(upstream.url)
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{site.url}/livez", timeout=5).status_code == 200
        started = time.monotonic()
        site.process.terminate()

        assert site.process.wait(10) == 0
        assert time.monotonic() - started < 5
