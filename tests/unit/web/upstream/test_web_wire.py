"""Replies as they may come off a socket; what they say is what ``http.client`` reads in them."""

import http.client
import socket
import threading
import time

import pytest

from web.upstream.wire import NoReplyError, Reply, ReplyTooLongError, read_reply

TORCHSERVE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: 9e2a2a52\r\nPragma: no-cache\r\n"
    b"Cache-Control: no-cache; no-store, must-revalidate, private\r\nExpires: Thu, 01 Jan 1970 00:00:00 UTC\r\n"
    b"content-length: 11\r\nconnection: keep-alive\r\n\r\n\r\n\r\nhello\r\n"
)
REPLIES = [  # and whether the connection may be used again
    (TORCHSERVE, True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
    (b"HTTP/1.1 200\r\nContent-Length:2 \t\r\n\r\nok", True),
    (b"HTTP/1.1 503 \r\nCONTENT-LENGTH: 2\r\nConnection: Close\r\n\r\nno", False),
    (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad", False),
    (b"HTTP/1.1 200 OK\r\nX-Content-Length: 1\r\nContent-Length: 3\r\n\r\nabc", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: x\r\n\r\n", True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", True),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
    (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nuntil the end", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", True),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", True),
]


@pytest.fixture
def pair():
    """The server's end of a connection, and ours."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        yield theirs, ours


def soon():
    return time.monotonic() + 60


def library_reading_of(data):
    theirs, ours = socket.socketpair()
    with theirs, ours:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(ours, method="POST")
        response.begin()
        return Reply(response.status, response.read()), not response.will_close


@pytest.mark.parametrize(("data", "is_kept"), REPLIES)
def test_a_reply_says_what_the_library_reads_in_it(pair, data, is_kept):
    theirs, ours = pair
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)

    reply = read_reply(ours, soon(), 100)

    assert reply == library_reading_of(data)
    assert reply[1] == is_kept


@pytest.mark.parametrize(("data", "is_kept"), REPLIES)
def test_it_may_come_byte_by_byte(pair, data, is_kept):
    theirs, ours = pair

    def drip():
        for i in range(len(data)):
            theirs.sendall(data[i : i + 1])
            time.sleep(0.0005)
        theirs.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=drip)
    thread.start()
    reply = read_reply(ours, soon(), 100)
    thread.join()

    assert reply == library_reading_of(data)
    assert reply[1] == is_kept


@pytest.mark.parametrize(
    "data",
    [
        TORCHSERVE[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\no",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        b"HTTP",
    ],
)
def test_a_reply_that_stops_is_none(pair, data):
    theirs, ours = pair
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)

    with pytest.raises((ConnectionError, http.client.HTTPException)) as caught:
        read_reply(ours, soon(), 100)

    assert not isinstance(caught.value, NoReplyError)


def test_no_reply_at_all_is_told_apart(pair):
    theirs, ours = pair
    theirs.shutdown(socket.SHUT_WR)

    with pytest.raises(NoReplyError):
        read_reply(ours, soon(), 100)


def test_a_connection_that_says_more_than_its_reply_is_not_used_again(pair):
    theirs, ours = pair
    theirs.sendall(TORCHSERVE + b"HTTP/1.1 200 OK\r\n")

    (_, body), is_kept = read_reply(ours, soon(), 100)

    assert body == b"\r\n\r\nhello\r\n"
    assert not is_kept


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n",  # refused before a byte of it came
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 11,
    ],
)
def test_a_reply_that_is_too_long_is_not_held(pair, data):
    theirs, ours = pair
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)

    with pytest.raises(ReplyTooLongError):
        read_reply(ours, soon(), 10)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-", TORCHSERVE[:-1], b"HTTP/1.1 200 OK\r\n\r\nx"])
def test_what_does_not_come_hits_the_deadline(pair, data):
    theirs, ours = pair
    theirs.sendall(data)
    began_s = time.monotonic()

    with pytest.raises(TimeoutError):
        read_reply(ours, began_s + 0.2, 100)

    assert 0.1 < time.monotonic() - began_s < 30


@pytest.mark.parametrize(
    "data", [b"nonsense\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000]
)
def test_what_is_no_reply_is_refused(pair, data):
    theirs, ours = pair
    thread = threading.Thread(target=theirs.sendall, args=(data,))
    thread.start()

    with pytest.raises(http.client.HTTPException):
        read_reply(ours, soon(), 100)
    ours.close()
    thread.join()
