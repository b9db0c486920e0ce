"""The JSON API: one text or several in, the model's reply out, in the same form as TorchServe's own."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from web.errors import MalformedRequestError, UnsupportedMediaTypeError
from web.service import Service

blueprint = Blueprint("api", __name__, url_prefix="/api")

_CHARSETS: Final = {"utf-8", "utf8", "us-ascii", "ascii"}
_EXPECTED: Final = 'Expected a JSON object with "text" (a string) or "texts" (a list of strings), perhaps with "model"'


@blueprint.post("/predict")
def predict() -> ResponseReturnValue:
    """The entities of ``text`` or of each of ``texts``; a text is tagged exactly as it was sent.

    The body is ``{"text"}`` or ``{"texts"}``, each with an optional ``"model"``, or plain text for the default model.
    In ``texts`` what is no string, or is over the limit, is an error in its own row, which the model reports.
    """
    service = Service.current()
    body = _read_body(service)
    if isinstance(body, str):
        body = {"text": body}
    model = service.model_named(body.get("model"))
    if "texts" in body:
        return service.client.tag_texts(model, body["texts"]).to_json()
    service.check_length(body["text"])
    return service.client.tag_text(model, body["text"]).to_json()


def _read_body(service: Service) -> str | dict[str, Any]:
    """Plain text, or a JSON object whose keys and types are right."""
    if request.mimetype not in {"application/json", "text/plain"}:
        raise UnsupportedMediaTypeError('Expected the Content-Type "application/json" or "text/plain".')
    if request.mimetype_params.get("charset", "utf-8").lower() not in _CHARSETS:
        raise UnsupportedMediaTypeError("Expected the charset utf-8.")
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise service.body_too_large() from error
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"Expected UTF-8, got something else at byte {error.start}.") from error
    return text if request.mimetype == "text/plain" else _parse(text)


def _parse(text: str) -> dict[str, Any]:
    """Read JSON and check it; raises MalformedRequestError, which names keys and types but no value."""
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise MalformedRequestError(f"{_EXPECTED}, got invalid JSON: {error.msg} at character {error.pos}.") from error
    except (ValueError, RecursionError) as error:  # NaN, a number of thousands of digits, brackets without end
        raise MalformedRequestError(f"{_EXPECTED}, got JSON that cannot be read.") from error
    if not isinstance(body, dict):
        raise MalformedRequestError(f"{_EXPECTED}, got {_kind(body)}.")
    if body.keys() - {"text", "texts", "model"}:
        raise MalformedRequestError(f"{_EXPECTED}, got another key.")
    if ("text" in body) == ("texts" in body):
        raise MalformedRequestError(f"{_EXPECTED}, got {'both' if 'text' in body else 'neither'}.")
    for key in body.keys() & {"text", "model"}:
        _check_string(key, body[key])
    if "texts" in body and not isinstance(body["texts"], list):
        raise MalformedRequestError(f'Expected a list of strings for "texts", got {_kind(body["texts"])}.')
    return body


def _check_string(key: str, value: object) -> None:
    if not isinstance(value, str):
        raise MalformedRequestError(f'Expected a string for "{key}", got {_kind(value)}.')


def _kind(value: object) -> str:
    """What JSON calls a value.

    >>> [_kind(value) for value in ([], {}, "", None, True, 1.5)]
    ['a list', 'an object', 'a string', 'null', 'a boolean', 'a number']
    """
    names = {list: "a list", dict: "an object", str: "a string", type(None): "null", bool: "a boolean"}
    return names.get(type(value), "a number")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
