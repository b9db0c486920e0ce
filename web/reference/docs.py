"""The documentation of the API, made from the contract: a page for people, two OpenAPI documents for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from flask import Blueprint, Response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from contract.errors import documented
from contract.limits import MAX_TEXTS
from web.config import WebConfig
from web.reference import contract, openapi, schemas
from web.reference.contract import Json
from web.service import Service

blueprint = Blueprint("docs", __name__)

_METHODS: Final = ("get", "post")
_JSON: Final = "application/json"


class Snippet(NamedTuple):
    """How a language asks the API, whole enough to be copied and run; ``{url}`` is the address."""

    key: str
    title: str
    source: str


SNIPPETS: Final = (
    Snippet(
        "curl",
        "curl",
        """\
curl -sS --fail-with-body {url} \\
  -H 'Content-Type: application/json' \\
  -d '{"text": "Barack Obama was born in Hawaii."}'
""",
    ),
    Snippet(
        "python",
        "Python, with requests",
        """\
import requests

text = "Barack Obama was born in Hawaii."
response = requests.post("{url}", json={"text": text}, timeout=30)
response.raise_for_status()
for entity in response.json()["entities"]:
    print(entity["label"], text[entity["start"] : entity["end"]])
""",
    ),
    Snippet(
        "javascript",
        "JavaScript, with fetch",
        """\
const text = "Barack Obama was born in Hawaii.";
const response = await fetch("{url}", {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ text, offsets: "utf16" }), // the unit in which strings count here
  signal: AbortSignal.timeout(30_000),
});
const reply = await response.json();
if (!response.ok) throw new Error(`${reply.error.code}: ${reply.error.message}`);
for (const { label, start, end } of reply.entities) console.log(label, text.slice(start, end));
""",
    ),
    Snippet(
        "stream",
        "A stream, with curl",
        """\
printf '%s\\n' '{"id": 1, "text": "Kofi Annan led the United Nations."}' '{"id": 2, "text": ""}' |
  curl -sS --no-buffer -T - -X POST {url} -H 'Content-Type: application/x-ndjson'
""",
    ),
)


class Parameter(NamedTuple):
    """One thing that stands beside the body."""

    name: str
    place: str
    schema: Json
    description: str


class Body(NamedTuple):
    """One form of a request or an answer; examples are (name, text)."""

    media_type: str
    schema: Json
    examples: list[tuple[str, str]]


class Answer(NamedTuple):
    """What comes back with one status."""

    status: str
    description: str
    headers: list[str]
    bodies: list[Body]


class Operation(NamedTuple):
    """One address and method."""

    key: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    bodies: list[Body]
    answers: list[Answer]


@blueprint.get("/openapi.json")
def site_document() -> ResponseReturnValue:
    """The site's own API."""
    config = Service.current().config
    return _document(openapi.site_document(config.limits, config.models))


@blueprint.get("/openapi-inference.json")
def inference_document() -> ResponseReturnValue:
    """The API of the inference port behind it."""
    config = Service.current().config
    return _document(openapi.inference_document(config.limits, config.models))


@blueprint.get("/docs")
def page() -> ResponseReturnValue:
    """Both APIs for people."""
    return _page(Service.current().config, request.host_url.rstrip("/") + url_for("api.predict"))


@lru_cache(maxsize=4)  # who asks decides what the address is
def _page(config: WebConfig, address: str) -> str:
    """The page for a site with *config*, whose texts go to *address*."""
    limits = config.limits
    site = openapi.site_document(limits, config.models)
    inference = openapi.inference_document(limits, config.models)
    return render_template(
        "docs.html",
        limits=limits,
        models=config.models,
        failures=sorted({*documented("site"), *documented("inference")}, key=lambda one: (one.status, one.code)),
        max_texts=MAX_TEXTS,
        broken=contract.BROKEN_HTTP_STATUSES,
        options=schemas.options(),
        snippets=[(one.key, one.title, one.source.replace("{url}", address)) for one in SNIPPETS],
        reply=_pretty(contract.TEXT_REPLY),
        tiers=[("site", site, list(operations(site))), ("inference", inference, list(operations(inference)))],
        prose=prose,
    )


def operations(document: Json) -> Iterator[Operation]:
    """The operations of an OpenAPI *document* in its order, references to responses and headers resolved."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method not in item:
                continue
            operation = item[method]
            parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
            yield Operation(
                key=operation["operationId"],
                method=method.upper(),
                path=path,
                summary=operation["summary"],
                description=operation.get("description", ""),
                parameters=[Parameter(p["name"], p["in"], p["schema"], p["description"]) for p in parameters],
                bodies=_bodies(operation.get("requestBody", {})),
                answers=[_answer(document, *answer) for answer in operation["responses"].items()],
            )


def prose(text: str) -> Markup:
    """*text* with what stands between backticks as code.

    >>> prose("`a<b` & c")
    Markup('<code>a&lt;b</code> &amp; c')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped just here)


def _document(document: Json) -> Response:
    return Response(openapi.to_text(document), mimetype=_JSON)


def _answer(document: Json, status: str, response: Json) -> Answer:
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return Answer(status, response["description"], list(response.get("headers", {})), _bodies(response))


def _bodies(holder: Mapping[str, Any]) -> list[Body]:
    return [
        Body(media_type, content["schema"], list(_examples(content)))
        for media_type, content in holder.get("content", {}).items()
    ]


def _examples(content: Json) -> Iterator[tuple[str, str]]:
    named = content.get("examples") or ({"": {"value": content["example"]}} if "example" in content else {})
    for name, example in named.items():
        value = example["value"]
        yield name, value if isinstance(value, str) else _pretty(value)


def _pretty(value: object) -> str:
    r"""JSON over several lines, but what fits in a line stays in one.

    >>> _pretty({"a": [1, 2], "b": {}})
    '{"a": [1, 2], "b": {}}'
    """
    return _fold(value, "", 88)


def _fold(value: object, indent: str, width: int) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= width or not isinstance(value, dict | list) or not value:
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {_fold(one, inner, width)}" for key, one in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _fold(one, inner, width) for one in value) + f"\n{indent}]"
