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

from contract import options
from contract.bodies import (
    FORMS,
    JSON,
    TEXT,
    begins_as_json,
    check_charset,
    check_content_encoding,
    check_string,
    check_strings,
    decode,
    is_json,
    part_among,
    wrong_form,
)
from contract.errors import MalformedRequestError, RequestError
from contract.limits import RequestLimits, check_num_texts
from contract.options import Options
from contract.strict_json import kind, parse_json
from handler.protocol import kserve
from handler.protocol.forms import is_whole
from handler.protocol.headers import RequestHeaders

_OBJECT = (
    'a JSON object with "text" (a string), "texts" (a list of strings), "instances" or "inputs", '
    f"perhaps with {options.QUOTED_NAMES}"
)
_EXPECTED = f"Expected {_OBJECT}"
_MEDIA_TYPES = (JSON, TEXT)
_URLENCODED = "application/x-www-form-urlencoded"

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
    row: Mapping[str, object], headers: RequestHeaders, limits: RequestLimits, labels: Sequence[str]
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
    media_type, charset = _media_type(headers.content_type)
    check_content_encoding(headers.content_encoding)
    if media_type in FORMS or headers.is_grpc or not row.keys() & {"body", "data"}:
        return _part(row, media_type, headers.content_length)
    check_charset(charset)
    body = _decoded(row["body"] if "body" in row else row["data"])
    if not isinstance(body, str) or is_json(media_type, body, _MEDIA_TYPES):
        return _object(body)
    return {"text": body}


@lru_cache(maxsize=32)
def _media_type(content_type: str) -> tuple[str, str]:
    """The media type, or an empty string, and the charset in the header *content_type*, in small letters."""
    parameters = {name.lower(): value.strip('"').lower() for name, value in _PARAMETER.findall(content_type)}
    return content_type.partition(";")[0].strip().lower(), parameters.get("charset", "utf-8")


def _part(row: Mapping[str, object], media_type: str, num_bytes: int | None) -> Mapping[str, object]:
    """The same from the parts of a form of *num_bytes* or of a gRPC request."""
    name = part_among(row.keys(), options.NAMES, media_type)
    if media_type == _URLENCODED and num_bytes is not None:
        values = {key: value for key, value in row.items() if isinstance(value, (bytes, bytearray))}
        if not is_whole(values, num_bytes):
            raise wrong_form(options.NAMES, media_type, "that is not percent-encoded (with curl, --data-urlencode)")
    fields = {key: _decoded(value) for key, value in row.items()}
    body = fields.pop(name)
    if name == "text" or (name != "json" and isinstance(body, str) and not begins_as_json(body)):
        return {"text": body, **options.from_query({key: check_string(value) for key, value in fields.items()})}
    if fields:  # the object has its own
        raise wrong_form(options.NAMES, media_type, "with JSON and other parts")
    return _object(body)


def _decoded(body: object) -> object:
    return decode(body) if isinstance(body, (bytes, bytearray)) else body


def _object(body: object) -> Mapping[str, object]:
    document = parse_json(body, _EXPECTED) if isinstance(body, str) else body
    if not isinstance(document, dict):
        raise MalformedRequestError(f"{_EXPECTED}, got {kind(document)}.")
    return document


def _form_of(document: Mapping[str, object]) -> str:
    forms = [key for key in _KEYS if key in document]
    if len(forms) > 1:
        raise MalformedRequestError(f"{_EXPECTED}, got more than one of the first four.")
    if not forms:
        raise MalformedRequestError(f"{_EXPECTED}, got {'another key' if document else 'none of the first four'}.")
    return forms[0]


def _read(form: str, document: Mapping[str, object], limits: RequestLimits, labels: Sequence[str]) -> Request:
    if form == "inputs":
        tensor = kserve.read_tensor(document)
        texts, errors = _checked(tensor.texts, limits)
        return Request(form, texts, errors, Options.from_json(tensor.options, labels), tensor.id)
    if not document.keys() <= {form, *options.NAMES}:
        raise MalformedRequestError(f"{_EXPECTED}, got another key.")
    chosen = Options.from_json(document, labels)
    if form == "text":
        text = check_string(document["text"], "text")
        limits.check_text(text)
        return Request(form, [text], {}, chosen)
    items = check_strings(document[form], form)
    if form == "instances":
        items = [kserve.text_of_instance(item) for item in items]
    texts, errors = _checked(items, limits)
    return Request(form, texts, errors, chosen)


def _checked(items: Sequence[object], limits: RequestLimits) -> tuple[list[str], dict[int, RequestError]]:
    """The texts among *items*, and the errors of the others by their place, where the text is empty."""
    check_num_texts(len(items))
    errors: dict[int, RequestError] = {}
    texts = []
    for i, item in enumerate(items):
        try:
            text = check_string(item)
            limits.check_text(text)
            texts.append(text)
        except RequestError as error:
            errors[i] = error
            texts.append("")
    limits.check_texts(texts)
    return texts, errors
