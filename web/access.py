"""WSGI middleware around everything else: request ids, response headers, the access log, and request metrics."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from web.metrics import Metrics
from web.record import ENVIRON_KEY, RequestRecord, request_id_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Request

logger = logging.getLogger(__name__)

HEADERS: Final = (
    # Only the site's own style sheet, script and images, and sending the form to the site.
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PLAIN_PATH: Final = re.compile(r"(?:/[\w.:-]{0,64}(?=/|$)){0,3}", re.ASCII)


class AccessLog:
    """Adds an id and headers to each response of a WSGI application, logs it and counts it.

    A log line has no query and no text: method, path, status, bytes, seconds, model, numbers of texts, characters and
    attempts, and the error's code.
    """

    def __init__(self, app: WSGIApplication, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request in *environ*."""
        record = RequestRecord(request_id_of(environ.get("HTTP_X_REQUEST_ID")))
        environ[ENVIRON_KEY] = record
        body = _CountedBody(environ, record, self._metrics)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            body.status = int(status[:3])
            request: Request | None = environ.get("werkzeug.request")  # none where no view answers
            if request is not None and not record.endpoint:
                record.endpoint = request.endpoint or ""
            own = [*headers, *HEADERS, ("X-Request-Id", record.request_id)]
            if not any(name == "Cache-Control" for name, _ in headers):  # all but static files
                own.append(("Cache-Control", "no-store"))
            return start_response(status, own, exc_info)

        try:
            body.pieces = self._app(environ, start)
        except BaseException:
            body.close()
            raise
        return body


class _CountedBody:
    """The body of a response; logs and counts the request once, when it is sent or closed."""

    def __init__(self, environ: WSGIEnvironment, record: RequestRecord, metrics: Metrics) -> None:
        self.status = 500
        self.pieces: Iterable[bytes] = ()
        self._environ = environ
        self._record = record
        self._metrics = metrics
        self._num_bytes = 0
        self._began_s = time.monotonic()
        self._is_logged = False
        self._is_complete = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self._num_bytes += len(piece)
            yield piece
        self._is_complete = True
        self._end()

    def close(self) -> None:
        """Close the application's body, then end the request."""
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()
        self._end()

    def _end(self) -> None:
        if self._is_logged:
            return
        self._is_logged = True
        record, environ = self._record, self._environ
        if not self._is_complete and not record.code and environ["REQUEST_METHOD"] != "HEAD":
            record.code = "client_disconnected"
        seconds = time.monotonic() - self._began_s
        self._metrics.count_request(record.endpoint or "none", self.status, seconds, record.code)
        if not logger.isEnabledFor(logging.INFO):
            return
        line = logging.LogRecord(logger.name, logging.INFO, __file__, 0, "request", None, None)
        line.__dict__.update(
            request_id=record.request_id,
            method=_loggable_method(environ["REQUEST_METHOD"]),
            path=_loggable_path(environ.get("PATH_INFO", "")),
            status=self.status,
            bytes=self._num_bytes,
            seconds=round(seconds, 4),
            model=record.model,
            texts=record.num_texts,
            characters=record.num_chars,
            attempts=record.num_attempts,
            error=record.code,
        )
        logger.handle(line)  # info() would find its caller and check each name, which doubles the time


def _loggable_method(method: str) -> str:
    """*method* when HTTP has it; any other may be a text."""
    return method if method in _METHODS else "..."


def _loggable_path(path: str) -> str:
    """*path* without what no page of ours has, and may be a text.

    >>> _loggable_path("/api/predict"), _loggable_path("/api/Barack Obama")
    ('/api/predict', '/api...')
    """
    plain = _PLAIN_PATH.match(path)
    known = plain[0] if plain else ""
    return path if known == path else f"{known}..."
