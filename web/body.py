"""Reads request bodies: bounded in bytes and in time, decoded as UTF-8."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.http import parse_options_header

from contract.bodies import check_charset, check_content_encoding, decode
from contract.errors import MalformedRequestError, RequestError, RequestTimeoutError
from web.service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_LENGTH: Final = re.compile(r"[0-9]{1,15}")

BROKEN: Final = (ClientDisconnected, OSError, ParseException)
"""Raised while an incomplete body is read, by werkzeug, by the socket and by gunicorn's reader of chunks."""


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
    """The body of the current request as text.

    Raises RequestTooLargeError, MalformedRequestError for what is not UTF-8 and RequestTimeoutError.
    """
    max_bytes = service.limits.request_bytes
    try:
        return decode(_whole_body(request.environ, max_bytes))
    except RequestEntityTooLarge as error:
        raise service.body_too_large(max_bytes) from error
    except BROKEN as error:
        raise broken_body(error) from error


def _whole_body(environ: WSGIEnvironment, max_bytes: int) -> bytes:
    """The complete body; one with a Content-Length is read without werkzeug's stream wrappers, which cost more."""
    length = environ.get("CONTENT_LENGTH", "")
    if not _LENGTH.fullmatch(length) or "HTTP_TRANSFER_ENCODING" in environ:
        return request.get_data(cache=False)
    if int(length) > max_bytes:
        raise RequestEntityTooLarge
    body: bytes = environ["wsgi.input"].read(int(length))
    if len(body) < int(length):
        raise ClientDisconnected
    return body


def broken_body(error: Exception) -> RequestError:
    """The error for a body that could not be read because of *error*: too slow, or cut off."""
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):  # werkzeug wraps it
        return RequestTimeoutError()
    return MalformedRequestError("The request is not complete.")
