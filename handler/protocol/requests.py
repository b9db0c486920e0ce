"""The request forms of the inference API: a row of TorchServe's to texts and options, or why there are none.

Decoding is strict and our own, on the raw bytes: what arrives is exactly what
was sent, and a body that is wrong is answered with a message of ours.
Whatever TorchServe has decoded already (``decode_input_request=true``) is
understood too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from handler.errors import MalformedRequestError, RequestError, UnsupportedMediaTypeError
from handler.limits import Limits, check_num_texts
from handler.options import OPTION_KEYS, Options, read_options
from handler.protocol import kserve
from handler.protocol.headers import RequestHeaders
from handler.strict_json import parse_json

_FORMS = (
    'expected a text/plain body, {"text": "..."}, {"texts": ["...", ...]}, {"instances": [...]} or {"inputs": [...]}'
)
_FORM_TYPES = {"application/x-www-form-urlencoded", "multipart/form-data"}
_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}

#: A parameter of a Content-Type (RFC 9110, 5.6.6), its name and its value, perhaps in quotes.
_PARAMETER = re.compile(r""";[ \t]*([\w!#$%&'*+.^`|~-]+)=("[^"]*"|[\w!#$%&'*+.^`|~-]+)""", re.ASCII)

#: The key that tells a form of JSON from the others.
_KEYS = ("text", "texts", "instances", "inputs")


class Request(NamedTuple):
    """The texts of one request.

    ``form`` is the key that its document has: ``"text"``, ``"texts"``,
    ``"instances"`` (KServe v1) or ``"inputs"`` (Open Inference Protocol v2);
    ``"text"`` also for plain text.  ``errors`` are those of single texts by
    their place, and their texts are empty.  ``id`` is the one of an Open
    Inference request.
    """

    form: str
    texts: list[str]
    errors: dict[int, RequestError]
    options: Options
    id: str | None = None

    @property
    def num_chars(self) -> int:
        """Code points in all texts."""
        return sum(map(len, self.texts))


class Refusal(NamedTuple):
    """Why a request as a whole is not answered; ``form`` as in :class:`Request`, ``"text"`` where it is not known."""

    error: RequestError
    form: str = "text"


def read_request(
    row: Mapping[str, object], headers: RequestHeaders, limits: Limits, labels: Sequence[str]
) -> Request | Refusal:
    """What is asked in *row*, TorchServe's dictionary of one request's parts, of a model that knows *labels*."""
    form = "text"
    try:
        document = _document(row, headers)
        form = _form_of(document)
        return _read(form, document, limits.for_explanations() if headers.explain else limits, labels)
    except RequestError as error:
        return Refusal(error, form)


def _document(row: Mapping[str, object], headers: RequestHeaders) -> Mapping[str, object]:
    """The JSON object that was sent; for plain text, the one that says the same."""
    if headers.content_encoding and headers.content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaTypeError("expected no Content-Encoding but identity, got another one")
    media_type, charset = _media_type(headers.content_type)
    if media_type in _FORM_TYPES or headers.is_grpc or not row.keys() & {"body", "data"}:
        return _part(row)
    if media_type not in {"", "text/plain", "application/json"}:
        raise UnsupportedMediaTypeError("expected Content-Type text/plain or application/json, got another one")
    if charset not in _CHARSETS:
        raise UnsupportedMediaTypeError("expected charset utf-8, got another one")
    body = _decoded(row["body"] if "body" in row else row["data"])
    if not media_type and not body:
        raise UnsupportedMediaTypeError(f"{_FORMS}, got an empty body")
    if media_type == "application/json":
        return _object(body)
    return {"text": body} if isinstance(body, str) else _object(body)


@lru_cache(maxsize=32)
def _media_type(content_type: str) -> tuple[str, str]:
    """The media type, or an empty string, and the charset in the header *content_type*, in small letters."""
    parameters = {name.lower(): value.strip('"').lower() for name, value in _PARAMETER.findall(content_type)}
    return content_type.partition(";")[0].strip().lower(), parameters.get("charset", "utf-8")


def _part(row: Mapping[str, object]) -> Mapping[str, object]:
    """The same from the parts of a form or of a gRPC request, of which there is one: json, or text."""
    if row.keys() == {"json"}:
        return _object(_decoded(row["json"]))
    if row.keys() == {"text"}:
        return {"text": _decoded(row["text"])}
    raise UnsupportedMediaTypeError(f"{_FORMS}, or one part named json or text; got other parts or an empty body")


def _decoded(body: object) -> object:
    if not isinstance(body, (bytes, bytearray)):
        return body
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"expected UTF-8, got a wrong byte at {error.start}") from error


def _object(body: object) -> Mapping[str, object]:
    document = parse_json(body) if isinstance(body, str) else body
    if not isinstance(document, dict):
        raise MalformedRequestError(f"{_FORMS}, got JSON of another type")
    return document


def _form_of(document: Mapping[str, object]) -> str:
    forms = [key for key in _KEYS if key in document]
    if len(forms) != 1:
        raise MalformedRequestError(f"{_FORMS}, got a JSON object with other keys")
    return forms[0]


def _read(form: str, document: Mapping[str, object], limits: Limits, labels: Sequence[str]) -> Request:
    if form == "inputs":
        tensor = kserve.read_tensor(document)
        texts, errors = _checked(tensor.texts, limits)
        return Request(form, texts, errors, read_options(tensor.options, labels), tensor.id)
    if document.keys() - OPTION_KEYS != {form}:
        raise MalformedRequestError(f"{_FORMS}, got a JSON object with other keys")
    options = read_options({key: value for key, value in document.items() if key != form}, labels)
    if form == "text":
        return Request(form, [_checked_text(document["text"], limits)], {}, options)
    items = document[form]
    if not isinstance(items, list):
        raise MalformedRequestError(f"{form}: expected a list, got something else")
    if form == "instances":
        items = [kserve.text_of_instance(item) for item in items]
    texts, errors = _checked(items, limits)
    return Request(form, texts, errors, options)


def _checked(items: Sequence[object], limits: Limits) -> tuple[list[str], dict[int, RequestError]]:
    check_num_texts(len(items))
    errors: dict[int, RequestError] = {}
    texts = []
    for i, item in enumerate(items):
        try:
            texts.append(_checked_text(item, limits))
        except RequestError as error:
            errors[i] = error
            texts.append("")
    limits.check_total(sum(map(len, texts)))
    return texts, errors


def _checked_text(text: object, limits: Limits) -> str:
    if not isinstance(text, str):
        raise MalformedRequestError("expected a text to be a string")
    limits.check_text(text)
    return text
