"""The reply to an HTTP request, read off a socket before a deadline.

What TorchServe sends, HTTP/1.1 with a Content-Length, is parsed here: ``http.client`` takes as long for the headers
alone as the rest of an exchange. Everything else that HTTP/1 allows (chunks, a body that ends with the connection,
interim replies) comes from a proxy in between, and is left to ``http.client``.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES: Final = 65_536
_MAX_HEAD_BYTES: Final = 65_536
_MAX_DIGITS: Final = 15

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: |\r\n)")
_FRAMING: Final = re.compile(rb"\r\n(content-length|transfer-encoding|connection):[ \t]*([^\r\n]*)", re.IGNORECASE)
_NO_BODY: Final = frozenset({204, 304})


class Reply(NamedTuple):
    """A complete HTTP reply; the body is not decoded."""

    status: int
    body: bytes


class ReplyTooLongError(Exception):
    """The body has more bytes than the caller allows."""


class NoReplyError(ConnectionError):
    """The connection was closed before a single byte of the reply."""


def read_reply(sock: socket.socket, deadline_s: float, max_bytes: int) -> tuple[Reply, bool]:
    """The next reply to a POST on *sock*, and whether the connection may be used again.

    Raises TimeoutError at the monotonic time *deadline_s*, NoReplyError, another OSError or http.client.HTTPException
    for an incomplete or malformed reply, and ReplyTooLongError for a body of more than *max_bytes*.
    """
    received = bytearray()
    try:
        _receive(sock, received, deadline_s)
    except ConnectionError as error:
        raise NoReplyError("closed before the reply") from error
    if not received:
        raise NoReplyError("closed before the reply")
    while (head_bytes := received.find(b"\r\n\r\n")) < 0:
        if len(received) > _MAX_HEAD_BYTES or not _receive(sock, received, deadline_s):
            return _read_any_form(sock, received, deadline_s, max_bytes)
    status = _STATUS.match(received, 0, head_bytes + 2)
    framing = _FRAMING.findall(received, 0, head_bytes)
    fields = {name.lower(): value.rstrip(b" \t") for name, value in framing}
    length = fields.get(b"content-length", b"")
    has_length = len(fields) == len(framing) and length.isdigit() and len(length) <= _MAX_DIGITS
    if status is None or not has_length or b"transfer-encoding" in fields or int(status[1]) in _NO_BODY:
        return _read_any_form(sock, received, deadline_s, max_bytes)
    if int(length) > max_bytes:
        raise ReplyTooLongError(f"more than {max_bytes} bytes")
    num_bytes = head_bytes + 4 + int(length)
    while len(received) < num_bytes:
        if not _receive(sock, received, deadline_s):
            raise ConnectionError("closed in the middle of the reply")
    is_kept = b"close" not in fields.get(b"connection", b"").lower() and len(received) == num_bytes
    return Reply(int(status[1]), bytes(received[head_bytes + 4 : num_bytes])), is_kept


def _receive(sock: socket.socket, received: bytearray, deadline_s: float) -> int:
    """Wait for more bytes and append them to *received*; their number, 0 at the end of the stream."""
    remaining_s = deadline_s - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("the reply was not complete in time")
    sock.settimeout(remaining_s)
    piece = sock.recv(_CHUNK_BYTES)
    received += piece
    return len(piece)


def _read_any_form(sock: socket.socket, received: bytearray, deadline_s: float, max_bytes: int) -> tuple[Reply, bool]:
    """Like ``read_reply``, for every form of HTTP/1; *received* are the bytes that were read already."""
    response = http.client.HTTPResponse(cast(socket.socket, _Rest(sock, received, deadline_s)), method="POST")
    with response:
        response.begin()
        is_kept = not response.will_close
        body = bytearray()
        while chunk := response.read(_CHUNK_BYTES):
            body += chunk
            if len(body) > max_bytes:
                raise ReplyTooLongError(f"more than {max_bytes} bytes")
        if response.length:
            raise http.client.IncompleteRead(bytes(body), response.length)
        return Reply(response.status, bytes(body)), is_kept


class _Rest(io.RawIOBase):
    """The bytes received so far followed by those still to come, as the socket of an ``http.client.HTTPResponse``."""

    def __init__(self, sock: socket.socket, received: bytearray, deadline_s: float) -> None:
        self._sock = sock
        self._received = received
        self._deadline_s = deadline_s

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not self._received:
            _receive(self._sock, self._received, self._deadline_s)
        num_bytes = min(len(view), len(self._received))
        view[:num_bytes] = self._received[:num_bytes]
        del self._received[:num_bytes]
        return num_bytes
