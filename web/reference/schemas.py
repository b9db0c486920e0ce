"""The schemas of the API: JSON Schema 2020-12, as OpenAPI 3.1 has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contract.limits import MAX_TEXTS, RequestLimits
from web.reference.contract import Json

_RESULT: Final = "One for each text, in the same order; a bad text spoils no other."


def ref(name: str) -> Json:
    """A reference to the schema *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def site_schemas(limits: RequestLimits, models: Sequence[str]) -> dict[str, Json]:
    """The schemas of the site's document, by name."""
    model = {
        "type": "string",
        "enum": list(models),
        "default": models[0],
        "description": "The model to ask; the first unless it is named.",
    }
    requests = {
        name: schema | {"properties": schema["properties"] | {"model": model}}
        for name, schema in _requests(limits).items()
    }
    return _answers() | requests | _lines(limits) | _health()


def inference_schemas(limits: RequestLimits) -> dict[str, Json]:
    """The schemas of the inference port's document, by name."""
    requests = _requests(limits) | _kserve_requests(limits)
    explained = limits.for_explanations()
    explain = {
        f"Explain{name}": schema | {"description": f"{schema['description']} To be explained, hence shorter."}
        for name, schema in (_requests(explained) | _kserve_requests(explained)).items()
    }
    torchserve = _object(
        {"code": {"type": "integer"}, "type": {"type": "string"}, "message": {"type": "string"}},
        required=["code", "type", "message"],
        description="What TorchServe answers by itself when a request does not get to a model, or is lost there.",
    )
    health = _object(
        {"status": {"type": "string"}},
        required=["status"],
        description="`Healthy` even before a model is loaded and after its workers have died: whether models answer, "
        "the site's `/readyz` knows.",
    )
    own = {"TorchServeError": torchserve, "Health": health}
    return _answers() | requests | _kserve_replies() | explain | _explained() | own


def options() -> dict[str, Json]:
    """The schemas of the options, by name, as they stand in a JSON object."""
    return {
        "labels": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "description": "Only entities of these labels. A label that the model does not have is an error.",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Only entities whose score is at least this.",
        },
        "offsets": {
            "type": "string",
            "enum": ["codepoint", "utf16", "utf8"],
            "default": "codepoint",
            "description": "The unit of `start` and `end`: `codepoint` as Python, Rust's `chars` and databases count, "
            "`utf16` as JavaScript, Java and C# do, `utf8` for bytes, as in Go. A lone surrogate counts as one code "
            "point, one UTF-16 unit and three bytes.",
        },
    }


def _object(properties: Json, *, required: list[str], description: str, closed: bool = False) -> Json:
    """An object; a *closed* one may have no other keys, others may get some in time."""
    schema = {"type": "object", "description": description, "properties": properties, "required": required}
    return schema | {"additionalProperties": False} if closed else schema


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _entity(more: Json, description: str) -> Json:
    counted = "counted from 0 in the unit that `offsets` asked for, code points unless it did"
    return _object(
        {
            "text": {"type": "string", "minLength": 1, "description": "The text from `start` to `end`."},
            "label": {"type": "string", "minLength": 1, "description": "Such as `PER`; each model has its own."},
            "start": {"type": "integer", "minimum": 0, "description": f"Where it begins, {counted}."},
            "end": {"type": "integer", "minimum": 1, "description": f"Where it has ended, {counted}."},
            "score": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "The probability that exactly this span is an entity of this label.",
            },
            **more,
        },
        required=["text", "label", "start", "end", "score", *more],
        description=description,
    )


def _answers() -> dict[str, Json]:
    return {
        "Entity": _entity({}, "One entity; those of a text come in its order and do not overlap."),
        "Model": _object(
            {
                "name": {"type": "string", "minLength": 1},
                "version": {"type": "string", "minLength": 1},
                "digest": {
                    "type": "string",
                    "pattern": "^sha256:[0-9a-f]{64}$",
                    "description": "SHA-256 over every byte of the model: the same digest, the same answers.",
                },
            },
            required=["name", "version", "digest"],
            description="What answered.",
        ),
        "Reason": _object(
            {
                "code": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$", "description": "For programs."},
                "message": {"type": "string", "description": "For people; holds nothing of a text."},
            },
            required=["code", "message"],
            description="Why there is no answer.",
        ),
        "Error": _object({"error": ref("Reason")}, required=["error"], description="A failure."),
        "Entities": _object(
            {"entities": _list(ref("Entity"))}, required=["entities"], description="The result of one text of several."
        ),
        "TextReply": _object(
            {"model": ref("Model"), "entities": _list(ref("Entity"))},
            required=["model", "entities"],
            description="The answer for one text.",
        ),
        "TextsReply": _object(
            {
                "model": ref("Model"),
                "results": _list({"oneOf": [ref("Entities"), ref("Error")]})
                | {"maxItems": MAX_TEXTS, "description": _RESULT},
            },
            required=["model", "results"],
            description="The answer for several texts.",
        ),
    }


def _texts(limits: RequestLimits, items: Json) -> Json:
    return {
        "type": "array",
        "maxItems": MAX_TEXTS,
        "items": items,
        "description": f"Up to {MAX_TEXTS} texts with up to {limits.max_chars:,} characters together. What is "
        "no string, or is too long, gets an error in its place.",
    }


def _requests(limits: RequestLimits) -> dict[str, Json]:
    text: Json = {"type": "string", "maxLength": limits.max_chars}
    about = f"Up to {limits.max_chars:,} characters (code points), tagged exactly as sent; may be empty."
    return {
        "TextRequest": _object(
            {"text": text | {"description": about}, **options()},
            required=["text"],
            description="One text.",
            closed=True,
        ),
        "TextsRequest": _object(
            {"texts": _texts(limits, text), **options()},
            required=["texts"],
            description="Several texts.",
            closed=True,
        ),
    }


def _lines(limits: RequestLimits) -> dict[str, Json]:
    identity = {"type": ["string", "number"], "description": "A string or a number; it comes back with the answer."}
    text = {"type": "string", "maxLength": limits.max_chars, "description": "As in a request for one text."}
    answer = _object(
        {
            "line": {"type": "integer", "minimum": 1, "description": "Which line of the request this answers."},
            "id": identity,
            "model": ref("Model"),
            "entities": _list(ref("Entity")),
            "error": ref("Reason"),
        },
        required=[],
        description="The answer to a line: `model` and `entities`, or `error`. An error without `line` is the last: it "
        "ends the stream, and what has no answer is to be sent again.",
    )
    return {
        "Line": _object(
            {"text": text, "id": identity},
            required=["text"],
            description="A line of a stream in application/x-ndjson. A blank line is counted, and not answered.",
            closed=True,
        ),
        "AnswerLine": answer | {"oneOf": [{"required": ["line", "model", "entities"]}, {"required": ["error"]}]},
    }


def _health() -> dict[str, Json]:
    ready = _object(
        {"ready": {"const": True}, "version": {"type": "string"}, "digest": {"type": "string"}},
        required=["ready", "version", "digest"],
        description="A model that answers.",
    )
    unready = _object(
        {"ready": {"const": False}, "error": ref("Reason")},
        required=["ready", "error"],
        description="A model that does not, and why.",
    )
    return {
        "Alive": _object({"status": {"const": "alive"}}, required=["status"], description="The site serves."),
        "Readiness": _object(
            {
                "status": {"enum": ["ready", "unready"]},
                "models": {
                    "type": "object",
                    "description": "The state of each model by its name.",
                    "additionalProperties": {"oneOf": [ready, unready]},
                },
            },
            required=["status", "models"],
            description="Whether every model answers.",
        ),
    }


_TENSOR: Final[Json] = {
    "name": {"type": "string"},
    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 8},
    "datatype": {"const": "BYTES"},
}


def _kserve_requests(limits: RequestLimits) -> dict[str, Json]:
    text: Json = {"type": "string", "maxLength": limits.max_chars}
    wrapped = _object({"text": text}, required=["text"], description="The same.", closed=True)
    content_type = {
        "type": "object",
        "properties": {"content_type": {"const": "str"}},
        "additionalProperties": False,
        "description": "What some clients add; changes nothing.",
    }
    tensor = _object(
        _TENSOR | {"data": _texts(limits, text), "parameters": content_type},
        required=["name", "shape", "datatype", "data"],
        description="The texts; `data` has as many as `shape` says.",
        closed=True,
    )
    no_parameters = {"type": "object", "maxProperties": 0}
    output = _object(
        {"name": {"const": "entities"}, "parameters": no_parameters},
        required=["name"],
        description="The output.",
        closed=True,
    )
    labels = {"type": "string", "minLength": 1, "description": "Only entities of these, joined by commas."}
    parameters = {"type": "object", "properties": options() | {"labels": labels}, "additionalProperties": False}
    return {
        "V1Request": _object(
            {"instances": _texts(limits, {"anyOf": [text, wrapped]}), **options()},
            required=["instances"],
            description="KServe's V1 protocol.",
            closed=True,
        ),
        "V2Request": _object(
            {
                "id": {"type": ["string", "null"], "description": "Comes back with the answer."},
                "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": tensor},
                "parameters": parameters | {"description": "The options."},
                "outputs": {
                    "type": "array",
                    "items": output,
                    "description": "May name the one output.",
                },
            },
            required=["inputs"],
            description="KServe's V2 protocol, the Open Inference Protocol.",
            closed=True,
        ),
    }


def _kserve_replies() -> dict[str, Json]:
    output = _object(
        _TENSOR
        | {"name": {"const": "entities"}, "data": _list({"type": "string", "contentMediaType": "application/json"})},
        required=["name", "shape", "datatype", "data"],
        description="The result of each text, `Entities` or `Error`, as JSON in a string.",
    )
    results = _list({"oneOf": [ref("Entities"), ref("Error")]}) | {"description": _RESULT}
    return {
        "V1Reply": _object(
            {"model": ref("Model"), "predictions": results},
            required=["model", "predictions"],
            description="The answer to a V1Request.",
        ),
        "V2Reply": _object(
            {
                "id": {"type": "string", "description": "The request's, if it had one."},
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "parameters": {"type": "object", "description": "`digest`, as in `Model`."},
                "outputs": _list(output) | {"minItems": 1, "maxItems": 1},
            },
            required=["model_name", "model_version", "outputs"],
            description="The answer to a V2Request.",
        ),
        "KServeError": _object(
            {"error": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}: "}},
            required=["error"],
            description="A failure of a V1Request or V2Request as a whole: code and message in one string, as KServe's "
            "protocols have it.",
        ),
    }


def _explained() -> dict[str, Json]:
    token = _object(
        {
            "text": {"type": "string", "minLength": 1},
            "start": {"type": "integer", "minimum": 0},
            "end": {"type": "integer", "minimum": 1},
            "weight": {
                "type": "number",
                "description": "By how much the log-odds of the entity's score fall when the model cannot read this "
                "token: above 0 it speaks for the entity, below 0 against it.",
            },
        },
        required=["text", "start", "end", "weight"],
        description="A token of the entity's sentence.",
    )
    tokens = _list(ref("Token")) | {"description": "Every token of the entity's sentence, in order."}
    results = _list({"oneOf": [ref("ExplainedEntities"), ref("Error")]}) | {"description": _RESULT}
    return {
        "Token": token,
        "ExplainedEntity": _entity({"tokens": tokens}, "An entity and what each token weighs for it."),
        "ExplainedEntities": _object(
            {"entities": _list(ref("ExplainedEntity"))},
            required=["entities"],
            description="The result of one text of several.",
        ),
        "ExplainedTextReply": _object(
            {"model": ref("Model"), "entities": _list(ref("ExplainedEntity"))},
            required=["model", "entities"],
            description="The answer for one text.",
        ),
        "ExplainedTextsReply": _object(
            {"model": ref("Model"), "results": results},
            required=["model", "results"],
            description="The answer for several texts.",
        ),
        "ExplainedV1Reply": _object(
            {
                "model": ref("Model"),
                "predictions": _list({"oneOf": [ref("Entities"), ref("Error")]}),
                "explanations": results,
            },
            required=["model", "predictions", "explanations"],
            description="The answer to an ExplainV1Request.",
        ),
    }
