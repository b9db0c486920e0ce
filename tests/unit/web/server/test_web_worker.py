"""What gunicorn's worker does with clients that misbehave, on real sockets."""

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from web.server.client_socket import ClientSocket


def talk(port, data, *, timeout=60, ends=False):
    """What comes back for *data*, until the connection is closed; with *ends* nothing more can follow it."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        if ends:
            connection.shutdown(socket.SHUT_WR)
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
    assert time.monotonic() - started < 20
    assert "Traceback" not in impatient.log.read_text()


@pytest.mark.parametrize(("path", "content_type"), [("/api/predict", "text/plain"), ("/predict", "text/plain")])
def test_a_body_that_stops_is_told_so(impatient, path, content_type):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: 100\r\n\r\nOslo"
    if path == "/predict":
        head = head.replace("text/plain", "application/x-www-form-urlencoded")

    answer = talk(impatient.port, head.encode())

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The request was not complete in time." in answer


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/api/predict", "text/plain"),
        ("/predict", "application/x-www-form-urlencoded"),
        ("/predict", "multipart/form-data; boundary=b"),
    ],
)
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_body_that_ends_early_is_no_whole_one(impatient, upstream, path, content_type, framing):
    body = "text=Oslo"
    if "multipart" in content_type:
        body = '--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nOslo\r\n--b\r\n'
    if "chunked" in framing:
        body = f"{len(body):x}\r\n{body}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n"

    answer = talk(impatient.port, f"{head}{body}".encode(), ends=True)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"The request is not complete." in answer
    assert upstream.requests == []


def test_a_malformed_chunk_is_a_bad_request(impatient):
    head = (
        b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )

    answer = talk(impatient.port, head)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"malformed_request"' in answer


CODINGS = [
    b"gzip, chunked",
    b"GZip ,chunked",
    b"deflate, chunked",
    b"compress, chunked",
    b"gzip\r\nTransfer-Encoding: chunked",
    b"x-gzip, chunked",
    b"br",
]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        *(
            (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %s\r\n\r\n0\r\n\r\n" % coding, 501)
            for coding in CODINGS
        ),
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
    ours.expect_request(0.5)
    ours.sendall(b"")  # an empty head
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

    with pytest.raises(TimeoutError):
        drip(client, ours)

    assert 0.9 < time.monotonic() - started < 30


def test_each_request_has_a_time_of_its_own(pair):
    client, ours = pair
    ours.request_s = 2.5
    for _ in range(3):
        ours.expect_request(0.5)
        time.sleep(0.9)
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


@pytest.fixture
def tcp_pair():
    """The same over TCP, where the system holds megabytes and says seldom that it has room again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        plain, _ = listener.accept()
    ours = ClientSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
    ours.idle_s = 1.5
    ours.expect_request(1.5)
    ours.sendall(b"")  # an empty head
    with client, ours:
        yield client, ours


@pytest.mark.parametrize("is_stream", [False, True])
def test_whoever_takes_a_long_answer_slowly_gets_all_of_it(tcp_pair, *, is_stream):
    client, ours = tcp_pair
    if is_stream:
        ours.settimeout(1.5)
    data = bytes(range(256)) * 40_000
    is_sent = threading.Event()

    def take():
        received = bytearray()
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s:  # 400 kB/s: the system has room again every four seconds
            received += client.recv(20_000)
            time.sleep(0.05)
        assert not is_sent.is_set()
        while len(received) < len(data):
            received += client.recv(1_000_000)
        return received

    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(take)
        ours.sendall(data)
        is_sent.set()

        assert taken.result() == data


def take_a_little(client, is_over, for_s):
    """Take 20 kB/s of what is sent until *is_over* is set, or *for_s* seconds are over."""
    until_s = time.monotonic() + for_s
    while not is_over.is_set() and time.monotonic() < until_s:
        time.sleep(0.05)
        client.recv(1_000)


def test_whoever_takes_too_little_of_an_answer_has_gone(pair):
    client, ours = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # each piece is small, so that something always moves
    ours.idle_s = 1.5
    ours.expect_request(1.5)
    ours.sendall(b"")  # an empty head
    is_over = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(take_a_little, client, is_over, for_s=60)  # all of it in five seconds, if it did not end before
        with pytest.raises(BrokenPipeError, match="too slowly"):
            ours.sendall(b"x" * 100_000)
        is_over.set()


def test_a_stream_may_be_read_as_slowly_as_one_likes_if_something_is_taken(pair):
    client, ours = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    ours.settimeout(1.5)
    is_sent = threading.Event()

    def take():
        take_a_little(client, is_sent, for_s=3)
        assert not is_sent.is_set()
        client.settimeout(0.1)  # all may have been taken before it is sent
        while not is_sent.is_set():
            with contextlib.suppress(TimeoutError):
                client.recv(10_000)

    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(take)
        ours.sendall(b"x" * 100_000)
        is_sent.set()
        taken.result()


def test_whoever_does_not_hang_up_holds_up_nobody(start_site, upstream):
    site = start_site(upstream.url)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60)) for _ in range(25)
        ]
        for client in clients:
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")

        assert requests.get(f"{site.url}/livez", timeout=20).status_code == 200
        for client in clients:
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
            assert answer.endswith(b'{"status":"alive"}\n')


def test_clients_that_do_not_hang_up_are_hung_up_on(start_site, upstream):
    site = start_site(upstream.url, max_files=160)  # room for some forty clients
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.0 200 ")


def test_an_answer_is_not_lost_to_a_client_that_still_sends(start_site, upstream):
    site = start_site(upstream.url)
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as client:
        client.sendall(b"POST /api/predict HTTP/1.0\r\nContent-Encoding: gzip\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(4):  # a reset would come back for the first that finds the connection closed
            time.sleep(0.2)
            client.sendall(b"x" * 5_000)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk

    assert answer.startswith(b"HTTP/1.0 415 ")
    assert b'"unsupported_media_type"' in answer


def children(site):
    """The process ids of the site's workers."""
    master = site.process.pid
    return Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()


def worker_limits(site):
    """Soft and hard limit of open files of the site's one worker."""
    (worker,) = children(site)
    limits = Path(f"/proc/{worker}/limits").read_text(encoding="ascii")
    return [int(limit) for limit in re.search(r"Max open files +(\d+) +(\d+)", limits).groups()]


def test_more_clients_than_files_end_no_worker(start_site, upstream):
    site = start_site(upstream.url, max_files=160)
    with contextlib.ExitStack() as stack:
        for _ in range(250):
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
        time.sleep(1)

    assert worker_limits(site) == [160, 160]
    assert requests.get(f"{site.url}/livez", timeout=30).status_code == 200
    assert [line for line in site.lines() if line["level"] in {"error", "critical"}] == []


BREAKS_OFF = """
from web.app import create_app

app = create_app()
whole = app.wsgi_app


def wsgi_app(environ, start_response):
    if environ["PATH_INFO"] != "/broken":
        return whole(environ, start_response)
    start_response("200 OK", [("Content-Length", "2")])
    return half()


def half():
    yield b"o"
    raise ValueError("in the middle of an answer")


app.wsgi_app = wsgi_app
"""


def test_answers_that_break_off_let_no_more_clients_in(start_site, dead_url, tmp_path):
    (tmp_path / "breaks_off.py").write_text(BREAKS_OFF, encoding="utf-8")
    site = start_site(dead_url, app="breaks_off:app", PYTHONPATH=str(tmp_path), max_files=160)
    for _ in range(100):
        assert talk(site.port, b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\no")
    (worker,) = children(site)

    with contextlib.ExitStack() as stack:
        for _ in range(250):
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=5))
        time.sleep(1)

    assert requests.get(f"{site.url}/livez", timeout=30).status_code == 200
    assert children(site) == [worker]


def test_the_limit_of_open_files_is_raised_as_far_as_it_is_needed(start_site, upstream):
    lowered = start_site(upstream.url, max_files=160, is_soft=True)

    soft, hard = worker_limits(lowered)

    assert min(hard, 1_000) < soft <= hard


def test_a_connection_carries_one_request_after_another(start_site, upstream):
    site = start_site(upstream.url)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)) as connection:
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
    site = start_site(upstream.url, NERSERVE_TIMEOUT_S="60", GUNICORN_CMD_ARGS="--keep-alive 60")
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{site.url}/livez", timeout=60).status_code == 200
        site.process.terminate()

        assert site.process.wait(40) == 0
