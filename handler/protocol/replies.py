"""Results to the JSON that answers a request, in the form that it had.

Replies are put together as text: an entity is five values whose JSON is known, and a dictionary for each of them, to
be walked by an encoder, costs several times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from contract.entities import Entity, Explanation, TokenWeight
from contract.errors import RequestError
from contract.options import Options, converter
from contract.strict_json import quoted, to_json
from handler.protocol import kserve
from handler.protocol.requests import Refusal, Request

_Converter: TypeAlias = Callable[[int], int]

#: Forms whose errors are one string, as their protocols say.
_KSERVE_FORMS = {"instances", "inputs"}


def result_of(
    text: str, options: Options, entities: Sequence[Entity], explanations: Sequence[Explanation] | None = None
) -> str:
    """The result of one text: its *entities* in the unit of offsets asked for; explained, with *explanations*."""
    places: list[Entity | TokenWeight] = [*entities]
    for one in explanations or ():
        places += one.tokens
        if one.elsewhere is not None:
            places += [*one.elsewhere.mentions, *([one.elsewhere.alone] if one.elsewhere.alone else [])]
    place = converter(text, [offset for one in places for offset in (one.start, one.end)], options.offsets)
    reasons = [_explanation(one, place) for one in explanations] if explanations else [""] * len(entities)
    items = [f"{_entity(entity, place)}{reason}}}" for entity, reason in zip(entities, reasons, strict=True)]
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
        explanations: Sequence[Sequence[Explanation]] | None = None,
    ) -> str:
        """The reply to *request*: the *entities* of each text, with *explanations* if it asks for some."""
        results = _results(request, entities, explanations)
        if request.form == "text":
            return f'{{"model":{self._model_json},{results[0][1:]}'
        if request.form == "texts":
            return f'{{"model":{self._model_json},"results":[{",".join(results)}]}}'
        if request.form == "inputs":
            return kserve.tensor_reply(self._model, request.id, results)
        if explanations is None:
            return kserve.instances_reply(self._model_json, results)
        return kserve.instances_reply(self._model_json, _results(request, entities), results)


def refusal_reply(refusal: Refusal) -> str:
    """The reply to a request that failed as a whole."""
    return kserve.error_reply(refusal.error) if refusal.form in _KSERVE_FORMS else error_of(refusal.error)


def _results(
    request: Request,
    entities: Sequence[Sequence[Entity]],
    explanations: Sequence[Sequence[Explanation]] | None = None,
) -> list[str]:
    return [
        error_of(request.errors[i])
        if i in request.errors
        else result_of(text, request.options, entities[i], explanations[i] if explanations is not None else None)
        for i, text in enumerate(request.texts)
    ]


def _entity(entity: Entity, place: _Converter) -> str:
    """The JSON of *entity* without its last brace."""
    return (
        f'{{"text":{quoted(entity.text)},"label":{quoted(entity.label)},"start":{place(entity.start)},'
        f'"end":{place(entity.end)},"score":{entity.score!r}'
    )


def _explanation(explanation: Explanation, place: _Converter) -> str:
    """What an explained entity has beside the others."""
    tokens = ",".join(
        f'{{"text":{quoted(token.text)},"start":{place(token.start)},"end":{place(token.end)},"weight":{token.weight!r}}}'
        for token in explanation.tokens
    )
    more = ""
    if explanation.elsewhere is not None:
        alone, mentions = explanation.elsewhere
        of_sentence = "null" if alone is None else f"{_entity(alone, place)}}}"
        found = ",".join(f"{_entity(mention, place)}}}" for mention in mentions)
        more = f',"elsewhere":{{"alone":{of_sentence},"mentions":[{found}]}}'
    return f',"tokens":[{tokens}]{more}'
