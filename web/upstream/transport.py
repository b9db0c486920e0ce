"""HTTP exchanges with one deadline for connecting, sending and reading, over kept connections.

The timeout of ``requests`` bounds each socket operation, so a server that sends single bytes never exceeds it; and one
call of it costs ten times what the exchange itself does. So ``requests`` decides whom to trust, opens the connections
and pools them, and what goes over a connection is written and read here. Two things are not bounded by the deadline:
looking up a host name, and connecting to a name with several addresses, each of which may take all the time.
"""

from __future__ import annotations

import http.client
import logging
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import requests
import urllib3
from gevent.monkey import get_original
from requests.adapters import HTTPAdapter
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_match_hostname import CertificateError

from contract.errors import ModelReplyError, ModelUnavailableError
from web.upstream.errors import timeout_error
from web.upstream.wire import NoReplyError, Reply, ReplyTooLongError, read_reply

logger = logging.getLogger(__name__)

_POLL: Final = get_original("select", "poll")  # gevent's takes ten times as long to say that nothing has come

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

_UNTRUSTED: Final = (ssl.SSLError, exceptions.SSLError, CertificateError)
_BROKEN: Final = (exceptions.HTTPError, http.client.HTTPException, OSError)


class _KeptConnectionClosedError(ConnectionError):
    """A connection that had answered before was closed instead of answering again."""


class _Route(NamedTuple):
    """A URL's connection pool, and the beginning of each request to it."""

    pool: _DeadlinePool
    head: str


class DeadlineTransport:
    """POSTs JSON over pooled connections; ``exchange`` is the only way to send anything, so all has a deadline.

    Proxies, ``.netrc`` and cookies are not used. Shared by all requests.
    """

    def __init__(self, num_connections: int, *, ca_file: Path | None = None) -> None:
        """Keep up to *num_connections* open; more are opened when needed and closed after use.

        An https server is verified by the certificates in *ca_file*, by default by the system's authorities.
        """
        self._verify = True if ca_file is None else str(ca_file)
        self._adapter = HTTPAdapter(pool_maxsize=num_connections)
        self._adapter.poolmanager.pool_classes_by_scheme = {"http": _DeadlinePool, "https": _DeadlineTLSPool}
        self._routes: dict[str, _Route] = {}

    def exchange(
        self, url: str, body: bytes, *, headers: Mapping[str, str] = _NO_HEADERS, timeout_s: float, max_bytes: int
    ) -> Reply:
        """POST the JSON *body* and return the whole reply, all within *timeout_s* seconds.

        *headers* are sent besides the transport's own. There must be few URLs: each URL's route is kept.

        A request is sent a second time only where a kept connection turned out to be closed before any reply, as
        TorchServe leaves it after every error. Redirects are not followed. Raises ModelTimeoutError,
        ModelUnavailableError, or ModelReplyError for a reply of more than *max_bytes*.
        """
        deadline_s = time.monotonic() + timeout_s
        route = self._routes.get(url)
        if route is None:
            route = self._routes[url] = self._route(url)
        lines = [route.head]
        for name, value in headers.items():
            if "\n" in value or "\r" in value:
                raise ValueError("expected a header's value in one line")
            lines.append(f"{name}: {value}\r\n")
        lines.append(f"Content-Length: {len(body)}\r\n\r\n")
        message = "".join(lines).encode("latin-1") + body
        try:
            try:
                return route.pool.exchange(message, deadline_s, max_bytes)
            except _KeptConnectionClosedError:
                logger.info("a kept connection was closed before its reply, sending once more")
            return route.pool.exchange(message, deadline_s, max_bytes)
        except ReplyTooLongError as error:
            raise ModelReplyError(f"The model's reply has more than {max_bytes} bytes.") from error
        except _UNTRUSTED as error:
            raise ModelUnavailableError("There is no connection to the model server that can be trusted.") from error
        except _BROKEN as error:
            is_late = isinstance(error, TimeoutError | exceptions.TimeoutError)
            if is_late and not isinstance(error, exceptions.NewConnectionError):  # urllib3 derives it from its timeouts
                raise timeout_error(timeout_s) from error
            raise ModelUnavailableError from error

    def _route(self, url: str) -> _Route:
        request = requests.Request("POST", url).prepare()
        host = str(request.url).partition("//")[2].partition("/")[0]
        lines = (
            f"POST {request.path_url} HTTP/1.1",
            f"Host: {host}",
            "User-Agent: nerserve-web",
            "Accept-Encoding: identity",  # so that the limit of the reply's bytes is one of memory too
            "Content-Type: application/json",
        )
        pool = self._adapter.get_connection_with_tls_context(request, self._verify)
        return _Route(cast(_DeadlinePool, pool), "".join(f"{line}\r\n" for line in lines))


class _DeadlinePool(urllib3.HTTPConnectionPool):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept: deque[HTTPConnection] = deque()  # urllib3's own pool takes locks, which cost more under gevent
        self._num_connections = int(options["maxsize"])

    def _connection(self) -> HTTPConnection:
        """A kept connection on which nothing has come, the last one used first, or a new one."""
        while self._kept:
            connection = self._kept.pop()
            if not _is_readable(connection.sock):
                return connection
            connection.close()
        return cast(HTTPConnection, self._new_conn())

    def exchange(self, message: bytes, deadline_s: float, max_bytes: int) -> Reply:
        """Send *message* and read its reply before the monotonic time *deadline_s*."""
        connection = self._connection()
        had_replied = not connection.is_closed
        is_kept = False
        try:
            if not had_replied:
                connection.timeout = _remaining_s(deadline_s)
                connection.connect()
            sock = connection.sock
            sock.settimeout(_remaining_s(deadline_s))
            try:
                num_sent = sock.send(message)  # all, but for the longest
                if num_sent < len(message):
                    sock.settimeout(_remaining_s(deadline_s))
                    sock.sendall(memoryview(message)[num_sent:])
            except (BrokenPipeError, ConnectionResetError) as error:
                logger.debug("not all was sent: %s", error)  # a reply may say why
            reply, is_kept = read_reply(sock, deadline_s, max_bytes)
        except NoReplyError as error:
            if had_replied:
                raise _KeptConnectionClosedError("closed before the reply") from error
            raise
        finally:
            if is_kept and len(self._kept) < self._num_connections:
                self._kept.append(connection)
            else:
                connection.close()
        return reply


def _is_readable(sock: socket.socket) -> bool:
    """Whether *sock* was closed by the other end, or something came that nobody asked for."""
    poll = _POLL()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _remaining_s(deadline_s: float) -> float:
    remaining_s = deadline_s - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("no time left to send")
    return remaining_s


class _DeadlineTLSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        started_s = time.monotonic()
        sock = super()._new_conn()
        remaining_s = (self.timeout or 0.0) - (time.monotonic() - started_s)
        sock.settimeout(max(remaining_s, 0.001))  # for the handshake, which would get the whole timeout again
        return sock


class _DeadlineTLSPool(_DeadlinePool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _DeadlineTLSConnection
