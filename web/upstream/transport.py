"""HTTP exchanges that end in time: one deadline for connecting, sending and reading, over kept connections.

The timeout of ``requests`` bounds each socket operation, so an upstream that sends a byte now and then is never
too slow for it; and a call of it costs ten times what the exchange itself does. So ``requests`` decides whom to trust,
opens the connections and pools them, and what goes over one is written and read here. Two things remain outside the
deadline: looking a host name up, and a name with several addresses, where connecting may take the time once for each.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import time
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_match_hostname import CertificateError

from web.upstream.wire import NoReplyError, Reply, ReplyTooLongError, read_reply

logger = logging.getLogger(__name__)

_NO_HEADERS: Final[Mapping[str, str]] = {}

_UNTRUSTED: Final = (ssl.SSLError, urllib3.exceptions.SSLError, CertificateError)
_BROKEN: Final = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class ReplyTooLargeError(requests.RequestException):
    """The reply has more bytes than the caller is willing to hold."""


class KeptConnectionClosedError(ConnectionError):
    """A connection that had answered before was closed instead of answering again."""


class _Route(NamedTuple):
    """The way to one URL: its connections, and how each request begins."""

    pool: _DeadlinePool
    head: str


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
        self.headers["Content-Type"] = "application/json"
        if ca_file is not None:
            self.verify = str(ca_file)
        self._adapter = _DeadlineAdapter(pool_maxsize=num_connections)
        self._routes: dict[str, _Route] = {}
        for scheme in ("http://", "https://"):
            self.mount(scheme, self._adapter)

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

        *headers* are sent besides our own. There must be few URLs: what is known of each is kept.

        A request is sent once more only where nobody can have answered it: a kept connection turned out closed, as
        TorchServe leaves it after every error. Redirects are not followed. Raises requests.Timeout,
        requests.ConnectionError or ReplyTooLargeError.
        """
        deadline_s = time.monotonic() + timeout_s
        route = self._routes.get(url)
        if route is None:
            route = self._routes[url] = self._route(url)
        lines = [route.head, *(f"{name}: {_checked(value)}\r\n" for name, value in headers.items())]
        if key:
            lines.append(f"Authorization: Bearer {_checked(key)}\r\n")
        lines.append(f"Content-Length: {len(body)}\r\n\r\n")
        message = "".join(lines).encode("latin-1") + body
        try:
            return self._exchange_once(route.pool, message, deadline_s, max_bytes)
        except KeptConnectionClosedError:
            logger.info("a kept connection was closed before its reply, sending once more")
        try:
            return self._exchange_once(route.pool, message, deadline_s, max_bytes)
        except KeptConnectionClosedError as error:
            raise requests.ConnectionError(error) from error

    def _exchange_once(self, pool: _DeadlinePool, message: bytes, deadline_s: float, max_bytes: int) -> Reply:
        try:
            return pool.exchange(message, deadline_s, max_bytes)
        except KeptConnectionClosedError:
            raise
        except ReplyTooLongError as error:
            raise ReplyTooLargeError(error) from error
        except urllib3.exceptions.NewConnectionError as error:  # to urllib3 it is a timeout, too
            raise requests.ConnectionError(error) from error
        except (TimeoutError, urllib3.exceptions.TimeoutError) as error:
            raise requests.Timeout(error) from error
        except _UNTRUSTED as error:
            raise requests.exceptions.SSLError(error) from error
        except _BROKEN as error:
            raise requests.ConnectionError(error) from error

    def _route(self, url: str) -> _Route:
        """What ``requests`` makes of a POST to *url*, apart from what differs from one to the next."""
        request = self.prepare_request(requests.Request("POST", url))
        pool = self._adapter.pool_for(request, self.verify or True)
        host = str(request.url).partition("//")[2].partition("/")[0]
        own = {name: value for name, value in request.headers.items() if name != "Content-Length"}
        lines = [
            f"POST {request.path_url} HTTP/1.1",
            *(f"{name}: {value}" for name, value in {"Host": host, **own}.items()),
        ]
        return _Route(pool, "".join(f"{line}\r\n" for line in lines))


def _checked(value: str) -> str:
    """*value*, which must not end the line of its header."""
    if "\n" in value or "\r" in value:
        raise ValueError("expected a header's value in one line")
    return value


class _DeadlineConnection(HTTPConnection):
    """A connection that knows whether it has answered before."""

    num_replies = 0  # since the socket was opened

    def connect(self) -> None:
        self.num_replies = 0
        super().connect()


class _DeadlineTLSConnection(_DeadlineConnection, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        started_s = time.monotonic()
        sock = super()._new_conn()
        remaining_s = (self.timeout or 0.0) - (time.monotonic() - started_s)
        sock.settimeout(max(remaining_s, 0.001))  # for the handshake, which would get the whole time once more
        return sock


class _DeadlinePool(urllib3.HTTPConnectionPool):
    ConnectionCls = _DeadlineConnection

    def exchange(self, message: bytes, deadline_s: float, max_bytes: int) -> Reply:
        """Send *message* and read its reply before the monotonic time *deadline_s*."""
        connection = cast(_DeadlineConnection, self._get_conn())
        is_kept = False
        try:
            if connection.is_closed:
                connection.timeout = _remaining_s(deadline_s)
                connection.connect()
            sock = connection.sock
            sock.settimeout(_remaining_s(deadline_s))
            try:
                sock.sendall(message)
            except (BrokenPipeError, ConnectionResetError) as error:
                logger.debug("not all was sent: %s", error)  # there may be a reply that says why
            reply, is_kept = read_reply(sock, deadline_s, max_bytes)
            connection.num_replies += 1
        except NoReplyError as error:
            if connection.num_replies:
                raise KeptConnectionClosedError("closed before the reply") from error
            raise
        finally:
            if not is_kept:
                connection.close()
            self._put_conn(connection)
        return reply


def _remaining_s(deadline_s: float) -> float:
    remaining_s = deadline_s - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("no time left to send")
    return remaining_s


class _DeadlineTLSPool(_DeadlinePool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _DeadlineTLSConnection


class _DeadlineAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _DeadlinePool, "https": _DeadlineTLSPool}

    def pool_for(self, request: requests.PreparedRequest, verify: bool | str) -> _DeadlinePool:
        """The connections over which *request* goes, their servers vouched for as *verify* says."""
        return cast(_DeadlinePool, self.get_connection_with_tls_context(request, verify))
