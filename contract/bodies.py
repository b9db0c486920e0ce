"""Checks on a request's body: media type, content coding, charset, and the types of its values."""

from __future__ import annotations

from collections.abc import Sequence

from contract.errors import MalformedRequestError, UnsupportedMediaTypeError
from contract.strict_json import kind

_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


def check_media_type(media_type: str, known: Sequence[str]) -> None:
    """Raise UnsupportedMediaTypeError if *media_type*, in small letters, is none of those that are *known*."""
    if media_type not in known:
        raise UnsupportedMediaTypeError(f"Expected one of the Content-Types {', '.join(known)}.")


def check_content_encoding(content_encoding: str) -> None:
    """Raise UnsupportedMediaTypeError if the body is compressed; *content_encoding* is empty without the header."""
    if content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaTypeError


def check_charset(charset: str) -> None:
    """Raise UnsupportedMediaTypeError unless *charset*, in small letters, is UTF-8 or a part of it."""
    if charset not in _CHARSETS:
        raise UnsupportedMediaTypeError("Expected the charset utf-8.")


def decode(body: bytes | bytearray) -> str:
    """The text in *body*; raises MalformedRequestError where it is not UTF-8."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"Expected UTF-8, got something else at byte {error.start}.") from error


def check_string(value: object, key: str = "") -> str:
    """*value*, that of *key* if it has one; raises MalformedRequestError where it is no string."""
    if not isinstance(value, str):
        raise MalformedRequestError(f"Expected a string{_of(key)}, got {kind(value)}.")
    return value


def check_strings(value: object, key: str) -> list[object]:
    """*value*, that of *key*; raises MalformedRequestError where it is no list, whatever is in it."""
    if not isinstance(value, list):
        raise MalformedRequestError(f"Expected a list of strings{_of(key)}, got {kind(value)}.")
    return value


def _of(key: str) -> str:
    return f' for "{key}"' if key else ""
