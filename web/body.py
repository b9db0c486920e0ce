"""Reads request bodies: bounded in bytes and in time, decoded as UTF-8."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.http import parse_options_header

from contract.bodies import check_charset, check_content_encoding, decode
from contract.errors import MalformedRequestError, RequestTimeoutError
from web.service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_LENGTH: Final = re.compile(r"[0-9]{1,15}")

BROKEN: Final = (OSError, ParseException)
"""Raised while an incomplete body is read, by the socket and by gunicorn's reader of chunks."""


def media_type(environ: WSGIEnvironment) -> str:
    """The media type in the request's Content-Type, without parameters; empty if there is none."""
    return _content_type(environ.get("CONTENT_TYPE", ""))[0]


def check_encoding(environ: WSGIEnvironment) -> None:
    """Raise UnsupportedMediaTypeError unless the body is uncompressed and its charset is UTF-8."""
    check_content_encoding(environ.get("HTTP_CONTENT_ENCODING", ""))
    check_charset(_content_type(environ.get("CONTENT_TYPE", ""))[1])


@lru_cache(maxsize=64)  # clients send few different values
def _content_type(value: str) -> tuple[str, str]:
    """Media type and charset of a Content-Type, in lower case."""
    mimetype, options = parse_options_header(value)
    return mimetype.lower(), options.get("charset", "utf-8").lower()


def read_text(service: Service) -> str:
    """The body of the current request as text; raises MalformedRequestError for what is not UTF-8."""
    return decode(whole_body(service, service.limits.request_bytes))


def whole_body(service: Service, max_bytes: int) -> bytes:
    """The complete body of the current request, read without werkzeug's stream wrappers, which cost more.

    Raises RequestTooLargeError for more than *max_bytes*, MalformedRequestError for a part and RequestTimeoutError.
    """
    environ = request.environ
    length = environ.get("CONTENT_LENGTH", "")
    has_length = _LENGTH.fullmatch(length) is not None and "HTTP_TRANSFER_ENCODING" not in environ
    if has_length and int(length) > max_bytes:
        raise service.body_too_large(max_bytes)
    try:
        body: bytes = environ["wsgi.input"].read(int(length) if has_length else max_bytes + 1)
    except TimeoutError as error:
        raise RequestTimeoutError from error
    except BROKEN as error:
        raise MalformedRequestError("The request is not complete.") from error
    if len(body) > max_bytes:
        raise service.body_too_large(max_bytes)
    if has_length and len(body) < int(length):
        raise MalformedRequestError("The request is not complete.")
    return body
