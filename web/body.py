"""How the body of a request is read: at most so much of it, in UTF-8, within a time."""

from __future__ import annotations

from typing import Final

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from web.errors import MalformedRequestError, RequestError, RequestTimeoutError, UnsupportedMediaTypeError
from web.service import Service

_CHARSETS: Final = {"utf-8", "utf8", "us-ascii", "ascii"}

BROKEN: Final = (ClientDisconnected, OSError, ParseException)
"""What reading a body raises when it is not whole: those of werkzeug, of the socket and of gunicorn's chunks."""


def check_encoding() -> None:
    """Raise UnsupportedMediaTypeError unless the body of this request is sent as it is, in UTF-8 where it is text."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaTypeError("Expected no Content-Encoding but identity.")
    if request.mimetype_params.get("charset", "utf-8").lower() not in _CHARSETS:
        raise UnsupportedMediaTypeError("Expected the charset utf-8.")


def read_text(service: Service) -> str:
    """The whole body of this request, decoded.

    Raises RequestTooLargeError, MalformedRequestError for what is not UTF-8 and RequestTimeoutError.
    """
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise service.body_too_large(service.config.max_body_bytes) from error
    except BROKEN as error:
        raise broken_body(error) from error
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"Expected UTF-8, got something else at byte {error.start}.") from error


def broken_body(error: Exception) -> RequestError:
    """What to tell a client whose body could not be read because of *error*."""
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):  # werkzeug makes it another
        return RequestTimeoutError("The request was not complete in time.")
    return MalformedRequestError("The request is not complete.")
