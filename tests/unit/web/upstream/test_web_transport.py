import ssl
import threading
import time

import pytest
import trustme

from contract.errors import ModelTimeoutError, ModelUnavailableError
from web.upstream.transport import DeadlineTransport
from web.upstream.wire import Reply


def test_a_whole_reply_comes_back_with_its_status(raw_upstream, read_request):
    def play(connection, n):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 5\r\n\r\nshort")

    reply = DeadlineTransport(1).exchange(raw_upstream(play), b"{}", timeout_s=30, max_bytes=5)

    assert reply == Reply(418, b"short")


def test_sending_counts_towards_the_deadline(raw_upstream):
    over = threading.Event()
    url = raw_upstream(lambda *_: over.wait(60))
    started = time.monotonic()

    with pytest.raises(ModelTimeoutError):
        DeadlineTransport(1).exchange(url, b"x" * 50_000_000, timeout_s=0.3, max_bytes=1)

    assert time.monotonic() - started < 30
    over.set()


def test_a_stream_that_never_pauses_hits_the_deadline(raw_upstream, read_request):
    def play(connection, n):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 100)

    with pytest.raises(ModelTimeoutError):
        DeadlineTransport(1).exchange(raw_upstream(play), b"{}", timeout_s=0.2, max_bytes=10**12)


def test_nothing_can_be_sent_without_a_deadline():
    assert [name for name in dir(DeadlineTransport(1)) if not name.startswith("_")] == ["exchange"]


@pytest.mark.parametrize("value", ["a\nX-Evil: 1", "a\rb"])
def test_a_value_that_would_begin_another_header_is_refused(dead_url, value):
    with pytest.raises(ValueError, match="in one line"):
        DeadlineTransport(1).exchange(dead_url, b"{}", headers={"X-Request-Id": value}, timeout_s=1, max_bytes=1)


@pytest.fixture
def authority():
    """A certificate authority made for this one test."""
    return trustme.CA()


@pytest.fixture
def certificate(authority, tmp_path):
    """A file with the certificates that a client is to trust."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return tmp_path / "authority.pem"


@pytest.fixture
def tls(authority):
    """Wrap the server's side of a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return lambda connection: context.wrap_socket(connection, server_side=True)


def test_tls_keeps_the_deadline_and_the_connection_too(raw_upstream, read_request, certificate, tls):
    requests_ = []

    def play(connection, n):
        with tls(connection) as wrapped:
            requests_.append((n, read_request(wrapped)))
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            requests_.append((n, read_request(wrapped)))
            while True:  # until the client hangs up
                wrapped.sendall(b"H")
                time.sleep(0.02)

    url = raw_upstream(play).replace("http:", "https:")
    transport = DeadlineTransport(1, ca_file=certificate)

    reply = transport.exchange(url, b"one", timeout_s=30, max_bytes=100)
    with pytest.raises(ModelTimeoutError):
        transport.exchange(url, b"two", timeout_s=1.5, max_bytes=100)

    assert reply == Reply(200, b"ok")
    assert requests_ == [(0, b"one"), (0, b"two")]


def test_a_handshake_that_never_ends_hits_the_deadline(raw_upstream, certificate, silent):
    url = raw_upstream(silent).replace("http:", "https:")
    started = time.monotonic()

    with pytest.raises(ModelTimeoutError):
        DeadlineTransport(1, ca_file=certificate).exchange(url, b"{}", timeout_s=0.2, max_bytes=100)

    assert time.monotonic() - started < 30


def test_the_client_trusts_the_authority_it_was_given_and_no_other(
    raw_upstream, read_request, make_client, certificate, *, tls, good_reply
):
    def play(connection, n):
        with tls(connection) as wrapped:
            read_request(wrapped)
            wrapped.sendall(good_reply)

    url = raw_upstream(play).replace("http:", "https:")

    assert make_client(url, ca_file=certificate).tag_text("en", "x").entities == []
    with pytest.raises(ModelUnavailableError, match="can be trusted"):
        make_client(url).tag_text("en", "x")


def test_a_certificate_nobody_vouches_for_is_refused(raw_upstream, tls):
    url = raw_upstream(lambda connection, _: tls(connection)).replace("http:", "https:")

    with pytest.raises(ModelUnavailableError, match="can be trusted"):
        DeadlineTransport(1).exchange(url, b"{}", timeout_s=30, max_bytes=100)
