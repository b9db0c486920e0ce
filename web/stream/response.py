"""NDJSON in, NDJSON out: a line is answered while later ones are still being sent, in bounded memory.

One thread reads lines and makes groups of them, a few threads ask TorchServe for a group each, and the thread of the
request writes the answers in the order of the lines. Each waits for the next: a client that reads slowly is read from
slowly. A group ends when it is large enough or when nothing more has arrived yet, so that a program that waits for each
answer gets it.

A stream has no deadline, but a client that sends nothing, or takes nothing, for ``client_timeout_s`` seconds is
given up; so is a stream of which nothing can be answered any more. Its last line is then ``{"error": X}`` without the
number of a line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, NamedTuple

from flask import Response, request

from contract.entities import Entity, ModelInfo
from contract.errors import (
    ModelReplyError,
    ModelTimeoutError,
    ModelUnavailableError,
    RequestTimeoutError,
    ServingError,
    TooManyRequestsError,
)
from contract.options import Options, in_unit
from web.body import BROKEN
from web.server.stopping import STOPPING
from web.service import Service
from web.stream.lines import BadLine, Line, LineSplitter, read_line
from web.upstream.admission import Cancelled
from web.upstream.client import Caller
from web.upstream.errors import CircuitOpenError, RequestRejectedError, WorkerDeadlineError, WorkerOverloadedError
from web.upstream.reply import RowError

logger = logging.getLogger(__name__)

NUM_SENDERS: Final = 4
"""Groups of one stream that are asked about at a time."""

MAX_GROUP_LINES: Final = 32
MAX_GROUP_CHARS: Final = 8_000
"""What one request of a stream holds at most: little enough that others need not wait for it long."""

MAX_FAILED_GROUPS: Final = 8
"""Groups in a row of which nothing could be answered, after which the stream ends."""

_CHUNK_BYTES: Final = 65_536
_STEP_S: Final = 0.2

_Result = tuple[ModelInfo, list[Entity]] | RowError


class _Answers(NamedTuple):
    """A group's lines as they are written, and whether none could be answered because of the model."""

    lines: bytes
    is_failure: bool


class _End(NamedTuple):
    """The end of what the client sends: *error* is None if all of it came."""

    error: ServingError | None
    num_lines: int


class _ClientGoneError(ServingError):
    """The client has closed the connection before its last line."""

    code = "client_disconnected"


def stream_response(service: Service, model: str, options: Options, caller: Caller) -> Response:
    """The answer to a stream, once the model has said that it is there and what it thinks of the options.

    Raises what a request raises, and TooManyRequestsError if enough streams are being served.
    """
    if not service.streams.acquire(blocking=False):
        service.metrics.count_rejection("streams")
        raise TooManyRequestsError("There are too many streams just now. Please try again in a moment.")
    stream = _Stream(service, model, options, caller, request.environ)
    try:
        service.client.tag_texts(model, [], options, caller)
        response = Response(stream, mimetype="application/x-ndjson")
    except BaseException:
        stream.close()
        raise
    response.call_on_close(stream.close)
    return response


class _Stream:
    """One stream: iterate over it for its answers, and close it in any case."""

    def __init__(self, service: Service, model: str, options: Options, caller: Caller, environ: dict[str, Any]) -> None:
        self._service = service
        self._model = model
        self._options = options
        self._cancelled = threading.Event()
        self._caller = replace(caller, cancelled=self._cancelled)
        self._record = caller.record
        self._input = environ["wsgi.input"]
        self._length = int(environ["CONTENT_LENGTH"]) if environ.get("CONTENT_LENGTH", "").isdigit() else None
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        self._groups: queue.Queue[Future[_Answers] | _End] = queue.Queue(NUM_SENDERS)
        self._senders = ThreadPoolExecutor(NUM_SENDERS, "stream")
        self._reader = threading.Thread(target=self._read, name="stream-reader", daemon=True)
        self._num_lines = 0
        self._is_closed = False
        service.metrics.streams.inc()

    def __iter__(self) -> Iterator[bytes]:
        if self._socket is not None:
            self._socket.settimeout(self._service.config.client_timeout_s)
        self._reader.start()
        num_failed = 0
        while True:
            group = self._next_group()
            if isinstance(group, _End):
                yield from self._last_words(group)
                return
            answers = group.result()
            yield answers.lines
            num_failed = num_failed + 1 if answers.is_failure else 0
            if num_failed >= MAX_FAILED_GROUPS:
                error = ModelUnavailableError("The model answers nothing any more, the stream ends here.")
                yield from self._last_words(_End(error, 0))
                return

    def close(self) -> None:
        """End whatever still works for this stream."""
        if self._is_closed:
            return
        self._is_closed = True
        self._cancelled.set()
        if self._reader.is_alive():
            self._stop_reading()
            self._reader.join(self._service.config.client_timeout_s)
        self._senders.shutdown(wait=False, cancel_futures=True)
        self._service.metrics.streams.dec()
        self._service.streams.release()

    def _next_group(self) -> Future[_Answers] | _End:
        is_told = False
        while True:
            try:
                return self._groups.get(timeout=_STEP_S)
            except queue.Empty:
                if STOPPING.is_set() and not is_told:
                    is_told = True
                    self._stop_reading()

    def _stop_reading(self) -> None:
        """Let the reader see the end of the stream now."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)

    def _last_words(self, end: _End) -> Iterator[bytes]:
        error = end.error
        if error is None:
            return
        if STOPPING.is_set():
            message = f"The site is stopping, the stream ends after line {end.num_lines}."
            error = ModelUnavailableError(message)
        if self._record is not None:
            self._record.code = error.code
        self._service.metrics.count_error(error.code)
        yield _dump({"error": {"code": error.code, "message": str(error)}})

    def _read(self) -> None:
        """Read to the end of the stream; the reader's thread."""
        error: ServingError | None = _ClientGoneError("The stream was not complete.")
        try:
            for group in self._read_groups():
                if self._cancelled.is_set():
                    return
                self._put(self._senders.submit(self._answer, group))
            error = None
        except TimeoutError:
            error = RequestTimeoutError(f"Nothing came for {self._service.config.client_timeout_s:g} seconds.")
        except (*BROKEN, _ClientGoneError) as gone:
            logger.debug("a stream ended early: %s", gone)
        except RuntimeError:  # the senders were shut down in this very moment
            if not self._cancelled.is_set():
                raise
        finally:
            self._put(_End(error, self._num_lines))

    def _put(self, group: Future[_Answers] | _End) -> None:
        while not self._cancelled.is_set():
            with contextlib.suppress(queue.Full):
                self._groups.put(group, timeout=_STEP_S)
                return

    def _read_groups(self) -> Iterator[list[Line | BadLine]]:
        limits = self._service.limits
        splitter = LineSplitter(limits.request_bytes)
        max_chars = min(MAX_GROUP_CHARS, limits.max_chars)
        group: list[Line | BadLine] = []
        num_chars = 0
        for chunk in self._read_chunks():
            for number, raw in splitter.feed(chunk) if chunk else splitter.end():
                self._num_lines = number
                line = read_line(number, raw, limits)
                if line is None:
                    continue
                line_chars = len(line.text) if isinstance(line, Line) else 0
                if len(group) == MAX_GROUP_LINES or (group and num_chars + line_chars > max_chars):
                    yield group
                    group, num_chars = [], 0
                group.append(line)
                num_chars += line_chars
            if group:
                yield group
                group, num_chars = [], 0

    def _read_chunks(self) -> Iterator[bytes]:
        """What comes, as it comes, and nothing at its end; raises _ClientGoneError if there should be more."""
        num_bytes = 0
        while chunk := read_some(self._input):
            num_bytes += len(chunk)
            yield chunk
        if self._length is not None and num_bytes < self._length:
            raise _ClientGoneError(f"{num_bytes} of {self._length} bytes came")
        yield b""

    def _answer(self, group: Sequence[Line | BadLine]) -> _Answers:
        """Ask about the lines of *group* that are right; a sender's thread."""
        texts = [line.text for line in group if isinstance(line, Line)]
        if self._record is not None:
            self._record.add_texts(len(texts), sum(map(len, texts)))
        results = iter(self._tag(texts) if texts else [])
        written = []
        num_failed = 0
        for line in group:
            result = line.error if isinstance(line, BadLine) else next(results)
            if isinstance(result, RowError):
                num_failed += isinstance(line, Line) and result.code in _FAILURES
                self._service.metrics.count_error(result.code)
                written.append(_dump({**line.head, "error": result._asdict()}))
            else:
                model, entities = result
                found = [entity._asdict() for entity in entities]
                written.append(_dump({**line.head, "model": model._asdict(), "entities": found}))
            self._service.metrics.count_line("error" if isinstance(result, RowError) else "ok")
        return _Answers(b"".join(written), is_failure=0 < num_failed == len(texts))

    def _tag(self, texts: Sequence[str]) -> list[_Result]:
        """A result for each of *texts*; a whole group that the model refuses is asked about in halves."""
        try:
            reply = self._ask(texts)
        except Cancelled:
            return [RowError(_ClientGoneError.code, "Nobody is interested any more.")] * len(texts)
        except (RequestRejectedError, ModelReplyError) as error:
            if len(texts) > 1:
                half = len(texts) // 2
                return self._tag(texts[:half]) + self._tag(texts[half:])
            return [RowError(error.code, str(error))]
        except ServingError as error:
            return [RowError(error.code, str(error))] * len(texts)
        unit = self._options.offsets
        return [
            result if isinstance(result, RowError) else (reply.model, in_unit(result, text, unit))
            for text, result in zip(texts, reply.results, strict=True)
        ]

    def _ask(self, texts: Sequence[str]) -> Any:
        """The model's reply; while it is not asked at all, a stream waits for as long as an answer may take."""
        until_s = time.monotonic() + self._service.config.deadline_s
        while True:
            try:
                return self._service.client.tag_texts(self._model, texts, self._options, self._caller)
            except CircuitOpenError:
                if time.monotonic() > until_s or self._cancelled.wait(_STEP_S):
                    raise


_FAILURES: Final = {
    error.code
    for error in (
        ModelReplyError,
        ModelUnavailableError,
        ModelTimeoutError,
        WorkerOverloadedError,
        WorkerDeadlineError,
    )
}


def read_some(stream: Any) -> bytes:
    """What has arrived of the body *stream*, at least one byte, at most 64 KiB; nothing at its end.

    gunicorn's ``Body.read(size)`` waits until there are *size* bytes. The readers below it do as well, but hold what
    came besides the one byte that is asked for first, and how much that is can be seen.
    """
    reader = getattr(stream, "reader", None)
    if reader is None:
        return bytes(stream.read(_CHUNK_BYTES))
    first: bytes = reader.read(1)
    if not first:
        return b""
    buffered = reader.buf if hasattr(reader, "buf") else reader.unreader.buf
    return first + bytes(reader.read(min(buffered.tell(), _CHUNK_BYTES - 1)))


def _dump(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode("ascii") + b"\n"
