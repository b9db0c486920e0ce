"""NDJSON in, NDJSON out: lines are answered while later ones are still being sent, in bounded memory.

One greenlet reads lines and makes groups of them, a few send a group each to TorchServe, and that of the request writes
the answers in the order of the lines. Each waits for the next, so a client that reads slowly is read from slowly.

A stream has no deadline, but it ends when the client sends nothing, or takes nothing, for ``client_timeout_s`` seconds,
or when the model fails group after group. Its last line is then ``{"error": X}`` without a line number.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, TypeAlias

from flask import Response, request

from contract.errors import ModelUnavailableError, RequestTimeoutError, ServingError, TooManyRequestsError
from contract.options import Options
from web.body import BROKEN
from web.server.client_socket import ClientSocket
from web.server.stopping import STOPPING
from web.service import Service
from web.stream.lines import LineSplitter, read_groups
from web.stream.places import STILL_S
from web.stream.tagging import ClientGoneError, GroupAnswer, GroupTagger, to_line
from web.upstream.client import Caller

logger = logging.getLogger(__name__)

NUM_SENDERS: Final = 4
"""Groups of one stream that are sent to the model at a time."""

MAX_FAILED_GROUPS: Final = 8
"""Failed groups in a row that end the stream."""

_CHUNK_BYTES: Final = 16_384
_STEP_S: Final = 0.2

_QueueItem: TypeAlias = Future[GroupAnswer] | ServingError | None
"""A group's answer, or the end of the client's lines: its error, or None if all of them came."""


def stream_response(service: Service, model: str, options: Options, caller: Caller) -> Response:
    """The response to a stream, once the model has accepted the options.

    Raises what a request raises, and TooManyRequestsError if as many streams as allowed are being served and go on.
    """
    stream = _Stream(service, model, options, caller, request.environ)
    if not service.streams.take(stream):
        service.metrics.count_rejection("streams")
        raise TooManyRequestsError("There are too many streams just now. Please try again in a moment.")
    service.metrics.streams.inc()
    try:
        service.client.tag_texts(model, [], options, caller)
        response = Response(stream, content_type="application/x-ndjson; charset=utf-8")
    except BaseException:
        stream.close()
        raise
    response.call_on_close(stream.close)
    return response


class _Stream:
    """The body of a stream's response, which must be closed in any case."""

    def __init__(self, service: Service, model: str, options: Options, caller: Caller, environ: dict[str, Any]) -> None:
        self._service = service
        self._record = caller.record
        self._cancelled = threading.Event()
        self._tagger = GroupTagger(service, model, options, replace(caller, cancelled=self._cancelled))
        self._splitter = LineSplitter(service.limits.request_bytes)
        self._input = environ["wsgi.input"]
        self._length = int(environ["CONTENT_LENGTH"]) if environ.get("CONTENT_LENGTH", "").isdigit() else None
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        self._queue: queue.Queue[_QueueItem] = queue.Queue(NUM_SENDERS)
        self._senders = ThreadPoolExecutor(NUM_SENDERS, "stream")
        self._reader = threading.Thread(target=self._read, name="stream-reader", daemon=True)
        self._is_closed = False
        self._has_given_way = False
        self._waits_for_client = self._is_sending = False
        self._moved_s = time.monotonic()
        self._num_untaken_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        if self._socket is not None:
            self._socket.settimeout(self._service.config.client_timeout_s)
        self._reader.start()
        num_failed = 0
        while (item := self._next_item()) is not None:
            if isinstance(item, ServingError):
                yield self._last_line(item, self._splitter.num_lines)
                return
            ndjson, is_failure = item.result()
            self._moved_s = time.monotonic()
            self._waits_for_client = self._is_sending = True
            yield ndjson
            self._waits_for_client = self._is_sending = False
            num_failed = num_failed + 1 if is_failure else 0
            if num_failed == MAX_FAILED_GROUPS:
                error = ModelUnavailableError("The model has stopped answering, the stream ends here.")
                yield self._last_line(error, 0)
                return

    def close(self) -> None:
        """End all work for this stream."""
        if self._is_closed:
            return
        self._is_closed = True
        self._cancelled.set()
        if self._reader.is_alive():
            self._stop_reading()
            self._reader.join(self._service.config.client_timeout_s)
        self._senders.shutdown(wait=False, cancel_futures=True)
        self._service.metrics.streams.dec()
        self._service.streams.leave(self)

    def still_s(self) -> float:
        """For how many seconds the client has neither sent nor taken anything; 0 while it need not."""
        if not self._waits_for_client:
            return 0.0
        now_s = time.monotonic()
        if self._is_sending and isinstance(self._socket, ClientSocket):
            num_bytes = self._socket.num_waiting_bytes()
            if num_bytes != self._num_untaken_bytes:
                self._num_untaken_bytes, self._moved_s = num_bytes, now_s
        return now_s - self._moved_s

    def give_way(self) -> None:
        """End soon, since another stream has the place."""
        self._has_given_way = True
        self._stop_reading()
        if self._is_sending and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _next_item(self) -> _QueueItem:
        """The next group, or the end of the stream; when there is none yet, the model has nothing to do for it."""
        is_stopped = False
        self._moved_s = time.monotonic()
        self._waits_for_client = True
        try:
            while True:
                try:
                    return self._queue.get(timeout=_STEP_S)
                except queue.Empty:
                    if STOPPING.is_set() and not is_stopped:
                        is_stopped = True
                        self._stop_reading()
        finally:
            self._waits_for_client = False

    def _stop_reading(self) -> None:
        """Make the reader see the end of the stream now."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)

    def _last_line(self, error: ServingError, num_lines: int) -> bytes:
        if self._has_given_way:
            error = RequestTimeoutError(f"Nothing came for {STILL_S:g} seconds, and another stream waited.")
        elif STOPPING.is_set():
            error = ModelUnavailableError(f"The site is stopping, the stream ends after line {num_lines}.")
        if self._record is not None:
            self._record.code = error.code
        self._service.metrics.count_error(error.code)
        return to_line(error.to_json())

    def _read(self) -> None:
        """Read to the end of the stream; runs in the reader's greenlet."""
        error: ServingError | None = ClientGoneError("The stream was not complete.")
        try:
            for group in read_groups(self._splitter, self._chunks(), self._service.limits):
                if self._cancelled.is_set():
                    return
                self._put(self._senders.submit(self._tagger.answer, group))
            error = None
        except TimeoutError:
            error = RequestTimeoutError(f"Nothing came for {self._service.config.client_timeout_s:g} seconds.")
        except (*BROKEN, ClientGoneError) as gone:
            logger.debug("a stream ended early: %s", gone)
        except RuntimeError:  # the senders were shut down between the check and the call
            if not self._cancelled.is_set():
                raise
        finally:
            self._put(error)

    def _put(self, item: _QueueItem) -> None:
        while not self._cancelled.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_STEP_S)
                return

    def _chunks(self) -> Iterator[bytes]:
        """The body in pieces, as they come; raises ClientGoneError if it ends too early."""
        num_bytes = 0
        while chunk := read_some(self._input):
            self._moved_s = time.monotonic()
            num_bytes += len(chunk)
            time.sleep(0)  # a client that always has more to send would keep the loop from everybody else
            yield chunk
        if self._length is not None and num_bytes < self._length:
            raise ClientGoneError(f"{num_bytes} of {self._length} bytes came")


def read_some(stream: Any) -> bytes:
    """What has arrived of the body *stream*: at least one byte, at most 16 KiB; nothing at its end.

    gunicorn's ``Body.read(size)`` waits until there are *size* bytes. So do the readers below it, but they hold what
    came besides the one byte that is read first, and tell how much that is.
    """
    reader = getattr(stream, "reader", None)
    if reader is None:
        return bytes(stream.read(_CHUNK_BYTES))
    first: bytes = reader.read(1)
    if not first:
        return b""
    buffered = reader.buf if hasattr(reader, "buf") else reader.unreader.buf
    return first + bytes(reader.read(min(buffered.tell(), _CHUNK_BYTES - 1)))
