"""Checks on a request's body: media type, content coding, charset, and the types of its values."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from contract.errors import MalformedRequestError, UnsupportedMediaTypeError
from contract.strict_json import kind

_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
#: What curl needs to send JSON as JSON.
_HEADER = "-H 'Content-Type: application/json'"
#: What it needs to send a text as a text.
_TEXT_HEADER = "-H 'Content-Type: text/plain'"

_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")

JSON = "application/json"
TEXT = "text/plain"
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

#: Those that messages name.
_COMMON = FORMS | {
    *("application/octet-stream", "application/x-ndjson", "application/ndjson", "application/jsonl"),
    *("application/xml", "application/pdf", "text/json", "text/xml", "text/html", "text/csv", "text/markdown"),
}

PARTS = ("text", "json", "data", "body")
"""Names of the one field of a form, or the one part of a gRPC request, that holds what is asked."""


def is_json(media_type: str, body: str, known: Sequence[str]) -> bool:
    """Whether *body* is JSON; if not, it is a text.

    text/plain is a text whatever is in it.  Any other body that begins as an object of JSON is one whatever its header
    says, since programs name other types where nobody chose one; what has no type is a text else.

    >>> is_json("text/plain", '{"text": "x"}', ()), is_json("application/octet-stream", '{"text": "x"}', ())
    (False, True)

    Raises:
        UnsupportedMediaTypeError: *media_type* is none of those that are *known*, or there is no type and no body.
    """
    if media_type in {JSON, TEXT}:
        return media_type == JSON
    if begins_as_json(body):
        return True
    if media_type or not body:
        came = _shown(media_type) if media_type else "none and an empty body"
        raise UnsupportedMediaTypeError(
            f"Expected one of the Content-Types {', '.join(known)}, got {came}; with curl, add {_HEADER}."
        )
    return False


def begins_as_json(body: str) -> bool:
    """Whether *body* begins as an object of JSON does; a form that a browser or a library encoded never does."""
    return body.lstrip(" \t\r\n").startswith("{")


def part_among(names: Collection[str], others: Sequence[str], media_type: str) -> str:
    """The one of PARTS among *names*, those of a form's fields; the rest may be some of *others*.

    Raises UnsupportedMediaTypeError for other fields: they are what a form's reader makes of JSON.  *media_type* is
    empty for parts of a gRPC request.
    """
    parts = [name for name in PARTS if name in names]
    if len(parts) == 1 and set(names) <= {*parts, *others}:
        return parts[0]
    raise wrong_form(others, media_type, "with other parts" if names else "with no part")


def wrong_form(others: Sequence[str], media_type: str, came: str) -> UnsupportedMediaTypeError:
    """The error of a form that :func:`part_among` does not take; *came* says what is wrong with it."""
    form = f"one part named {', '.join(PARTS[:-1])} or {PARTS[-1]}, beside a text perhaps {', '.join(others)}"
    if not media_type:
        return UnsupportedMediaTypeError(f"Expected {form}, got a request {came}.")
    return UnsupportedMediaTypeError(
        f"Expected JSON or a text with its own header (with curl, add {_HEADER} or {_TEXT_HEADER}), "
        f"or a form with {form}; got {_shown(media_type)} {came}."
    )


def _shown(media_type: str) -> str:
    """*media_type* if clients name it without being told; any other may be a text, which no message holds."""
    return media_type if media_type in _COMMON else "another"


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
        came = "UTF-16" if body.startswith(_UTF16_BOMS) else f"something else at byte {error.start}"
        raise MalformedRequestError(f"Expected UTF-8, got {came}.") from error


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
