"""The API of both tiers as data: its limits, failures, forms and examples.

The OpenAPI documents (``openapi.py``) and the page of documentation (``docs.py``) are made from this and from nothing
else. Schemas are JSON Schema 2020-12, as OpenAPI 3.1 has them.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from contract.entities import CANARY_TEXT
from contract.errors import ServingError, Tier, documented
from contract.limits import MAX_TEXTS, RequestLimits

Json: TypeAlias = dict[str, Any]

VERSION: Final = "1.0.0"
"""Of the contract: the first number changes when a program that keeps to it may break."""

BROKEN_HTTP_STATUSES: Final = (414, 431, 501)
"""Beside 400, what the site answers with the code malformed_request to what is no HTTP that it understands.

An address that is too long, too many or too long headers, an unknown Transfer-Encoding.
"""


def failures(tier: Tier, status: int) -> list[type[ServingError]]:
    """Those of *tier* with *status*."""
    return [failure for failure in documented(tier) if failure.status == status]


TORCHSERVE_FAILURES: Final[dict[int, list[tuple[str, str]]]] = {
    400: [("BadRequestException", "Invalid HTTP message.")],
    403: [("IllegalArgumentException", "unterminated escape sequence at index 15 of: /predictions/en%")],
    404: [
        ("ModelNotFoundException", "Model not found: fr"),
        ("ModelVersionNotFoundException", "Model version: 9 does not exist for model: en"),
    ],
    500: [
        ("InternalServerException", "Worker died."),
        ("ErrorDataDecoderException", "java.lang.IllegalArgumentException: empty name"),
    ],
    503: [("ServiceUnavailableException", 'Model "en" has no worker to serve inference request. …')],
    507: [("InternalServerException", "Worker died.")],
}
"""Exception and message of what TorchServe answers by itself, by status."""


def torchserve_examples(status: int) -> dict[str, Json]:
    """Examples of TorchServe's own answers with *status*, by the name of its exception."""
    return {
        kind: {"value": {"code": status, "type": kind, "message": message}}
        for kind, message in TORCHSERVE_FAILURES[status]
    }


def error_body(failure: type[ServingError], limits: RequestLimits) -> Json:
    """An example of what goes on the wire."""
    message = failure.example.format(
        max_chars=limits.max_chars,
        too_many_chars=limits.max_chars + 1,
        max_texts=MAX_TEXTS,
        too_many_texts=MAX_TEXTS + 1,
        models="en",
        timeout_s=10,
    )
    return failure(message).to_json()


TEXT: Final = CANARY_TEXT
MODEL: Final = {"name": "en", "version": "1.0", "digest": "sha256:" + "5f3c" * 16}
ENTITIES: Final = [
    {"text": "Barack Obama", "label": "PER", "start": 0, "end": 12, "score": 0.850449},
    {"text": "Hawaii", "label": "LOC", "start": 25, "end": 31, "score": 0.98467},
]
TEXT_REPLY: Final = {"model": MODEL, "entities": ENTITIES}
ROW_ERROR: Final = {"error": {"code": "malformed_request", "message": "expected a text to be a string"}}
TEXTS_REPLY: Final = {"model": MODEL, "results": [{"entities": ENTITIES}, {"entities": []}, ROW_ERROR]}
LINES: Final = (
    '{"id": "a1", "text": "Barack Obama was born in Hawaii."}\n'
    '{"id": "a2", "text": 42}\n'
)  # fmt: skip
ANSWER_LINES: Final = "".join(
    json.dumps(line) + "\n"
    for line in (
        {"line": 1, "id": "a1", **TEXT_REPLY},
        {"line": 2, "id": "a2", "error": {"code": "malformed_request", "message": "Expected a string."}},
    )
)
RESULTS: Final = [{"entities": ENTITIES}, {"entities": []}]
TOKENS: Final = [
    {"text": "Kofi", "start": 0, "end": 4, "weight": 3.2},
    {"text": "Annan", "start": 5, "end": 10, "weight": 4.1},
    {"text": "spoke", "start": 11, "end": 16, "weight": 0.4},
]
EXPLAINED: Final = [{"text": "Kofi Annan", "label": "PER", "start": 0, "end": 10, "score": 0.976, "tokens": TOKENS}]
EXPLAINED_TEXT: Final = "Kofi Annan spoke"
EXPLAINED_REPLY: Final = {"model": MODEL, "entities": EXPLAINED}
V1_REQUEST: Final = {"instances": [TEXT, "Nothing here."]}
V1_REPLY: Final = {"model": MODEL, "predictions": RESULTS}
V2_REQUEST: Final = {
    "id": "42",
    "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": [TEXT, "Nothing here."]}],
    "parameters": {"labels": "PER,LOC", "threshold": 0.5},
}
V2_REPLY: Final = {
    "id": "42",
    "model_name": "en",
    "model_version": "1.0",
    "parameters": {"digest": MODEL["digest"]},
    "outputs": [
        {
            "name": "entities",
            "shape": [2],
            "datatype": "BYTES",
            "data": [json.dumps(result, separators=(",", ":")) for result in RESULTS],
        }
    ],
}
