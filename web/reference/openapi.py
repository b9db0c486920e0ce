"""The OpenAPI 3.1 documents of both tiers, made from ``web/reference/contract.py``.

``python -m web.reference.openapi docs/openapi`` writes them with the default limits; a running site serves its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contract.errors import Tier
from contract.limits import MAX_EXPLAINED_TOKENS, RequestLimits
from web.config import WebConfig
from web.reference import contract, schemas
from web.reference.contract import Json
from web.reference.schemas import ref

SITE_FILE: Final = "site.json"
INFERENCE_FILE: Final = "inference.json"

_JSON: Final = "application/json"
_NDJSON: Final = "application/x-ndjson"
_PLAIN: Final = "text/plain"

_STATUSES: Final = {
    400: "The request is malformed.",
    403: "TorchServe cannot read the address: a broken percent escape in it.",
    404: "There is no such model, version or address.",
    405: "The address does not take this method.",
    408: "The request was not complete in time.",
    413: "The request is larger than a limit.",
    415: "The type of the body is not understood.",
    422: "An option has a wrong value.",
    429: "The site has too much to do already.",
    500: "A fault of the server.",
    502: "The model answered off the contract.",
    503: "The model cannot answer at the moment.",
    504: "The time was up.",
    507: "The worker ran out of memory, or was killed, and was started again.",
}

_HEADERS: Final[dict[str, Json]] = {
    "RequestId": {
        "description": "The request's name in the logs of both tiers: the client's own if it is 1 to 128 of "
        "`A-Za-z0-9._-`, else a new one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "example": "order-4711",
    },
    "RetryAfter": {
        "description": "Seconds to wait before the same request is worth sending again.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
}

_REQUEST_ID: Final[Json] = {
    "name": "X-Request-Id",
    "in": "header",
    "schema": {"type": "string"},
    "example": "order-4711",
    "description": "1 to 128 of `A-Za-z0-9._-`, to find the request in the logs of both tiers; anything else is "
    "replaced by a new one.",
}
_REQUEST_TIMEOUT: Final[Json] = {
    "name": "X-Request-Timeout",
    "in": "header",
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "example": 2.5,
    "description": "Seconds after which the client does not want the answer any more; the site's own deadline holds "
    "too, so that only less time can be asked for.",
}


def site_document(limits: RequestLimits, models: Sequence[str]) -> Json:
    """The API of the site; *models* are those that it serves, the default first."""
    return _document(
        title="nerserve: the site's API",
        description="Finds the names in texts. `POST /api/predict` takes one text, several, or a stream of them; the "
        'other addresses say how the site is. A failure is `{"error": {"code", "message"}}` with a status, always.',
        server={"url": "/", "description": "The site that serves this document"},
        tier="site",
        limits=limits,
        paths={
            "/api/predict": {"post": _predict(limits, models)},
            "/livez": {"get": _get("livez", "Whether the site serves", {"Alive": {"status": "alive"}})},
            "/readyz": {"get": _readyz(models)},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _get("siteDocument", "This document", {})},
            "/openapi-inference.json": {"get": _get("inferenceDocument", "The document of the inference port", {})},
        },
        components=schemas.site_schemas(limits, models),
    )


def inference_document(limits: RequestLimits, models: Sequence[str]) -> Json:
    """The API of TorchServe's inference port behind the site, with *models*."""
    model = _path_parameter("model", "The name of a model.", models)
    version = _path_parameter("version", "A version of it; the address without one asks the default version.", ["1.0"])
    document = _document(
        title="nerserve: the inference port",
        description="TorchServe's inference API with nerserve's models. It answers one text or several; the site in "
        "front of it adds streams, a queue, retries and deadlines. TorchServe itself reads the address and answers "
        "some failures in a form of its own, `TorchServeError`. It takes every method for a prediction, sets "
        "`X-Request-Id` in each answer to an id of its own, and closes the connection after an error.",
        server={"url": "http://127.0.0.1:8080", "description": "Where nerserve up binds it unless told otherwise"},
        tier="inference",
        limits=limits,
        paths={
            "/predictions/{model}": {"parameters": [model], "post": _tag(limits, "predict", "Tag texts")},
            "/predictions/{model}/{version}": {
                "parameters": [model, version],
                "post": _tag(limits, "predictByVersion", "Tag texts with one version of a model"),
            },
            "/explanations/{model}": {"parameters": [model], "post": _explain(limits)},
            "/v1/models/{model}:predict": {"parameters": [model], "post": _v1()},
            "/v1/models/{model}:explain": {"parameters": [model], "post": _v1_explain()},
            "/v2/models/{model}/infer": {"parameters": [model], "post": _v2()},
            "/v2/models/{model}/explain": {"parameters": [model], "post": _v2_explain()},
            "/ping": {"get": _get("ping", "Whether TorchServe runs", {"Health": {"status": "Healthy"}})},
        },
        components=schemas.inference_schemas(limits),
    )
    document["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "The inference key, where TorchServe asks for keys (token mode); a wrong one gets 400.",
        }
    }
    document["security"] = [{}, {"key": []}]
    return document


def to_text(document: Json) -> str:
    """*document* as it lies in a file: JSON that people can read and compare."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write both documents with the default limits into the folder that *arguments* name."""
    (folder,) = map(Path, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    config = WebConfig()
    for name, make in ((SITE_FILE, site_document), (INFERENCE_FILE, inference_document)):
        (folder / name).write_text(to_text(make(config.limits, config.models)), encoding="utf-8")


def _document(
    *,
    title: str,
    description: str,
    server: Json,
    tier: Tier,
    limits: RequestLimits,
    paths: Json,
    components: dict[str, Json],
) -> Json:
    responses = {f"Failure{status}": _failure(tier, status, limits) for status in _STATUSES}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": contract.VERSION,
            "description": description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [server],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {name: response for name, response in responses.items() if response},
            "headers": _HEADERS,
        },
        "security": [{}],
    }


def _failure(tier: Tier, status: int, limits: RequestLimits) -> Json:
    """The response for *status*, with an example of each code that has it; empty if *tier* never answers so."""
    ours = contract.failures(tier, status)
    examples = {
        failure.code: {"summary": failure.meaning(), "value": contract.error_body(failure, limits)} for failure in ours
    }
    forms = [ref("Error")] if ours else []
    if tier == "inference" and ours:
        forms.append(ref("KServeError"))
    if tier == "inference" and status in contract.TORCHSERVE_FAILURES:
        forms.append(ref("TorchServeError"))
        examples |= contract.torchserve_examples(status)
    if not forms:
        return {}
    schema = forms[0] if len(forms) == 1 else {"oneOf": forms}
    description = _STATUSES[status]
    if tier == "inference" and status == 413:
        description += f" TorchServe answers 413 without a body for more than {limits.request_bytes:,} bytes."
    response: Json = {"description": description, "content": {_JSON: {"schema": schema, "examples": examples}}}
    is_worth_repeating = any(failure.retry_after_s for failure in ours)
    return response | {"headers": _response_headers(tier, "RetryAfter" if is_worth_repeating else "")}


def _response_headers(tier: Tier, *more: str) -> Json:
    names = {"RequestId": "X-Request-Id", "RetryAfter": "Retry-After"}
    wanted = (*(("RequestId",) if tier == "site" else ()), *filter(None, more))
    return {names[name]: {"$ref": f"#/components/headers/{name}"} for name in wanted}


def _failures(*statuses: int) -> Json:
    return {str(status): {"$ref": f"#/components/responses/Failure{status}"} for status in statuses}


def _examples(**values: object) -> Json:
    return {name: {"value": value} for name, value in values.items()}


def _path_parameter(name: str, description: str, values: Sequence[str]) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "examples": {value: {"value": value} for value in values},
        "description": description,
    }


def _query_parameters(models: Sequence[str]) -> list[Json]:
    """The options, and the model, where the body has no place for them."""
    options = schemas.options()
    labels = options["labels"]
    by_name: dict[str, Json] = {
        "model": {
            "type": "string",
            "enum": list(models),
            "default": models[0],
            "description": "The model to ask.",
        },
        "labels": {key: labels[key] for key in ("type", "items", "minItems", "description")},
        "threshold": options["threshold"],
        "offsets": options["offsets"],
    }
    return [
        {
            "name": name,
            "in": "query",
            "description": f"{schema.pop('description')} In a JSON body it may stand there instead, and counts more.",
            "schema": schema,
        }
        | ({"style": "form", "explode": False} if name == "labels" else {})
        for name, schema in by_name.items()
    ]


def _predict(limits: RequestLimits, models: Sequence[str]) -> Json:
    return {
        "operationId": "predict",
        "summary": "Tag one text, several, or a stream",
        "description": f"One answer for a request of at most {limits.request_bytes:,} bytes; or a stream of "
        "application/x-ndjson of any length, where each line is answered as soon as it is tagged, in order, and a "
        f"bad line gets an error in its place. A line has at most {limits.request_bytes:,} bytes. Bodies are UTF-8 "
        "without a Content-Encoding.",
        "parameters": [*_query_parameters(models), _REQUEST_ID, _REQUEST_TIMEOUT],
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {
                    "schema": {"oneOf": [ref("TextRequest"), ref("TextsRequest")]},
                    "examples": _examples(
                        text={"text": contract.TEXT},
                        texts={"texts": [contract.TEXT, ""]},
                        options={
                            "model": models[0],
                            "text": contract.TEXT,
                            "labels": ["PER"],
                            "threshold": 0.5,
                            "offsets": "utf16",
                        },
                    ),
                },
                _PLAIN: {"schema": {"type": "string", "maxLength": limits.max_chars}, "example": contract.TEXT},
                _NDJSON: {
                    "schema": {"type": "string", "description": "Lines, each a `Line` in JSON."},
                    "example": contract.LINES,
                },
            },
        },
        "responses": {
            "200": {
                "description": "The entities; of application/x-ndjson a line for each line.",
                "headers": _response_headers("site"),
                "content": {
                    _JSON: {
                        "schema": {"oneOf": [ref("TextReply"), ref("TextsReply")]},
                        "examples": _examples(text=contract.TEXT_REPLY, texts=contract.TEXTS_REPLY),
                    },
                    _NDJSON: {
                        "schema": {"type": "string", "description": "Lines, each an `AnswerLine` in JSON."},
                        "example": contract.ANSWER_LINES,
                    },
                },
            },
            **_failures(400, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504),
        },
    }


def _get(operation: str, summary: str, answers: dict[str, Json], *, tier: Tier = "site") -> Json:
    """An address that only tells something: *answers* has the schema and an example."""
    content: Json = {"schema": {"type": "object"}}
    for name, example in answers.items():
        content = {"schema": ref(name), "example": example}
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {
            "200": {
                "description": f"{summary}.",
                "headers": _response_headers(tier),
                "content": {_JSON: content},
            },
        },
    }


def _readyz(models: Sequence[str]) -> Json:
    version, digest = contract.MODEL["version"], contract.MODEL["digest"]
    ready = {name: {"ready": True, "version": version, "digest": digest} for name in models}
    reason = {"code": "model_unavailable", "message": "The model cannot answer at the moment."}
    unready = {name: {"ready": False, "error": reason} for name in models}
    operation = _get("readyz", "Whether every model answers", {"Readiness": {"status": "ready", "models": ready}})
    operation["description"] = "Each model is asked a sentence, once and with a short deadline of its own."
    operation["responses"]["503"] = {
        "description": "At least one does not; the reason is beside its name.",
        "headers": _response_headers("site", "RetryAfter"),
        "content": {_JSON: {"schema": ref("Readiness"), "example": {"status": "unready", "models": unready}}},
    }
    return operation


def _metrics() -> Json:
    operation = _get("metrics", "Numbers for Prometheus", {})
    operation["responses"]["200"]["content"] = {_PLAIN: {"schema": {"type": "string"}}}
    return operation


def _operation(name: str, summary: str, description: str, body: Json, answer: Json) -> Json:
    """A POST of the inference port; *body* and *answer* are media types for JSON."""
    return {
        "operationId": name,
        "summary": summary,
        "description": description,
        "parameters": [_REQUEST_ID],
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"description": "The answer.", "content": {_JSON: answer}},
            **_failures(400, 403, 404, 413, 415, 422, 500, 503, 504, 507),
        },
    }


def _tag(limits: RequestLimits, name: str, summary: str) -> Json:
    bodies = ("TextRequest", "TextsRequest", "V1Request", "V2Request")
    replies = ("TextReply", "TextsReply", "V1Reply", "V2Reply")
    return _operation(
        name,
        summary,
        f"One text or several, in at most {limits.request_bytes:,} bytes; KServe's bodies are understood here, too.",
        {
            _JSON: {
                "schema": {"oneOf": [ref(body) for body in bodies]},
                "examples": _examples(
                    text={"text": contract.TEXT},
                    texts={"texts": [contract.TEXT, ""]},
                    options={"text": contract.TEXT, "labels": ["PER"], "threshold": 0.5, "offsets": "utf16"},
                ),
            },
            _PLAIN: {"schema": {"type": "string", "maxLength": limits.max_chars}, "example": contract.TEXT},
        },
        {
            "schema": {"oneOf": [ref(reply) for reply in replies]},
            "examples": _examples(text=contract.TEXT_REPLY, texts=contract.TEXTS_REPLY),
        },
    )


def _v1() -> Json:
    return _operation(
        "predictV1",
        "Tag texts by KServe's V1 protocol",
        "What `/predictions` does, in the form that KServe's clients send.",
        {_JSON: {"schema": ref("V1Request"), "example": contract.V1_REQUEST}},
        {"schema": ref("V1Reply"), "example": contract.V1_REPLY},
    )


def _v2() -> Json:
    return _operation(
        "predictV2",
        "Tag texts by the Open Inference Protocol",
        "What `/predictions` does, in the form of KServe's V2 protocol: texts come as a tensor of strings, and each "
        "text's result goes as JSON in a string, for want of a better type in the protocol.",
        {_JSON: {"schema": ref("V2Request"), "example": contract.V2_REQUEST}},
        {"schema": ref("V2Reply"), "example": contract.V2_REPLY},
    )


def _explain(limits: RequestLimits) -> Json:
    chars = limits.for_explanations().max_chars
    requests = ("TextRequest", "TextsRequest", "V1Request", "V2Request")
    replies = ("ExplainedTextReply", "ExplainedTextsReply", "ExplainedV1Reply", "V2Reply")
    return _operation(
        "explain",
        "Tag texts, and say why",
        f"What `/predictions` does, and for each entity the weight of every token of its sentence. At most {chars:,} "
        f"characters in a request and {MAX_EXPLAINED_TOKENS} tokens in a sentence with an entity.",
        {
            _JSON: {
                "schema": {"oneOf": [ref(f"Explain{name}") for name in requests]},
                "example": {"text": contract.EXPLAINED_TEXT},
            },
            _PLAIN: {"schema": {"type": "string", "maxLength": chars}, "example": contract.EXPLAINED_TEXT},
        },
        {"schema": {"oneOf": [ref(name) for name in replies]}, "example": contract.EXPLAINED_REPLY},
    )


def _v1_explain() -> Json:
    results = [{"entities": contract.EXPLAINED}]
    plain = {key: value for key, value in contract.EXPLAINED[0].items() if key != "tokens"}
    return _operation(
        "explainV1",
        "Explain texts by KServe's V1 protocol",
        "What `/explanations` does, in the form that KServe's clients send.",
        {_JSON: {"schema": ref("ExplainV1Request"), "example": {"instances": [contract.EXPLAINED_TEXT]}}},
        {
            "schema": ref("ExplainedV1Reply"),
            "example": {"model": contract.MODEL, "predictions": [{"entities": [plain]}], "explanations": results},
        },
    )


def _v2_explain() -> Json:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [contract.EXPLAINED_TEXT]}
    result = json.dumps({"entities": contract.EXPLAINED}, separators=(",", ":"))
    output = {"name": "entities", "shape": [1], "datatype": "BYTES", "data": [result]}
    reply = {key: value for key, value in contract.V2_REPLY.items() if key != "id"} | {"outputs": [output]}
    return _operation(
        "explainV2",
        "Explain texts by the Open Inference Protocol",
        "What `/explanations` does, in the form of `/v2/models/{model}/infer`.",
        {_JSON: {"schema": ref("ExplainV2Request"), "example": {"inputs": [tensor]}}},
        {"schema": ref("V2Reply"), "example": reply},
    )


if __name__ == "__main__":
    main(sys.argv[1:])
