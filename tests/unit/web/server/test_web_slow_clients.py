"""Hundreds of clients that stop in the middle cost the others nothing; under gunicorn, on real sockets."""

import contextlib
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

TEXT = b'{"text": "Oslo"}'
PREDICT = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = PREDICT + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(TEXT), TEXT)
SLOW = {
    "silent": b"",
    "half a head": b"GET /livez HTTP/1.1\r\nHost: ",
    "half a body": PREDICT + b"Content-Length: 1000\r\n\r\n" + TEXT,
    "half a chunk": PREDICT + b'Transfer-Encoding: chunked\r\n\r\n100\r\n{"text',
}


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer_on(connection):
    """All that comes until the connection is closed."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def is_open(connection):
    """Whether the site has neither answered nor closed *connection*."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        connection.recv(1)
        return False
    return True


def workers(site):
    return psutil.Process(site.process.pid).children()


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_keep_nobody_waiting(start_site, upstream, kind):
    site = start_site(upstream.url, NERSERVE_CLIENT_TIMEOUT_S="600")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(site.port)) for _ in range(400)]
        for connection in slow:
            connection.sendall(SLOW[kind])

        alive = requests.get(f"{site.url}/livez", timeout=50)
        answered = requests.post(f"{site.url}/api/predict", json={"text": "Oslo"}, timeout=50)

        assert (alive.status_code, answered.status_code) == (200, 200)
        assert all(map(is_open, slow))


def test_whoever_does_not_read_a_long_answer_keeps_nobody_waiting(start_site, dead_url):
    site = start_site(dead_url, NERSERVE_CLIENT_TIMEOUT_S="600")
    page = len(requests.get(f"{site.url}/openapi.json", timeout=60).content)
    ahead = 8_000_000 // page  # more than the system holds for a client
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", site.port))
            client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * min(ahead, 500))

        assert requests.get(f"{site.url}/livez", timeout=50).status_code == 200


def test_whoever_sends_request_upon_request_leaves_room_for_others(start_site, dead_url):
    site = start_site(dead_url)
    is_over = False

    def send(connection):
        with contextlib.suppress(OSError):
            while not is_over:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 100)

    def take(connection):
        with contextlib.suppress(OSError):
            while connection.recv(1_000_000):
                pass

    with ThreadPoolExecutor(2) as pool, connected(site.port) as busy:
        pool.submit(send, busy)
        pool.submit(take, busy)
        time.sleep(0.5)
        try:
            assert requests.get(f"{site.url}/livez", timeout=50).status_code == 200
        finally:
            is_over = True
            busy.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("framing", ["Content-Length: 5000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/predict", "/api/predict"])
def test_a_body_that_is_too_large_gets_its_answer_however_late_it_is_read(start_site, dead_url, path, framing):
    site = start_site(dead_url)
    kind = "application/x-www-form-urlencoded" if path == "/predict" else "text/plain"
    with connected(site.port) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode())
        if "chunked" in framing:
            client.sendall(b"4c4b40\r\n")
        client.sendall(b"x" * 5_000_000)
        answer = answer_on(client)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"The request is too large" in answer


def test_a_stop_waits_for_nobody_who_sends_nothing(start_site, upstream):
    site = start_site(
        upstream.url, NERSERVE_CLIENT_TIMEOUT_S="600", NERSERVE_TIMEOUT_S="600"
    )  # it would wait for 602 s
    with contextlib.ExitStack() as stack:
        slow = {kind: stack.enter_context(connected(site.port)) for kind in SLOW}
        for kind, connection in slow.items():
            connection.sendall(SLOW[kind])
        kept = stack.enter_context(requests.Session())
        assert kept.get(f"{site.url}/livez", timeout=60).status_code == 200
        site.process.terminate()

        assert site.process.wait(60) == 0
        assert answer_on(slow["half a body"]).startswith(b"HTTP/1.1 400 ")
        assert answer_on(slow["half a head"]) == b""


def test_a_stop_answers_what_waits_to_be_accepted(start_site, upstream, wait_until):
    site = start_site(upstream.url)
    (worker,) = workers(site)
    worker.suspend()
    wait_until(lambda: worker.status() == psutil.STATUS_STOPPED)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connected(site.port)) for _ in range(60)]
        for connection in waiting:
            connection.sendall(WHOLE)
        site.process.terminate()
        wait_until(lambda: has_pending(worker.pid, signal.SIGTERM))
        worker.resume()

        assert [answer_on(connection)[:13] for connection in waiting] == [b"HTTP/1.1 200 "] * 60
    assert site.process.wait(60) == 0


def has_pending(pid, number):
    """Whether a signal waits for a process that is stopped."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("ShdPnd")]
    return bool(int(line.split()[1], 16) & 1 << (number - 1))


def test_a_request_that_is_still_being_sent_when_a_stop_begins_is_answered(start_site, upstream, wait_until):
    site = start_site(upstream.url)
    with connected(site.port) as client:
        client.sendall(WHOLE[:-4])
        wait_until(lambda: requests.get(f"{site.url}/livez", timeout=60).status_code == 200)
        os.kill(site.process.pid, signal.SIGTERM)
        for n in range(-4, 0):
            time.sleep(0.3)
            client.sendall(WHOLE[n : n + 1 or None])

        assert answer_on(client).startswith(b"HTTP/1.1 200 ")
    assert site.process.wait(60) == 0


def test_work_on_a_long_answer_lets_others_in_between(start_site, raw_upstream, read_request):
    """The order of events: while one answer with 300,000 entities is checked and written, others are answered."""
    model = {"name": "en", "version": "1.0", "digest": "sha256:0"}
    entity = '{"text": "A", "label": "ORG", "start": %d, "end": %d, "score": 0.5}'
    entities = ", ".join(entity % (3 * n, 3 * n + 1) for n in range(300_000))
    body = f'{{"model": {json.dumps(model)}, "entities": [{entities}]}}'.encode()

    def play(connection, n):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    site = start_site(raw_upstream(play), NERSERVE_MAX_CHARS="1000000")
    num_answered = 0
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(requests.post, f"{site.url}/api/predict", json={"text": "A, " * 300_000}, timeout=120)
        while not long.done():
            assert requests.get(f"{site.url}/livez", timeout=60).status_code == 200
            num_answered += 1

    assert long.result().json()["entities"][-1]["start"] == 899_997
    assert num_answered > 20


LONG_ANSWERS = """
from web.app import create_app

app = create_app()


def wsgi_app(environ, start_response):
    start_response("200 OK", [("Content-Length", "10000000")])
    return [b"x" * 10_000_000]


app.wsgi_app = wsgi_app
"""


def test_long_answers_that_nobody_takes_have_bounded_room(start_site, dead_url, tmp_path):
    (tmp_path / "long_answers.py").write_text(LONG_ANSWERS, encoding="utf-8")
    site = start_site(dead_url, app="long_answers:app", PYTHONPATH=str(tmp_path), NERSERVE_CLIENT_TIMEOUT_S="600")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(site.port)) for _ in range(20)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(1) == b"H"

        assert answer_on(clients[-1]).endswith(b"x" * 10_000_000)
        with contextlib.suppress(ConnectionResetError):
            assert len(answer_on(clients[0])) < 10_000_000
