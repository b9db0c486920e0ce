"""What every request gets, whoever answers it: an id, a line in the log when it is over, and a place in the numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from web.metrics import Metrics
from web.record import ENVIRON_KEY, RequestRecord, request_id_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

_MAX_PATH: Final = 200


class AccessLog:
    """A WSGI application around another one.

    The line in the log has no query and no text: method, path, status, bytes, seconds, model, how many texts,
    characters and attempts, and the code of the error.
    """

    def __init__(self, app: WSGIApplication, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request in *environ*."""
        record = RequestRecord(request_id_of(environ.get("HTTP_X_REQUEST_ID")))
        environ[ENVIRON_KEY] = record
        answer = _Answer(environ, record, self._metrics)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            answer.status = int(status[:3])
            return start_response(status, [*headers, ("X-Request-Id", record.request_id)], exc_info)

        try:
            answer.body = self._app(environ, start)
        except BaseException:
            answer.close()
            raise
        return answer


class _Answer:
    """The body of an answer on its way out."""

    def __init__(self, environ: WSGIEnvironment, record: RequestRecord, metrics: Metrics) -> None:
        self.status = 500
        self.body: Iterable[bytes] = ()
        self._environ = environ
        self._record = record
        self._metrics = metrics
        self._num_bytes = 0
        self._began_s = time.monotonic()
        self._is_over = False
        self._is_complete = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.body:
            self._num_bytes += len(piece)
            yield piece
        self._is_complete = True
        self._end()

    def close(self) -> None:
        """Close the body; whatever happened, the request is over now."""
        close = getattr(self.body, "close", None)
        if close is not None:
            close()
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        record, environ = self._record, self._environ
        if not self._is_complete and not record.code and environ["REQUEST_METHOD"] != "HEAD":
            record.code = "client_disconnected"
        seconds = time.monotonic() - self._began_s
        self._metrics.count_request(record.endpoint or "none", self.status, seconds, record.code)
        logger.info(
            "request",
            extra={
                "request_id": record.request_id,
                "method": environ["REQUEST_METHOD"],
                "path": environ.get("PATH_INFO", "")[:_MAX_PATH],
                "status": self.status,
                "bytes": self._num_bytes,
                "seconds": round(seconds, 4),
                "model": record.model,
                "texts": record.num_texts,
                "characters": record.num_chars,
                "attempts": record.num_attempts,
                "error": record.code,
            },
        )
