"""The API of both tiers as data: its limits, failures, forms and examples.

The OpenAPI documents (``openapi.py``) and the page of documentation (``docs.py``) are made from this and from nothing
else. Schemas are JSON Schema 2020-12, as OpenAPI 3.1 has them.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from web.config import WebConfig

Json: TypeAlias = dict[str, Any]
Tier: TypeAlias = Literal["site", "inference"]

VERSION: Final = "1.0.0"
"""Of the contract: the first number changes when a program that keeps to it may break."""

MAX_TEXTS: Final = 256
"""Texts in one request."""

MAX_EXPLAINED_CHARS: Final = 2_000
"""Characters in one request for explanations, and in each of its texts."""

MAX_EXPLAINED_TOKENS: Final = 128
"""Tokens in a sentence whose entities are explained."""

_BOTH: Final = ("site", "inference")


class Limits(NamedTuple):
    """How much one request may bring: code points in it, bytes in its body, texts in it."""

    max_chars: int
    max_body_bytes: int
    max_texts: int = MAX_TEXTS

    @classmethod
    def of(cls, config: WebConfig) -> Limits:
        """The limits of a site with *config*, and of the inference port behind it."""
        return cls(config.max_chars, config.max_body_bytes)

    def for_explanations(self) -> Limits:
        """The limits of a request for explanations."""
        return self._replace(max_chars=min(self.max_chars, MAX_EXPLAINED_CHARS))


class Failure(NamedTuple):
    """One way in which a request, or one text of it, has no answer.

    Attributes:
        status: The HTTP status when it is the request as a whole that fails.
        code: What a program decides by; it never changes.
        tiers: Where it comes from our own code.
        message: An example of what a person is told; ``{max_chars}`` and other limits stand for the numbers.
        meaning: When it happens and what to do.
        retry_after_s: The header Retry-After in seconds; None when the same request is not worth repeating.
    """

    status: int
    code: str
    tiers: tuple[str, ...]
    message: str
    meaning: str
    retry_after_s: int | None = None


FAILURES: Final = (
    Failure(
        400, "malformed_request", _BOTH,
        'expected a text/plain body, {{"text": "..."}} or {{"texts": ["...", ...]}}, got a JSON object with other keys',
        "The body is not what its `Content-Type` says, has an unknown key, a key twice, NaN or Infinity, or a value "
        "of another type. Mend the request.",
    ),
    Failure(
        400, "empty_text", ("site",),
        "There is no text yet. Please enter one.",
        "The form was sent without a text. Programs never get it: for them an empty text has no entities.",
    ),
    Failure(
        404, "unknown_model", ("site",),
        "There is no such model here. The models are: en.",
        "`model` names none of the site's models; the message lists them.",
    ),
    Failure(
        404, "not_found", ("site",), "Not Found.", "There is nothing at this address.",
    ),
    Failure(
        405, "method_not_allowed", ("site",), "Method Not Allowed.", "The header `Allow` names the methods it takes.",
    ),
    Failure(
        408, "request_timeout", ("site",),
        "The request was not complete in time.",
        "The client stopped sending in the middle of its request.",
    ),
    Failure(
        413, "text_too_long", _BOTH,
        "expected at most {max_chars} characters in a text, got {too_many_chars}",
        "Cut the text, or stream its parts as lines of NDJSON; the message names the limit.",
    ),
    Failure(
        413, "request_too_large", _BOTH,
        "expected at most {max_texts} texts in a request, got {too_many_texts}",
        "Too many bytes, texts, or characters in all texts together, or a reply of too many bytes. Send less in a "
        "request; the message names the limit.",
    ),
    Failure(
        415, "unsupported_media_type", _BOTH,
        "expected Content-Type text/plain or application/json, got another one",
        "The `Content-Type` is none of those listed, its charset is not UTF-8, or the body is compressed.",
    ),
    Failure(
        422, "invalid_option", _BOTH,
        "threshold: expected a number from 0 to 1",
        "`labels`, `threshold` or `offsets` has a value that it cannot have; the message names the option.",
    ),
    Failure(
        429, "too_many_requests", ("site",),
        "Too many requests wait already. Please try again in a moment.",
        "The site's own queue is full. Wait for the seconds of `Retry-After`, then send the same request again.",
        retry_after_s=1,
    ),
    Failure(
        500, "internal_error", ("site",), "Internal Server Error.",
        "A fault of ours; the log has the request's id.",
    ),
    Failure(
        502, "bad_model_reply", ("site",),
        "The model's reply is not JSON.",
        "TorchServe answered off the contract, twice. A fault of ours.",
    ),
    Failure(
        503, "model_unavailable", ("site",),
        "The model cannot answer at the moment.",
        "No worker answers, even after the site has asked again. Wait for the seconds of `Retry-After`, then send the "
        "same request again.",
        retry_after_s=1,
    ),
    Failure(
        503, "overloaded", _BOTH,
        "expected fewer characters in the batch, try again",
        "More characters came together in one batch than a worker takes on at a time. Wait for the seconds of "
        "`Retry-After`, then send the same request again.",
        retry_after_s=1,
    ),
    Failure(
        504, "model_timeout", ("site",),
        "The model did not answer within 10 s.",
        "The deadline passed before the answer was there. Send less at a time, or allow more time.",
    ),
    Failure(
        504, "deadline_exceeded", _BOTH,
        "expected to be done before the deadline, which has passed",
        "The deadline passed while the request waited for a worker; no work was done. Try again later.",
    ),
)  # fmt: skip


BROKEN_HTTP_STATUSES: Final = (414, 431, 501)
"""Beside 400, what the site answers with the code malformed_request to what is no HTTP that it understands.

An address that is too long, too many or too long headers, an unknown Transfer-Encoding.
"""


def failures(tier: Tier, status: int) -> list[Failure]:
    """Those of *tier* with *status*, the most usual first."""
    return [failure for failure in FAILURES if tier in failure.tiers and failure.status == status]


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


def error_body(failure: Failure, limits: Limits) -> Json:
    """An example of what goes on the wire."""
    message = failure.message.format(
        max_chars=limits.max_chars,
        too_many_chars=limits.max_chars + 1,
        max_texts=limits.max_texts,
        too_many_texts=limits.max_texts + 1,
    )
    return {"error": {"code": failure.code, "message": message}}


TEXT: Final = "Barack Obama was born in Hawaii."
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
