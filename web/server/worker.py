"""gunicorn's threaded worker with three changes.

A stop answers what waits, no client can hold a thread for ever, and none can hold up the worker by not hanging up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import math
import selectors
import socket
import sys
import termios
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

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
from web.server.stopping import STOPPING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

logger = logging.getLogger("web.access")

_CODE: Final = "malformed_request"
_STATUSES: Final[dict[type[BaseException], tuple[int, str]]] = {
    LimitRequestLine: (414, "URI Too Long"),
    LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    UnsupportedTransferCoding: (501, "Not Implemented"),
    ExpectationFailed: (417, "Expectation Failed"),
}

_LEAST_BYTES_PER_S: Final = 50_000
"""How slowly a client may send a request or take an answer, once its time without any haste is over."""

_LINGER_S: Final = 2.0
"""How long a client may take to hang up when we have."""

_MAX_LINGER_BYTES: Final = 65_536
"""How much of what a client still sends is read and dropped while we wait for that."""


class ClientSocket(socket.socket):
    """A client's connection that is given up when nothing moves, or when a request or an answer takes too long.

    Reading raises TimeoutError, writing BrokenPipeError, which gunicorn takes for a client that has gone. gunicorn sets
    a socket to blocking before each request; that is where the time of a request begins. That of an answer follows from
    its length. A stream, which sets a time for each wait, has no other.
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
        self._until_s = math.inf

    def recv(self, *arguments: Any) -> bytes:
        """As of any socket; TimeoutError once the time of the request is over."""
        if self.gettimeout() and time.monotonic() > self._until_s:
            raise _late()
        try:
            return super().recv(*arguments)
        except TimeoutError as error:
            raise _late() from error

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """As of any socket, but each wait has its own time; a client that takes nothing, or too little, has gone.

        That it takes nothing is known after the second wait at the latest: something may be on its way in the first.
        """
        view = memoryview(data).cast("B")
        is_stream = math.isinf(self._until_s)
        until_s = math.inf if is_stream else time.monotonic() + self.idle_s + len(view) / _LEAST_BYTES_PER_S
        while view:
            if time.monotonic() > until_s:
                raise BrokenPipeError(errno.EPIPE, "the client reads too slowly")
            num_waiting = self._num_waiting_bytes()
            try:
                view = view[self.send(view, flags) :]
            except TimeoutError as error:
                if self._num_waiting_bytes() == num_waiting:
                    raise BrokenPipeError(errno.EPIPE, "the client does not read") from error

    def _num_waiting_bytes(self) -> int:
        """What the system holds for the client; a megabyte may go before it wakes us up. 0 where it does not say."""
        try:
            return int.from_bytes(fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0


def _late() -> TimeoutError:
    """A timeout that gunicorn, which looks at the number alone, takes for a client that has gone."""
    return TimeoutError(errno.ECONNRESET, "the client does not send")


class _Connection(TConn):
    """A connection that its worker's main loop does not wait for when it ends."""

    num_dropped_bytes = 0

    def __init__(self, worker: DrainingWorker, client: ClientSocket, address: Any, server: Any) -> None:
        super().__init__(worker.cfg, client, address, server)
        self._worker = worker

    def close(self, graceful: bool = False) -> None:
        """Close at once, or with *graceful* once the client has hung up."""
        if graceful and self.sock.fileno() >= 0:  # else it was closed while its request was answered
            self._worker.linger(self)
        else:
            super().close()


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
        self.enqueue_req(_Connection(self, client, address, listener.getsockname()))

    def linger(self, conn: _Connection) -> None:
        """Close *conn* when its client has hung up, or after a while; it counts as one that waits until then.

        Closed while something still comes, it would be reset, and the client could lose its answer (RFC 9112, 9.6).
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone
            conn.close()
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + _LINGER_S
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drop, conn))
        self.pending_conns.append(conn)
        self.nr_conns += 1

    def _drop(self, conn: _Connection, client: ClientSocket) -> None:
        """Drop what *client* sent on *conn*; close that if it was its end, or too much."""
        try:
            data = client.recv(_MAX_LINGER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.num_dropped_bytes += len(data)
        if data and conn.num_dropped_bytes < _MAX_LINGER_BYTES:
            return
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        self.nr_conns -= 1
        conn.close()

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
