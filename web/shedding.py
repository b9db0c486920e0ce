"""Answers 429 before a request is read, so that refusing is cheap."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from contract.bodies import FORMS, JSON, TEXT
from contract.errors import TooManyRequestsError
from contract.strict_json import to_json
from web.body import media_type
from web.record import record_of
from web.upstream.admission import Admission

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH: Final = "/api/predict"
_ENDPOINT: Final = "api.predict"
_MEDIA_TYPES: Final = frozenset({JSON, TEXT, *FORMS, ""})

_SHORT: Final = re.compile(r"[0-9]{1,4}|[12][0-9]{4}")
"""A Content-Length below 30,000: gunicorn reads and drops that much; after more it would close the connection."""


class Shedding:
    """WSGI middleware that refuses texts for the API while the queue is full."""

    def __init__(self, app: WSGIApplication, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        error = TooManyRequestsError()
        self._body = to_json(error.to_json()).encode() + b"\n"
        self._headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self._body))),
            ("Retry-After", str(error.retry_after_s)),
        ]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request in *environ*."""
        if not self._admission.is_full or not _is_text(environ):
            return self._app(environ, start_response)
        self._admission.count_refusal()
        record = record_of(environ)
        record.endpoint, record.code = _ENDPOINT, TooManyRequestsError.code
        start_response("429 TOO MANY REQUESTS", self._headers)
        return [self._body]


def _is_text(environ: WSGIEnvironment) -> bool:
    return (
        environ.get("PATH_INFO") == _PATH
        and environ["REQUEST_METHOD"] == "POST"
        and media_type(environ) in _MEDIA_TYPES
        and _SHORT.fullmatch(environ.get("CONTENT_LENGTH", "")) is not None
        and "HTTP_TRANSFER_ENCODING" not in environ
    )
