"""The client on which "0 lost, 0 hung" rests, against servers that behave badly."""

import contextlib
import socket
import struct
import threading
import time

import pytest

from bench.load import HUNG, LOST, REFUSED, RIGHT, WRONG, Load, Request

BODY = b'{"entities": []}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x;a=b\r\n%s\r\n0\r\n\r\n" % (
    BODY[:5],
    len(BODY) - 5,
    BODY[5:],
)
ERROR = b'{"error": {"code": "overloaded", "message": "come back later"}}'
OVERLOADED = b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ERROR),
    ERROR,
)


def replies(*all_replies):
    """Answers the requests of each connection with *all_replies* in turn, then reads one more and closes."""

    def serve(connection, received):
        stream = connection.makefile("rb")
        for reply in [*all_replies, b""]:
            if not read_request(stream, received):
                return
            connection.sendall(reply)

    return serve


def breaks_off(part):
    """Answers the first request of each connection with *part* of a reply, and closes."""

    def serve(connection, received):
        read_request(connection.makefile("rb"), received)
        connection.sendall(part)

    return serve


def resets(connection, received):
    read_request(connection.makefile("rb"), received)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_silent(connection, received):
    read_request(connection.makefile("rb"), received)
    connection.recv(1)  # until the client has had enough


def read_request(stream, received):
    lines = []
    while line := stream.readline().strip():  # nothing at the end of the head, and of the connection
        lines.append(line)
    if not lines:
        return False
    (length,) = (int(line.split()[1]) for line in lines if line.lower().startswith(b"content-length:"))
    received.append((lines[0].decode(), stream.read(length)))
    return True


class Server:
    """A server on the loopback address; *serve* gets each connection, and the requests read until then."""

    def __init__(self, serve):
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.received = []
        self.num_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.num_connections += 1
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection, contextlib.suppress(OSError):
            self._serve(connection, self.received)
            if self._serve is not resets:
                connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()


@pytest.fixture
def serving():
    servers = []

    def start(serve):
        servers.append(Server(serve))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def asked_once(url, deadline_s=5.0):
    """What becomes of one request."""
    load = Load(url, [Request("/predict", b"{}")], deadline_s)
    load.run_closed(1, 0)
    (outcome,) = load.outcomes
    return outcome


def kinds_of(outcomes):
    return [outcome.kind for outcome in outcomes]


@pytest.mark.parametrize("reply", [OK, CLOSE, CHUNKED])
def test_answers_are_read_whole(serving, reply):
    server = serving(replies(reply, reply, reply))
    requests = [Request("/predict", b"{}", is_right=lambda status, body: (status, body) == (200, BODY))]
    load = Load(server.url, requests, deadline_s=5.0)

    load.run_closed(3, 0)

    assert kinds_of(load.outcomes) == [RIGHT] * 3


def test_a_request_that_was_read_and_never_answered_is_lost_on_a_kept_connection_too(serving):
    server = serving(replies(OK))
    load = Load(server.url, [Request("/predict", b"%d" % i) for i in range(100_000)], deadline_s=5.0)

    load.run_closed(1, 0.2)

    kinds = kinds_of(load.outcomes)
    assert len(kinds) > 1
    assert set(kinds[0::2]) == {RIGHT}
    assert set(kinds[1::2]) == {LOST}
    assert server.received == [("POST /predict HTTP/1.1", b"%d" % i) for i in range(len(kinds))]  # none twice


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (replies(), LOST),
        (resets, LOST),
        (breaks_off(OK[:-3]), LOST),
        (breaks_off(OK[:20]), LOST),
        (breaks_off(b"HTTP/1.1 200 OK\r\nConte"), LOST),
        (replies(OVERLOADED), "503 overloaded"),
        (replies(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"), "500"),
    ],
)
def test_what_is_no_answer_is_told_apart(serving, serve, kind):
    server = serving(serve)

    outcome = asked_once(server.url)

    assert outcome.kind == kind
    assert outcome.has_retry_after == (kind == "503 overloaded")


def test_an_answer_that_is_not_the_expected_one_is_wrong(serving):
    server = serving(replies(OK))
    load = Load(server.url, [Request("/", b"{}", is_right=lambda _status, body: body == b"[]")], deadline_s=5.0)

    load.run_closed(1, 0)

    assert kinds_of(load.outcomes) == [WRONG]


def test_a_client_without_an_answer_hangs_until_its_deadline(serving):
    server = serving(is_silent)

    outcome = asked_once(server.url, deadline_s=0.3)

    assert outcome.kind == HUNG
    assert 0.3 <= outcome.latency_s < 3


def test_nobody_there_is_refused():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{one.getsockname()[1]}"

        outcome = asked_once(url)

    assert outcome.kind == REFUSED


def test_a_connection_that_the_server_closed_while_nobody_asked_is_not_used(serving):
    server = serving(breaks_off(OK))

    load = Load(server.url, [Request("/predict", b"{}")], deadline_s=5.0)

    load.start(rate=10)
    time.sleep(0.5)
    load.stop()

    assert len(load.outcomes) > 1
    assert set(kinds_of(load.outcomes)) == {RIGHT}


def test_a_connection_is_kept_for_a_while_and_no_longer(serving):
    server = serving(replies(*[OK] * 100_000))
    kept = Load(server.url, [Request("/", b"{}")], deadline_s=5.0)
    left = Load(server.url, [Request("/", b"{}")], deadline_s=5.0, kept_s=0.0)

    kept.run_closed(1, 0.1)
    connections_kept = server.num_connections
    left.run_closed(1, 0.1)

    assert connections_kept == 1
    assert server.num_connections - connections_kept == len(left.outcomes) > 0
    assert kinds_of([*kept.outcomes, *left.outcomes]) == [RIGHT] * (len(kept.outcomes) + len(left.outcomes))
