"""Reads request bodies: bounded in bytes and in time, decoded as UTF-8."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from contract.bodies import check_charset, check_content_encoding, decode
from contract.errors import MalformedRequestError, RequestTimeoutError
from web.service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_MAX_FIELDS: Final = 16
"""Fields of a program's form that are read, more than it can have."""

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


def form_fields(body: bytes, environ: WSGIEnvironment) -> dict[str, str]:
    """The fields of the form *body*, urlencoded or multipart, and the contents of its files, by name.

    Raises MalformedRequestError for what is no such form or no UTF-8, for a name twice, and for very many fields.
    Flask's own ``request.form`` would put other characters in the place of bytes that are no UTF-8.
    """
    content_type = environ["CONTENT_TYPE"]
    try:
        if media_type(environ) == "multipart/form-data":
            boundary = parse_options_header(content_type)[1].get("boundary", "")
            pairs = list(_multipart(body, boundary.encode()))
        else:
            pairs = parse_qsl(decode(body), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError as error:
        raise MalformedRequestError("Expected a form in UTF-8, got another.") from error
    except (ValueError, RequestEntityTooLarge) as error:
        raise MalformedRequestError(
            f"Expected a complete form with at most {_MAX_FIELDS} fields, got something else."
        ) from error
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise MalformedRequestError("Expected each field of the form once, got one twice.")
    return fields


def _multipart(body: bytes, boundary: bytes) -> Iterator[tuple[str, str]]:
    if not boundary:
        raise ValueError("no boundary")
    decoder = MultipartDecoder(boundary, max_parts=_MAX_FIELDS)
    decoder.receive_data(body)
    decoder.receive_data(None)
    name, pieces = "", bytearray()
    while not isinstance(event := decoder.next_event(), Epilogue):
        if isinstance(event, Field | File):
            name = event.name or ""
            pieces.clear()
        elif isinstance(event, Data):
            pieces += event.data
            if not event.more_data:
                yield name, pieces.decode()


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
