"""The OpenAPI 3.1 documents of both tiers, rendered from ``shared.json``, ``site.json`` and ``inference.json``.

Each file holds named parts: ``document`` is the one that is rendered, ``failures`` is what the responses of failures
are made of.  The failures themselves come from ``contract.errors``, the numbers from ``contract.limits``.

```text
"up to {max_chars:,}"              a value in a string, with a format; braces without a colon are text
{"$value": "max_chars"}            the value itself
{"$use": "schemas/Entity", ...}    the part at that path; of an object its keys, beside those that follow
{"$explained": "schemas/V1", ...}  the same with the limits of a request for explanations
{"$each_model": X}                 an object with X for each model, whose name is the value "model" in X
{"$query": {...}, "note": "..."}   a parameter in the query for each of the schemas; the note ends its description
{"$json": X}, {"$lines": [X, Y]}   JSON in a string, lines of NDJSON
[[X, Y], Z]                        [X, Y, Z]
```

``python -m web.reference.openapi docs/openapi`` writes both with the default settings; a running site serves its own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from functools import reduce
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeAlias

from contract.errors import BOTH_TIERS, Tier, documented
from contract.limits import MAX_EXPLAINED_TOKENS, MAX_TEXTS
from contract.options import CONTEXTS, UNITS
from web.config import WebConfig

Json: TypeAlias = dict[str, Any]

_PLACEHOLDER: Final = re.compile(r"\{\w+:[^{}]*\}")

_OTHER_METHOD: Final = 405
"""The one status that no operation answers: it is for methods that have no operation."""


def document(tier: Tier, config: WebConfig) -> Json:
    """The API of *tier*, for a site with *config* or the inference port behind it."""
    parts, values = _PARTS[tier], _values(config)
    failures = _Renderer(parts, values).render(parts["failures"])
    statuses = sorted({error.status for error in documented(tier)} | {int(status) for status in failures["torchserve"]})
    made = {
        "responses": {f"Failure{status}": _failure_response(tier, status, failures, values) for status in statuses},
        "failed": {
            str(status): {"$ref": f"#/components/responses/Failure{status}"}
            for status in statuses
            if status != _OTHER_METHOD
        },
    }
    rendered: Json = _Renderer(parts | made, values).render(parts["document"])
    return rendered


def to_text(document: Json) -> str:
    """*document* as it lies in a file: JSON that people can read and compare."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write both documents with the default settings into the folder that *arguments* name."""
    (folder,) = map(Path, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    for tier in BOTH_TIERS:
        (folder / f"{tier}.json").write_text(to_text(document(tier, WebConfig())), encoding="utf-8")


def _read(name: str) -> Json:
    parts: Json = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    return parts


_PARTS: Final = {tier: _read("shared") | _read(tier) for tier in BOTH_TIERS}


def _values(config: WebConfig) -> Json:
    """What placeholders stand for, by name."""
    limits = config.limits
    return {
        "max_chars": limits.max_chars,
        "too_many_chars": limits.max_chars + 1,
        "max_texts": MAX_TEXTS,
        "too_many_texts": MAX_TEXTS + 1,
        "request_bytes": limits.request_bytes,
        "max_explained_chars": limits.for_explanations().max_chars,
        "max_explained_tokens": MAX_EXPLAINED_TOKENS,
        "timeout_s": config.deadline_s,
        "units": list(UNITS),
        "contexts": list(CONTEXTS),
        "models": list(config.models),
        "model": config.models[0],
    }


def _failure_response(tier: Tier, status: int, failures: Json, values: Json) -> Json:
    """The response with *status*: an example of each failure of ours and of TorchServe's own that has it."""
    ours = [error for error in documented(tier) if error.status == status]
    theirs = failures["torchserve"].get(str(status), {})
    values = values | {"models": ", ".join(values["models"])}
    examples = {
        error.code: {"summary": error.meaning(), "value": error(error.example.format(**values)).to_json()}
        for error in ours
    } | {kind: {"value": {"code": status, "type": kind, "message": message}} for kind, message in theirs.items()}
    own_form = {"$ref": "#/components/schemas/TorchServeError"}
    forms = [*(failures["forms"] if ours else []), *([own_form] if theirs else [])]
    headers = failures["headers"]
    if any(error.retry_after_s for error in ours):
        headers = headers | {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    schema = forms[0] if len(forms) == 1 else {"oneOf": forms}
    return {
        "description": failures["statuses"].get(str(status), f"{HTTPStatus(status).phrase}."),
        "content": {"application/json": {"schema": schema, "examples": examples}},
        "headers": headers,
    }


class _Renderer:
    """Replaces what stands for something else in data; *parts* and *values* by name."""

    def __init__(self, parts: Json, values: Json) -> None:
        self._parts = parts
        self._values = values

    def render(self, node: Any) -> Any:
        """What *node* stands for."""
        result: Any = node
        match node:
            case str():
                result = _PLACEHOLDER.sub(lambda found: found[0].format(**self._values), node)
            case list():
                rendered = map(self.render, node)
                result = [item for one in rendered for item in (one if isinstance(one, list) else [one])]
            case {"$value": name}:
                result = self._values[name]
            case {"$json": value}:
                result = json.dumps(self.render(value), separators=(",", ":"))
            case {"$lines": lines}:
                result = "".join(f"{json.dumps(line)}\n" for line in self.render(lines))
            case {"$each_model": one}:
                result = {name: self._with(model=name).render(one) for name in self._values["models"]}
            case {"$query": schemas, "note": note}:
                result = [_query_parameter(name, schema, note) for name, schema in self.render(schemas).items()]
            case {"$use": path} if len(node) == 1:
                result = self._use(path)
            case dict():
                result = self._object(node)
        return result

    def _object(self, node: Json) -> Json:
        rendered: Json = {}
        for key, value in node.items():
            if key == "$use":
                rendered |= self._use(value)
            elif key == "$explained":
                rendered |= self._with(max_chars=self._values["max_explained_chars"])._use(value)
            else:
                rendered[key] = self.render(value)
        return rendered

    def _use(self, path: str) -> Any:
        return self.render(reduce(lambda part, key: part[key], path.split("/"), self._parts))

    def _with(self, **values: object) -> _Renderer:
        return _Renderer(self._parts, self._values | values)


def _query_parameter(name: str, schema: Json, note: str) -> Json:
    """The parameter *name* in the query; a list has its items joined by commas there."""
    bare = {key: value for key, value in schema.items() if key != "description"}
    parameter = {"name": name, "in": "query", "description": f"{schema['description']} {note}", "schema": bare}
    return parameter | ({"style": "form", "explode": False} if schema["type"] == "array" else {})


if __name__ == "__main__":
    main(sys.argv[1:])
