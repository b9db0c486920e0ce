"""The pages: the form and the form with its result. They work without JavaScript.

There is no cookie, no log-in and nothing to change on the server, hence nothing a forged request could do in a
visitor's name and no CSRF token.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import Any, Final

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from contract.errors import (
    EmptyTextError,
    MalformedRequestError,
    RequestError,
    RequestTooLargeError,
    ServingError,
    TextTooLongError,
    UpstreamError,
)
from web.body import check_encoding, media_type, whole_body
from web.off_loop import off_loop
from web.record import record_of
from web.render import hues, segments
from web.service import Service
from web.upstream.client import Caller
from web.upstream.errors import RequestRejectedError
from web.upstream.reply import TextReply

blueprint = Blueprint("pages", __name__)

EXAMPLE: Final = (
    "Barack Obama was born in Hawaii and studied at Columbia University in New York. "
    "In 2009 he flew to Oslo, where the Norwegian Nobel Committee gave him the Nobel Peace Prize."
)

MAX_MARKS: Final = 10_000
"""Entities marked in the text of a result, at most; more take seconds to render, here and in the browser."""

MAX_ROWS: Final = 1_000
"""Rows in the table of a result, at most."""

_MAX_FIELDS: Final = 1_000
"""Fields of a form that are read, far above ours: whoever sends more wants to keep us busy."""

_ENTITY_BYTES: Final = 100  # that an entity takes on the page, about

_TEXT_ERRORS: Final = (EmptyTextError, TextTooLongError, RequestTooLargeError, RequestRejectedError)
"""Errors that the form's text causes."""

_EXPLANATIONS: Final = {
    "bad_model_reply": "The model gave an answer that makes no sense. This is our fault, not that of your text.",
    "model_unavailable": "The model is not ready yet. Please try again in a moment.",
    "overloaded": "The model has too much to do just now. Please try again in a moment.",
    "deadline_exceeded": "The model has too much to do just now. Please try again in a moment.",
    "model_timeout": "The model took too long to answer. Please try again, perhaps with a shorter text.",
}


@blueprint.get("/")
def form() -> ResponseReturnValue:
    """The empty form, or with ``?example`` the form with an example in it."""
    return _page(text=EXAMPLE if "example" in request.args else "")


@blueprint.get("/predict")
def predict_again() -> ResponseReturnValue:
    """Redirects to the form: the address of a result holds no text."""
    return redirect(url_for("pages.form"), 303)


@blueprint.post("/predict")
def predict() -> ResponseReturnValue:
    """The form with the entities of its text, or with what is wrong."""
    service = Service.current()
    text, model = "", None
    record = record_of(request.environ)
    try:
        text, model = _read_form(service)
        model = service.model_named(model)
        record.model = model
        record.add_texts(1, len(text))
        if not text.strip():
            raise EmptyTextError
        service.limits.check_text(text)
        reply = service.client.tag_text(model, text, caller=Caller(record.request_id, record=record))
    except (RequestError, UpstreamError) as error:
        record.code = error.code
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return _page(text=text, model=model, error=error), error.status, headers
    size = len(text) + len(reply.entities) * _ENTITY_BYTES
    return off_loop(lambda: _page(text=text, model=model, result=_result(text, reply)), size=size)


def explain(error: ServingError) -> str:
    """*error* in words for a visitor; the model's own message about a text is passed on."""
    if isinstance(error, RequestRejectedError):
        return str(error)
    return _EXPLANATIONS.get(error.code, str(error))


def _read_form(service: Service) -> tuple[str, str | None]:
    r"""The text and the name of the model.

    Browsers send every line break of a form as ``\r\n``, whatever was pasted. It becomes ``\n`` before tagging, so
    that offsets count a line break once, as the visitor sees it. The JSON API never changes a text.
    """
    check_encoding(request.environ)
    body = whole_body(service, service.config.max_form_bytes)
    if body.lstrip().startswith(b"{"):
        raise MalformedRequestError("Expected a form, got JSON; programs send it to /api/predict.")
    if body.count(b"&") > _MAX_FIELDS and media_type(request.environ) != "multipart/form-data":
        raise MalformedRequestError(f"Expected a form with at most {_MAX_FIELDS} fields, got more.")
    request.environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    request.max_content_length = service.config.max_form_bytes
    try:
        fields = off_loop(lambda: request.form, size=len(body))
    except RequestEntityTooLarge as error:  # of more fields than Werkzeug takes
        raise service.body_too_large(service.config.max_form_bytes) from error
    return fields.get("text", "").replace("\r\n", "\n").replace("\r", "\n"), fields.get("model")


def _result(text: str, reply: TextReply) -> dict[str, Any]:
    counts = Counter(entity.label for entity in reply.entities)
    return {
        "model": reply.model,
        "num_entities": len(reply.entities),
        "segments": segments(text, reply.entities[:MAX_MARKS]),
        "num_marks": min(len(reply.entities), MAX_MARKS),
        "entities": reply.entities[:MAX_ROWS],
        "counts": counts.most_common(),
        "hues": hues(counts),
    }


def _page(
    *, text: str, model: str | None = None, error: ServingError | None = None, result: dict[str, Any] | None = None
) -> str:
    config = Service.current().config
    return render_template(
        "form.html",
        text=text,
        models=config.models,
        chosen=model,
        max_chars=config.max_chars,
        error=None if error is None else explain(error),
        is_text_wrong=isinstance(error, _TEXT_ERRORS),
        result=result,
    )
