"""gunicorn's gevent worker with what it lacks: limits for slow clients, our own errors, and a stop that loses nothing.

Each connection has a greenlet; thousands of them cost little, whatever their clients do or fail to do.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import sys
import time
import warnings
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.monkey import MonkeyPatchWarning
from gevent.pool import Pool
from gevent.socket import wait_read
from gunicorn.http import get_parser
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.ggevent import GeventWorker

from web.config import WebConfig
from web.record import request_id_of
from web.server import balance
from web.server.client_socket import LEAST_BYTES_PER_S, ClientSocket
from web.server.stopping import STOPPING

logger = logging.getLogger("web.access")

_CODE: Final = "malformed_request"
_STATUSES: Final[dict[type[BaseException], tuple[int, str]]] = {
    LimitRequestLine: (414, "URI Too Long"),
    LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    UnsupportedTransferCoding: (501, "Not Implemented"),
    ExpectationFailed: (417, "Expectation Failed"),
}

_UNREAD_S: Final = 5.0
"""How long the rest of a body that the site did not read may take to come, for the connection to be kept."""

_UNREAD_BYTES: Final = 262_144
"""How much of an answer the system may hold for a client that does not read; it would take megabytes by itself."""

_LINGER_S: Final = 2.0
"""How long a client may take to hang up when we have."""

_STOP_S: Final = 1.0
"""How long a client may send nothing while this worker stops."""

_AHEAD_S: Final = 0.001
"""How long a process with more connections than another one leaves the next connection to that."""

_MOST_AT_ONCE: Final = 64
"""How many connections are accepted before others have their turn."""

_IN_A_ROW: Final = 8
"""How many requests of one connection are answered before others have their turn."""

_SWITCH_S: Final = 0.001
"""Python's switch interval: how long a thread with a large document keeps the greenlets waiting each time."""

_CHUNK_BYTES: Final = 65_536


class DrainingWorker(GeventWorker):
    """Serves each connection in a greenlet, up to ``worker_connections`` of them; others wait in the listener's queue.

    At a stop it takes what is in that queue, which gunicorn's own worker would reset, and answers what has come or
    still comes; it does not wait for clients that send nothing.
    """

    def patch(self) -> None:
        """Make the standard library cooperative; gunicorn's master, which forked this process, is not."""
        with warnings.catch_warnings():  # ssl is imported already: gevent gives its users the new classes, but warns
            warnings.simplefilter("ignore", MonkeyPatchWarning)
            super().patch()

    def init_process(self) -> None:
        """Read the time that clients have from the settings, then serve."""
        config = WebConfig.from_env()
        ClientSocket.idle_s = config.client_timeout_s
        ClientSocket.request_s = config.client_timeout_s + config.max_form_bytes / LEAST_BYTES_PER_S
        sys.setswitchinterval(_SWITCH_S)
        self._is_told_to_stop = Event()
        self._connections = Pool(self.worker_connections)
        self._clients: set[ClientSocket] = set()
        balance.note(self.age, 0)
        super().init_process()

    def run(self) -> None:
        """Serve until this worker is told to stop, then answer what is left."""
        for listener in self.sockets:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)  # of each client's connection
        acceptors = [gevent.spawn(self._serve, listener) for listener in self.sockets]
        while self.alive:
            self.notify()
            self._is_told_to_stop.wait(1.0)
        gevent.killall(acceptors)
        for listener in self.sockets:
            while self._connections.free_count() and self._accept(listener):
                pass
            listener.close()  # once every worker and the master have done so, connections are refused
        began_s = time.monotonic()
        while self._connections and time.monotonic() - began_s < self.cfg.graceful_timeout:
            self.notify()
            self._connections.join(timeout=0.1)
            if time.monotonic() - began_s > _STOP_S:
                self._hang_up_on_the_silent()

    def _serve(self, listener: Any) -> None:
        """Accept connections for ever."""
        while True:
            self._connections.wait_available()
            wait_read(listener.fileno())
            if balance.is_ahead(self.age):
                gevent.sleep(_AHEAD_S)
            try:
                for _ in range(_MOST_AT_ONCE):
                    if not self._accept(listener) or balance.is_ahead(self.age) or self._connections.full():
                        break
            except OSError as error:
                self.log.warning("A connection was not accepted: %s", error.strerror)
                gevent.sleep(0.1)  # there may be no free file

    def _accept(self, listener: Any) -> bool:
        """Begin to serve a connection; False if none waits."""
        try:
            plain, address = listener.accept()
        except BlockingIOError:  # another process was faster
            return False
        client = ClientSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._connections.spawn(self._talk, listener.getsockname(), client, address)
        balance.note(self.age, len(self._connections))
        return True

    def _hang_up_on_the_silent(self) -> None:
        silent_since_s = time.monotonic() - _STOP_S
        for client in tuple(self._clients):
            if client.waits_since_s < silent_since_s:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RD)

    def _talk(self, server: Any, client: ClientSocket, address: Any) -> None:
        """Answer the requests of one connection to the address *server*."""
        req = None
        self._clients.add(client)
        try:
            parser = get_parser(self.cfg, client, address)
            client.expect_request(client.idle_s)
            num_requests = 0
            while True:
                req = None
                req = next(parser)
                _check_transfer_coding(req)
                try:
                    self.handle_request(server, req, client, address)
                finally:
                    client.end_answer()
                if not parser.finish_body(deadline=time.monotonic() + _UNREAD_S):
                    break
                client.expect_request(self.cfg.keepalive)
                num_requests += 1
                if num_requests % _IN_A_ROW == 0:
                    gevent.sleep(0)  # a client that sends request upon request would keep others waiting
        except (StopIteration, NoMoreData, OSError) as error:
            self.log.debug("A connection ended: %s", error)
        except Exception as error:  # noqa: BLE001  (of a request; answered and logged)
            self.handle_error(req, client, address, error)
        finally:
            self._clients.discard(client)
            _linger(client)
            balance.note(self.age, len(self._connections) - 1)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
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
        gevent.get_hub().loop.run_callback_threadsafe(self._is_told_to_stop.set)


def _check_transfer_coding(request: Any) -> None:
    """Raise UnsupportedTransferCoding for a body that is coded and then chunked, which gunicorn would pass on coded."""
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" and value.strip().lower() != "chunked":
            raise UnsupportedTransferCoding(value)


def _linger(client: ClientSocket) -> None:
    """Close *client* when it has hung up, or after a while.

    Closed while something still comes, it would be reset, and the client could lose its answer (RFC 9112, 9.6).
    """
    try:
        client.end_answer()
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(_LINGER_S):
            while client.recv(_CHUNK_BYTES):
                gevent.sleep(0)
    except OSError:
        pass  # the client has gone
    finally:
        client.close()
