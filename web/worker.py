"""gunicorn's threaded worker with two changes: a stop answers what waits, and no client can hold a thread for ever."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import time
from typing import Any, Final

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

from web.config import WebConfig
from web.record import request_id_of
from web.stopping import STOPPING

logger = logging.getLogger("web.access")

_CODE: Final = "malformed_request"
_STATUSES: Final[dict[type[BaseException], tuple[int, str]]] = {
    LimitRequestLine: (414, "URI Too Long"),
    LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    UnsupportedTransferCoding: (501, "Not Implemented"),
    ExpectationFailed: (417, "Expectation Failed"),
}

_LEAST_BYTES_PER_S: Final = 50_000
"""How slowly a client may send a request, once its time without any haste is over."""


class ClientSocket(socket.socket):
    """A client's connection that is given up when nothing moves, or when a request takes too long to arrive.

    Reading raises TimeoutError, writing BrokenPipeError, which gunicorn takes for a client that has gone. gunicorn sets
    a socket to blocking before each request; that is where the time of a request begins.
    """

    idle_s = 30.0
    request_s = 60.0
    _until_s = 0.0

    def setblocking(self, flag: bool) -> None:
        """Blocking means: with the time that a client has."""
        super().setblocking(flag)
        if flag:
            super().settimeout(self.idle_s)
            self._until_s = time.monotonic() + self.request_s

    def settimeout(self, value: float | None) -> None:
        """From now on each single wait may take *value* seconds, however many there are."""
        super().settimeout(value)
        self._until_s = float("inf")

    def recv(self, *arguments: Any) -> bytes:
        """As of any socket; TimeoutError once the time of the request is over."""
        if self.gettimeout() and time.monotonic() > self._until_s:
            raise _late()
        try:
            return super().recv(*arguments)
        except TimeoutError as error:
            raise _late() from error

    def sendall(self, *arguments: Any) -> None:
        """As of any socket, but a client that takes nothing is one that has gone."""
        try:
            super().sendall(*arguments)
        except TimeoutError as error:
            raise BrokenPipeError(errno.EPIPE, "the client does not read") from error


def _late() -> TimeoutError:
    """A timeout that gunicorn, which looks at the number alone, takes for a client that has gone."""
    return TimeoutError(errno.ECONNRESET, "the client does not send")


class DrainingWorker(ThreadWorker):
    """Takes what is in the listeners' queues before it stops listening.

    For a client such a connection stands and its request is on the way; gunicorn's own worker would reset it.
    """

    def init_process(self) -> None:
        """Read the time that clients have from the settings, then serve."""
        config = WebConfig.from_env()
        ClientSocket.idle_s = config.client_timeout_s
        ClientSocket.request_s = config.client_timeout_s + config.max_form_bytes / _LEAST_BYTES_PER_S
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Take one connection from *listener*, if one waits."""
        try:
            plain, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        client = ClientSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self.enqueue_req(TConn(self.cfg, client, address, listener.getsockname()))

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer in our own form what gunicorn refuses before the site sees it: heads that are no HTTP, or too long."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status, reason = _STATUSES.get(type(exc), (400, "Bad Request"))
        request_id = request_id_of(None)
        logger.info("refused", extra={"request_id": request_id, "status": status, "error": _CODE})
        body = json.dumps({"error": {"code": _CODE, "message": f"Expected an HTTP request, got {type(exc).__name__}."}})
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.sendall(f"{head}{body}".encode("ascii"))

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop."""
        STOPPING.set()
        super().handle_exit(sig, frame)

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Accept new connections or not; when this worker ends, those that wait are taken first."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections and self._takes_one(listener):
                pass
            listener.close()  # once every worker and the master have done so, connections are refused

    def _takes_one(self, listener: socket.socket) -> bool:
        """Accept a connection if one waits; whether there was one."""
        num_before = self.nr_conns
        self.accept(listener)
        return self.nr_conns > num_before
