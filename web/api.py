"""``POST /api/predict``: one text, several texts, or an NDJSON stream to entities, as the contract has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from contract import options
from contract.bodies import (
    FORMS,
    JSON,
    TEXT,
    begins_as_json,
    check_string,
    check_strings,
    decode,
    is_json,
    part_among,
    wrong_form,
)
from contract.errors import MalformedRequestError, RequestError
from contract.limits import check_num_texts
from contract.options import Options, in_unit
from contract.strict_json import Encoder, kind, parse_json
from web.body import check_encoding, form_fields, media_type, whole_body
from web.off_loop import LARGE, off_loop, write_json
from web.record import RequestRecord, record_of
from web.service import Service
from web.stream.response import stream_response
from web.upstream.client import Caller
from web.upstream.reply import RowError

blueprint = Blueprint("api", __name__, url_prefix="/api")

NDJSON: Final = "application/x-ndjson"

_ENCODER: Final = Encoder(separators=(",", ":"))
_ENTITY_BYTES: Final = 80  # of one entity in the answer, about

_MEDIA_TYPES: Final = (JSON, TEXT, NDJSON)
_BESIDE_TEXT: Final = ("model", *options.NAMES)
_EXPECTED: Final = (
    'Expected a JSON object with "text" (a string) or "texts" (a list of strings), '
    f'perhaps with "model", {options.QUOTED_NAMES}'
)
_IN_QUERY: Final = f'Expected "model", {options.QUOTED_NAMES} in the query, each at most once'


@dataclass(frozen=True)
class _Parameters:
    """Model, options and deadline of a request."""

    model: str
    options: Options
    caller: Caller


@blueprint.post("/predict")
def predict() -> ResponseReturnValue:
    """The entities of ``text``, of each of ``texts``, or of each line of a stream; texts are never changed.

    The body is JSON, plain text, a form, or NDJSON. ``model`` and the options may stand in the query; a key of the
    body counts more. In ``texts`` what is no string, or is over the limit, is an error in its own row.
    """
    service = Service.current()
    environ = request.environ
    mimetype = media_type(environ)
    check_encoding(environ)
    query = _read_query() if environ.get("QUERY_STRING") else {}
    record = record_of(environ)
    caller = Caller(record.request_id, _timeout_s(environ.get("HTTP_X_REQUEST_TIMEOUT")), None, record)
    if mimetype == NDJSON:
        parameters = _parameters(service, query, caller, record)
        return stream_response(service, parameters.model, parameters.options, parameters.caller)
    raw = whole_body(service, service.limits.request_bytes)
    body = off_loop(_document, raw, environ, size=len(raw))
    parameters = _parameters(service, {**query, **body}, caller, record)
    if "texts" in body:
        return _tag_texts(service, parameters, body["texts"], record)
    return _tag_text(service, parameters, body["text"], record)


def _tag_text(service: Service, parameters: _Parameters, text: str, record: RequestRecord) -> ResponseReturnValue:
    record.add_texts(1, len(text))
    service.limits.check_text(text)
    reply = service.client.tag_text(parameters.model, text, parameters.options, parameters.caller)
    unit = parameters.options.offsets

    def document() -> dict[str, Any]:
        return reply._replace(entities=in_unit(reply.entities, text, unit)).to_json()

    return _answer(document, len(reply.entities))


def _tag_texts(
    service: Service, parameters: _Parameters, texts: list[object], record: RequestRecord
) -> ResponseReturnValue:
    """One result for each of *texts*, in order: entities, or the error of that text alone."""
    record.add_texts(len(texts), 0)
    check_num_texts(len(texts))
    record.add_texts(0, sum(len(text) for text in texts if isinstance(text, str)))
    errors = {i: error for i, text in enumerate(texts) if (error := _row_error(service, text)) is not None}
    right = [text for i, text in enumerate(texts) if isinstance(text, str) and i not in errors]
    service.limits.check_texts(right)
    reply = service.client.tag_texts(parameters.model, right, parameters.options, parameters.caller)
    unit = parameters.options.offsets

    def document() -> dict[str, Any]:
        tagged = iter(zip(right, reply.results, strict=True))
        results: list[Any] = []
        for i in range(len(texts)):
            if i in errors:
                results.append(errors[i])
            else:
                text, result = next(tagged)
                results.append(result if isinstance(result, RowError) else in_unit(result, text, unit))
        return reply._replace(results=results).to_json()

    return _answer(document, sum(len(result) for result in reply.results))


def _answer(document: Callable[[], dict[str, Any]], num_entities: int) -> ResponseReturnValue:
    """The response with what *document* makes, off the loop if it has many entities."""
    if num_entities * _ENTITY_BYTES < LARGE:
        return document()
    body = off_loop(lambda: write_json(_ENCODER, document()))
    return Response(f"{body}\n", content_type="application/json")


def _row_error(service: Service, text: object) -> RowError | None:
    try:
        service.limits.check_text(check_string(text))
    except RequestError as error:
        return RowError(error.code, str(error))
    return None


def _parameters(service: Service, body: Mapping[str, Any], caller: Caller, record: RequestRecord) -> _Parameters:
    """The model and the options among the keys of *body*; raises UnknownModelError or InvalidOptionError."""
    model = service.model_named(body.get("model"))
    record.model = model
    return _Parameters(model, Options.from_json(body), caller)


def _read_query() -> dict[str, Any]:
    """Model and options from the query, as a JSON object would have them."""
    names = set(request.args)
    if names - {"model", *options.NAMES}:
        raise MalformedRequestError(f"{_IN_QUERY}, got another name.")
    if any(len(request.args.getlist(name)) > 1 for name in names):
        raise MalformedRequestError(f"{_IN_QUERY}, got one twice.")
    model = {"model": request.args["model"]} if "model" in names else {}
    return {**model, **options.from_query(request.args)}


def _timeout_s(sent: str | None) -> float | None:
    """Seconds in the header X-Request-Timeout, None without one; raises MalformedRequestError."""
    if sent is None:
        return None
    try:
        timeout_s = float(sent)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s < math.inf:
        raise MalformedRequestError("Expected a number of seconds above 0 in X-Request-Timeout, got something else.")
    return timeout_s


def _document(raw: bytes, environ: dict[str, Any]) -> dict[str, Any]:
    """What the body *raw* asks: the keys of JSON, or those that say the same for a text or a form."""
    mimetype = media_type(environ)
    if mimetype in FORMS and not raw.lstrip().startswith(b"{"):
        return _form(form_fields(raw, environ), mimetype)
    text = decode(raw)
    return _parse(text) if is_json(mimetype, text, _MEDIA_TYPES) else {"text": text}


def _form(fields: dict[str, str], mimetype: str) -> dict[str, Any]:
    """The same for the *fields* of a form."""
    name = part_among(fields, _BESIDE_TEXT, mimetype)
    body = fields.pop(name)
    if name == "text" or (name != "json" and not begins_as_json(body)):
        model = {"model": fields["model"]} if "model" in fields else {}
        return {"text": body, **model, **options.from_query(fields)}
    if fields:  # the object has its own
        raise wrong_form(_BESIDE_TEXT, mimetype, "with JSON and other parts")
    return _parse(body)


def _parse(text: str) -> dict[str, Any]:
    """The JSON object in *text*, its keys and types checked; raises MalformedRequestError, which quotes no value."""
    body = parse_json(text, _EXPECTED)
    if not isinstance(body, dict):
        raise MalformedRequestError(f"{_EXPECTED}, got {kind(body)}.")
    if body.keys() - {"text", "texts", "model", *options.NAMES}:
        raise MalformedRequestError(f"{_EXPECTED}, got another key.")
    if ("text" in body) == ("texts" in body):
        raise MalformedRequestError(f"{_EXPECTED}, got {'both' if 'text' in body else 'neither'}.")
    for key in ("text", "model"):
        if key in body:
            check_string(body[key], key)
    if "texts" in body:
        check_strings(body["texts"], "texts")
    return body
