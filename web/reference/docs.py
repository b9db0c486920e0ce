"""The reference of the API: a page for people, and two OpenAPI documents for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from contract import options
from contract.errors import Tier, documented
from contract.limits import MAX_TEXTS
from web.config import WebConfig
from web.reference import openapi
from web.reference.openapi import Json
from web.service import Service

blueprint = Blueprint("docs", __name__)

_METHODS: Final = ("get", "post")

_SNIPPETS: Final = json.loads(Path(__file__).with_name("snippets.json").read_text(encoding="utf-8"))


@blueprint.get("/openapi.json")
def site_document() -> ResponseReturnValue:
    """The site's own API."""
    return _json("site")


@blueprint.get("/openapi-inference.json")
def inference_document() -> ResponseReturnValue:
    """The API of the inference port behind it."""
    return _json("inference")


@blueprint.get("/docs")
def page() -> ResponseReturnValue:
    """Both APIs for people."""
    return _page(Service.current().config, request.host_url.rstrip("/") + url_for("api.predict"))


@lru_cache(maxsize=4)  # the address is the one that the client asked
def _page(config: WebConfig, address: str) -> str:
    """The page for a site with *config*, whose snippets send their texts to *address*."""
    site, inference = openapi.document("site", config), openapi.document("inference", config)
    text_request = site["components"]["schemas"]["TextRequest"]["properties"]
    text_reply = site["paths"]["/api/predict"]["post"]["responses"]["200"]["content"]["application/json"]["examples"]
    return render_template(
        "docs.html",
        limits=config.limits,
        models=config.models,
        failures=sorted({*documented("site"), *documented("inference")}, key=lambda one: (one.status, one.code)),
        max_texts=MAX_TEXTS,
        options={name: text_request[name] for name in options.NAMES},
        snippets=[(key, title, "\n".join([*lines, ""]).replace("{url}", address)) for key, title, lines in _SNIPPETS],
        reply=_pretty(text_reply["text"]["value"]),
        tiers=[("site", site, list(operations(site))), ("inference", inference, list(operations(inference)))],
        prose=prose,
        samples=samples,
    )


def operations(document: Json) -> Iterator[Json]:
    """The operations of *document* in its order, with method, path, all parameters, and whole responses."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                yield operation | {
                    "method": method.upper(),
                    "path": path,
                    "parameters": [*item.get("parameters", []), *operation.get("parameters", [])],
                    "responses": {
                        status: _resolved(document, response) for status, response in operation["responses"].items()
                    },
                }


def samples(content: Json) -> Iterator[tuple[str, str]]:
    """Name, perhaps empty, and text of each example in *content*, which is one media type of a body."""
    named = content.get("examples") or ({"": {"value": content["example"]}} if "example" in content else {})
    for name, example in named.items():
        value = example["value"]
        yield name, value if isinstance(value, str) else _pretty(value)


def prose(text: str) -> Markup:
    """*text* with what stands between backticks as code.

    >>> prose("`a<b` & c")
    Markup('<code>a&lt;b</code> &amp; c')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped just here)


def _json(tier: Tier) -> Response:
    return Response(_text(tier, Service.current().config), mimetype="application/json")


@lru_cache(maxsize=2)
def _text(tier: Tier, config: WebConfig) -> str:
    return openapi.to_text(openapi.document(tier, config))


def _resolved(document: Json, response: Json) -> Json:
    """*response*, or the one that it refers to."""
    name = response.get("$ref", "").rpartition("/")[2]
    return document["components"]["responses"][name] if name else response


def _pretty(value: object, indent: str = "", width: int = 88) -> str:
    r"""JSON over several lines, but what fits in a line stays in one.

    >>> _pretty({"a": [1, 2], "b": {}})
    '{"a": [1, 2], "b": {}}'
    """
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= width or not isinstance(value, dict | list) or not value:
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {_pretty(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _pretty(one, inner) for one in value) + f"\n{indent}]"
