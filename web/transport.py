"""HTTP exchanges that end in time: one deadline for sending and reading a whole reply, over kept connections.

The timeout of ``requests`` bounds each socket operation, so an upstream that sends a byte now and then is never
too slow for it. Here the read timeout becomes a deadline that every read of the reply counts down to, its status line
and headers included. Two things remain outside: looking a host name up, and a name with several addresses, where
connecting may take the time once for each.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import time
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

logger = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 65_536

_NO_HEADERS: Final[Mapping[str, str]] = {}


class Reply(NamedTuple):
    """A whole HTTP reply, its body as it came."""

    status: int
    body: bytes


class ReplyTooLargeError(requests.RequestException):
    """The reply has more bytes than the caller is willing to hold."""


class KeptConnectionClosedError(ConnectionError):
    """A connection that had answered before was closed instead of answering again."""


class DeadlineSession(requests.Session):
    """A pooled session that forwards nothing but what it is given and never outstays a deadline."""

    def __init__(self, num_connections: int, *, ca_file: Path | None = None) -> None:
        """Keep up to *num_connections* open; more are opened when needed and closed after use.

        The certificates in *ca_file*, instead of the usual authorities, vouch for an https server.
        """
        super().__init__()
        self.trust_env = False  # no proxy and no .netrc between us and TorchServe
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one visitor's never meets another's
        self.headers.clear()
        self.headers["User-Agent"] = "nerserve-web"
        self.headers["Accept-Encoding"] = "identity"  # so that the cap on the reply is a cap on memory too
        if ca_file is not None:
            self.verify = str(ca_file)
        for scheme in ("http://", "https://"):
            self.mount(scheme, _DeadlineAdapter(pool_maxsize=num_connections))

    def exchange(
        self,
        url: str,
        body: bytes,
        *,
        key: str = "",
        headers: Mapping[str, str] = _NO_HEADERS,
        timeout_s: float,
        max_bytes: int,
    ) -> Reply:
        """POST the JSON *body*, with *key* if there is one, and return the whole reply, all within *timeout_s* seconds.

        *headers* are sent besides our own.

        A request is sent once more only where nobody can have answered it: a kept connection turned out closed, as
        TorchServe leaves it after every error. Redirects are not followed. Raises requests.Timeout,
        requests.ConnectionError or ReplyTooLargeError.
        """
        deadline = time.monotonic() + timeout_s
        sent = {"Content-Type": "application/json", **headers}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        try:
            return self._exchange_once(url, body, sent, deadline, max_bytes)
        except requests.ConnectionError as error:
            if not isinstance(_reason(error), KeptConnectionClosedError):
                raise
        logger.info("a kept connection was closed before its reply, sending once more")
        return self._exchange_once(url, body, sent, deadline, max_bytes)

    def _exchange_once(self, url: str, body: bytes, headers: dict[str, str], deadline: float, max_bytes: int) -> Reply:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise requests.Timeout("no time left to send")
        timeout: Any = urllib3.Timeout(total=remaining_s)  # requests takes one, its stubs do not know
        try:
            with self.post(
                url, data=body, headers=headers, timeout=timeout, stream=True, allow_redirects=False
            ) as response:
                return Reply(response.status_code, _read(response, max_bytes))
        except urllib3.exceptions.TimeoutError as error:
            raise requests.Timeout(error) from error
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from error
        except requests.ConnectionError as error:
            if isinstance(_reason(error), TimeoutError):  # it came while sending; requests knows those of reading only
                raise requests.Timeout(error) from error
            raise


def _read(response: requests.Response, max_bytes: int) -> bytes:
    body = bytearray()
    while chunk := response.raw.read(_CHUNK_BYTES, decode_content=False):
        body += chunk
        if len(body) > max_bytes:
            raise ReplyTooLargeError(f"more than {max_bytes} bytes")
    return bytes(body)


def _reason(error: requests.ConnectionError) -> object:
    """What the socket said: ConnectionError(ProtocolError("Connection aborted.", reason)) -> reason, else None."""
    cause = error.args[0] if error.args else None
    return cause.args[1] if isinstance(cause, urllib3.exceptions.ProtocolError) and len(cause.args) > 1 else None


class _DeadlineReader(io.RawIOBase):
    """A socket's reading side where each read gets only the time that is left."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        """The time left is the socket's timeout now."""
        self._sock = sock
        self._raw = raw
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        remaining_s = self._deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("the reply was not complete in time")
        self._sock.settimeout(remaining_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp.detach()))


class _DeadlineConnection(HTTPConnection):
    """A connection that knows whether it has answered before, and whose replies keep a deadline."""

    response_class = _DeadlineResponse
    _num_replies = 0  # since the socket was opened

    def connect(self) -> None:
        self._num_replies = 0
        started = time.monotonic()
        super().connect()
        remaining_s = (self.timeout or 0.0) - (time.monotonic() - started)
        self.sock.settimeout(max(remaining_s, 0.001))  # for sending; 0 would mean not to wait at all

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()
        except ConnectionError as error:
            if self._num_replies:
                raise KeptConnectionClosedError("closed before the reply") from error
            raise
        self._num_replies += 1
        return response


class _DeadlineTLSConnection(_DeadlineConnection, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        started = time.monotonic()
        sock = super()._new_conn()
        remaining_s = (self.timeout or 0.0) - (time.monotonic() - started)
        sock.settimeout(max(remaining_s, 0.001))  # for the handshake, which would get the whole time once more
        return sock


class _DeadlinePool(urllib3.HTTPConnectionPool):
    ConnectionCls = _DeadlineConnection


class _DeadlineTLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _DeadlineTLSConnection


class _DeadlineAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _DeadlinePool, "https": _DeadlineTLSPool}
