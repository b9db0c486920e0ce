"""The request forms of the inference API: a body to texts, or the error that says why not.

Decoding is strict and our own, on the raw bytes: what arrives is exactly what
was sent, and a body that is wrong is answered with a message of ours.
Whatever TorchServe has decoded already (``decode_input_request=true``) is
understood too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from handler.errors import (
    MalformedRequestError,
    RequestError,
    RequestTooLargeError,
    TextTooLongError,
    UnsupportedMediaTypeError,
)

#: Texts in one request, at most.
MAX_TEXTS = 256

#: Code points in one request, at most: with the batch size this bounds the time that one batch can take.
MAX_REQUEST_CHARS = 100_000

_FORMS = 'expected a text/plain body, {"text": "..."} or {"texts": ["...", ...]}'


class TextRequest(NamedTuple):
    """The texts of one request; ``errors`` are those of single texts by their place, and their texts are empty."""

    texts: list[str]
    errors: dict[int, RequestError]
    is_single: bool


def read_request(row: Mapping[str, object], content_type: str, max_chars: int) -> TextRequest:
    """The texts in *row*, TorchServe's dictionary of one request's parts.

    Raises:
        RequestError: the request as a whole cannot be answered; of single
            texts in ``{"texts": [...]}`` the errors are returned.
    """
    if "body" not in row and "data" not in row:
        raise UnsupportedMediaTypeError(f"{_FORMS}, got a form or an empty body")
    body = row["body"] if "body" in row else row["data"]
    document = _document(body, content_type)
    if isinstance(document, str):
        return TextRequest([_checked(document, max_chars)], {}, is_single=True)
    if document.keys() == {"text"}:
        return TextRequest([_checked(document["text"], max_chars)], {}, is_single=True)
    if document.keys() == {"texts"}:
        return _read_texts(document["texts"], max_chars)
    raise MalformedRequestError(f"{_FORMS}, got a JSON object with other keys")


def _document(body: object, content_type: str) -> str | Mapping[str, object]:
    """The text of a text/plain *body*, the object of a JSON one."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.partition("charset=")[2].strip('" ').lower()
    if media_type not in {"", "text/plain", "application/json"}:
        raise UnsupportedMediaTypeError("expected Content-Type text/plain or application/json, got another one")
    if charset not in {"", "utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaTypeError("expected charset utf-8, got another one")
    if isinstance(body, (bytes, bytearray)):
        try:
            body = body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedRequestError(f"expected UTF-8, got a wrong byte at {error.start}") from error
        if media_type == "application/json":
            body = _parse_json(body)
    if isinstance(body, dict) or (isinstance(body, str) and media_type != "application/json"):
        return body
    raise MalformedRequestError(f"{_FORMS}, got JSON of another type")


def _parse_json(body: str) -> object:
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise MalformedRequestError(f"expected JSON: {error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise MalformedRequestError("expected JSON of reasonable depth and numbers") from error


def _read_texts(texts: object, max_chars: int) -> TextRequest:
    if not isinstance(texts, list):
        raise MalformedRequestError(f"{_FORMS}, got texts that are no list")
    if len(texts) > MAX_TEXTS:
        raise RequestTooLargeError(f"expected at most {MAX_TEXTS} texts in a request, got {len(texts)}")
    errors: dict[int, RequestError] = {}
    checked = []
    for i, text in enumerate(texts):
        try:
            checked.append(_checked(text, max_chars))
        except RequestError as error:
            errors[i] = error
            checked.append("")
    _check_total(checked)
    return TextRequest(checked, errors, is_single=False)


def _check_total(texts: Sequence[str]) -> None:
    num_chars = sum(map(len, texts))
    if num_chars > MAX_REQUEST_CHARS:
        raise RequestTooLargeError(f"expected at most {MAX_REQUEST_CHARS} characters in a request, got {num_chars}")


def _checked(text: object, max_chars: int) -> str:
    if not isinstance(text, str):
        raise MalformedRequestError("expected a text to be a string")
    if len(text) > max_chars:
        raise TextTooLongError(f"expected at most {max_chars} characters in a text, got {len(text)}")
    return text
