"""Results to the JSON documents that answer a request, in the form that it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handler import kserve
from handler.entities import Entity, TokenWeight
from handler.errors import RequestError
from handler.options import Options
from handler.requests import Refusal, Request

#: Forms whose errors are one string, as their protocols say.
_KSERVE_FORMS = {"instances", "inputs"}


def result_of(
    text: str, options: Options, entities: Sequence[Entity], weights: Sequence[Sequence[TokenWeight]] | None = None
) -> dict[str, object]:
    """The result of one text: its *entities* in the unit of offsets asked for; with *weights*, explained by them."""
    offsets = [offset for entity in entities for offset in (entity.start, entity.end)]
    offsets += [offset for tokens in weights or () for token in tokens for offset in (token.start, token.end)]
    place = options.places(text, offsets)
    documents = [{**entity._asdict(), "start": place(entity.start), "end": place(entity.end)} for entity in entities]
    for document, tokens in zip(documents, weights or (), strict=False):
        document["tokens"] = [
            {**token._asdict(), "start": place(token.start), "end": place(token.end)} for token in tokens
        ]
    return {"entities": documents}


def error_of(error: RequestError) -> dict[str, object]:
    """The result of a text that failed, and the reply to a request that failed as a whole."""
    return {"error": {"code": error.code, "message": str(error)}}


def reply_to(
    request: Request, model: Mapping[str, str], results: Sequence[Mapping[str, object]], *, is_explained: bool
) -> dict[str, object]:
    """The reply to *request* by *model* with a result for each text; *is_explained* on the paths for explanations."""
    if request.form == "inputs":
        return kserve.tensor_reply(model, request.id, results)
    if request.form == "instances":
        return kserve.instances_reply(model, results, is_explained=is_explained)
    return {"model": model, **(results[0] if request.form == "text" else {"results": results})}


def refusal_reply(refusal: Refusal) -> dict[str, object]:
    """The reply to a request that failed as a whole."""
    return kserve.error_reply(refusal.error) if refusal.form in _KSERVE_FORMS else error_of(refusal.error)
