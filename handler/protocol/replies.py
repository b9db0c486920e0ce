"""Results to the JSON that answers a request, in the form that it had.

Replies are put together as text: an entity is five values whose JSON is known, and a dictionary for each of them, to
be walked by an encoder, costs several times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from contract.entities import Entity, TokenWeight
from contract.errors import RequestError
from contract.options import Options, converter
from contract.strict_json import quoted, to_json
from handler.protocol import kserve
from handler.protocol.requests import Refusal, Request

#: Forms whose errors are one string, as their protocols say.
_KSERVE_FORMS = {"instances", "inputs"}


def result_of(
    text: str, options: Options, entities: Sequence[Entity], weights: Sequence[Sequence[TokenWeight]] | None = None
) -> str:
    """The result of one text: its *entities* in the unit of offsets asked for; with *weights*, explained by them."""
    offsets = [offset for entity in entities for offset in (entity.start, entity.end)]
    offsets += [offset for tokens in weights or () for token in tokens for offset in (token.start, token.end)]
    place = converter(text, offsets, options.offsets)
    explanations = [f',"tokens":[{_tokens(tokens, place)}]' for tokens in weights] if weights else [""] * len(entities)
    items = [
        f'{{"text":{quoted(entity.text)},"label":{quoted(entity.label)},"start":{place(entity.start)},'
        f'"end":{place(entity.end)},"score":{entity.score!r}{explanation}}}'
        for entity, explanation in zip(entities, explanations, strict=True)
    ]
    return f'{{"entities":[{",".join(items)}]}}'


def error_of(error: RequestError) -> str:
    """The result of a text that failed, and the reply to a request that failed as a whole."""
    return to_json(error.to_json())


class Replies:
    """Writes the replies of the model that calls itself *model*."""

    def __init__(self, model: Mapping[str, str]) -> None:
        self._model = model
        self._model_json = to_json(model)

    def reply_to(
        self,
        request: Request,
        entities: Sequence[Sequence[Entity]],
        weights: Sequence[Sequence[Sequence[TokenWeight]]] | None = None,
    ) -> str:
        """The reply to *request*: the *entities* of each text, with *weights* explained by them."""
        results = _results(request, entities, weights)
        if request.form == "text":
            return f'{{"model":{self._model_json},{results[0][1:]}'
        if request.form == "texts":
            return f'{{"model":{self._model_json},"results":[{",".join(results)}]}}'
        if request.form == "inputs":
            return kserve.tensor_reply(self._model, request.id, results)
        if weights is None:
            return kserve.instances_reply(self._model_json, results)
        return kserve.instances_reply(self._model_json, _results(request, entities), results)


def refusal_reply(refusal: Refusal) -> str:
    """The reply to a request that failed as a whole."""
    return kserve.error_reply(refusal.error) if refusal.form in _KSERVE_FORMS else error_of(refusal.error)


def _results(
    request: Request,
    entities: Sequence[Sequence[Entity]],
    weights: Sequence[Sequence[Sequence[TokenWeight]]] | None = None,
) -> list[str]:
    return [
        error_of(request.errors[i])
        if i in request.errors
        else result_of(text, request.options, entities[i], weights[i] if weights is not None else None)
        for i, text in enumerate(request.texts)
    ]


def _tokens(tokens: Sequence[TokenWeight], place: Callable[[int], int]) -> str:
    return ",".join(
        f'{{"text":{quoted(token.text)},"start":{place(token.start)},"end":{place(token.end)},"weight":{token.weight!r}}}'
        for token in tokens
    )
