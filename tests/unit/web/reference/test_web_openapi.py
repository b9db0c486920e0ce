"""The two OpenAPI documents: valid, complete, the same as in docs/openapi, and true to both tiers' code."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from contract import options
from contract.errors import documented
from web.config import WebConfig
from web.reference import openapi

DEFAULT = WebConfig()
TIERS = ["site", "inference"]
ADDRESSES = {"site": "/openapi.json", "inference": "/openapi-inference.json"}
JSON_ONLY = "application/json"

tiers = pytest.mark.parametrize("tier", TIERS)


def operations(document):
    return {
        f"{method} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def media_types(document):
    """(place, media type, its object) of every body and answer."""
    answers = document["components"]["responses"]
    holders = [(name, answer) for name, answer in answers.items()]
    for name, operation in operations(document).items():
        holders.append((name, operation.get("requestBody", {})))
        holders += [(f"{name} {status}", answer) for status, answer in operation["responses"].items()]
    return [
        (place, media_type, content)
        for place, holder in holders
        for media_type, content in holder.get("content", {}).items()
    ]


def examples_of(content):
    named = {name: example["value"] for name, example in content.get("examples", {}).items()}
    return named | ({"example": content["example"]} if "example" in content else {})


def check(document, schema, value):
    """Raise unless *value* is as *schema*, which refers to the schemas of *document*."""
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


@tiers
@pytest.mark.parametrize("max_chars", [1, 100_000, 1_000_000])
@pytest.mark.parametrize("models", [("en",), ("en-social", "en")])
def test_the_document_is_valid_openapi_3_1(tier, max_chars, models):
    document = openapi.document(tier, WebConfig(max_chars=max_chars, models=models))

    validate(document, cls=OpenAPIV31SpecValidator)

    assert document["openapi"].startswith("3.1.")


@tiers
def test_the_file_is_what_the_source_makes(tier):
    """``python -m web.reference.openapi docs/openapi`` writes the files anew."""
    document = openapi.document(tier, DEFAULT)

    assert Path(f"docs/openapi/{tier}.json").read_text(encoding="utf-8") == openapi.to_text(document)


@tiers
def test_the_command_writes_both_files(tier, tmp_path):
    openapi.main([str(tmp_path / "new" / "folder")])

    written = (tmp_path / "new" / "folder" / f"{tier}.json").read_bytes()
    assert written == Path(f"docs/openapi/{tier}.json").read_bytes()


@tiers
def test_a_running_site_serves_it_with_its_own_limits_and_models(make_site, dead_url, tier):
    site = make_site(dead_url, max_chars=200_000, models=("de", "en"))

    reply = site.get(ADDRESSES[tier])

    assert reply.status_code == 200
    assert reply.mimetype == JSON_ONLY
    text = reply.json["components"]["schemas"]["TextRequest"]["properties"]["text"]
    texts = reply.json["components"]["schemas"]["TextsRequest"]["properties"]["texts"]
    assert (text["maxLength"], texts["maxItems"], texts["items"]["maxLength"]) == (200_000, 256, 200_000)
    assert "2,097,152 bytes" in reply.text
    assert '"de"' in reply.text


@tiers
def test_every_example_is_as_its_schema_says(tier):
    document = openapi.document(tier, WebConfig(models=("en", "de")))
    checked = 0

    for _, media_type, content in media_types(document):
        for value in examples_of(content).values():
            if media_type == JSON_ONLY:
                check(document, content["schema"], value)
                checked += 1

    assert checked > 20


def test_every_line_of_the_streams_is_as_its_schema_says():
    document = openapi.document("site", DEFAULT)
    predict = document["paths"]["/api/predict"]["post"]
    bodies = (predict["requestBody"], predict["responses"]["200"])
    asked, answered = (
        [json.loads(line) for line in body["content"]["application/x-ndjson"]["example"].splitlines()]
        for body in bodies
    )

    check(document, ref("Line"), asked[0])
    with pytest.raises(jsonschema.ValidationError):
        check(document, ref("Line"), asked[1])
    for line in answered:
        check(document, ref("AnswerLine"), line)
    assert [line["line"] for line in answered] == [1, 2]


@tiers
def test_nothing_of_the_data_is_left_unrendered(tier):
    text = openapi.to_text(openapi.document(tier, DEFAULT))

    assert not re.findall(r'"\$(?!ref")\w+"|\{\w+:[^{}"]*\}', text)


@tiers
def test_a_document_refers_to_what_it_has_and_has_nothing_else(tier):
    document = openapi.document(tier, DEFAULT)
    referred = set(re.findall(r'"#/components/(\w+/\w+)"', openapi.to_text(document)))
    parts = {f"{kind}/{name}" for kind, named in document["components"].items() for name in named}

    unused = parts - referred - {"securitySchemes/key"}  # which is named otherwise
    assert referred <= parts
    assert unused <= {"responses/Failure405", "schemas/Line", "schemas/AnswerLine"}


def test_a_limit_an_option_and_the_models_are_those_of_the_settings():
    document = openapi.document("site", WebConfig(max_chars=12_345, models=("de", "en"), timeout_s=2.5))
    failures = document["components"]["responses"]

    def message(status, code):
        return failures[f"Failure{status}"]["content"][JSON_ONLY]["examples"][code]["value"]["error"]["message"]

    assert message(413, "text_too_long") == "The text is too long: it has 12,346 characters, the limit is 12,345."
    assert message(404, "unknown_model") == "There is no such model here. The models are: de, en."
    assert message(504, "model_timeout") == "The model did not answer within 2.5 seconds."


@tiers
def test_every_option_is_described_wherever_a_request_has_it(tier):
    document = openapi.document(tier, DEFAULT)
    schemas = document["components"]["schemas"]
    requests = [
        schema for name, schema in schemas.items() if name.endswith(("TextRequest", "TextsRequest", "V1Request"))
    ]
    holders = [schema["properties"] for schema in requests]
    holders += [
        schema["properties"]["parameters"]["properties"]
        for name, schema in schemas.items()
        if name.endswith("V2Request")
    ]
    if tier == "site":
        parameters = document["paths"]["/api/predict"]["post"]["parameters"]
        holders.append({one["name"]: one["schema"] for one in parameters if one["in"] == "query"})

    assert len(holders) == {"site": 3, "inference": 8}[tier]
    assert all(set(options.NAMES) <= holder.keys() for holder in holders)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"text": 1},
        {"text": "x", "texts": ["x"]},
        {"text": "x", "other": 1},
        {"text": "x" * 100_001},
        {"texts": "x"},
        {"texts": ["x"] * 257},
        {"text": "x", "labels": []},
        {"text": "x", "threshold": 1.5},
        {"text": "x", "offsets": "utf32"},
    ],
)
@tiers
def test_the_schema_of_a_request_refuses_what_the_server_refuses(tier, wrong):
    document = openapi.document(tier, DEFAULT)
    path = {"site": "/api/predict", "inference": "/predictions/{model}"}[tier]
    schema = document["paths"][path]["post"]["requestBody"]["content"][JSON_ONLY]["schema"]

    with pytest.raises(jsonschema.ValidationError):
        check(document, schema, wrong)


@tiers
def test_every_failure_has_an_example_and_every_operation_names_what_it_can_answer(tier):
    document = openapi.document(tier, DEFAULT)
    shown = {
        (int(name.removeprefix("Failure")), value["error"]["code"])
        for name, answer in document["components"]["responses"].items()
        for value in examples_of(answer["content"][JSON_ONLY]).values()
        if "error" in value and isinstance(value["error"], dict)
    }
    expected = {(one.status, one.code) for one in documented(tier)} - {(400, "empty_text")}

    assert shown - {(400, "empty_text")} == expected
    for name, operation in operations(document).items():
        if name.startswith("post"):
            usual = {"200", "400", "404", "413", "415", "422", "500", "503", "504"}
            assert usual <= operation["responses"].keys()


def test_the_statuses_and_codes_are_those_of_the_decision():
    decision = Path("docs/decisions/0012-serving-contract.md").read_text(encoding="utf-8")
    table = decision.split("| status | code |")[1].split("\n\n")[0]
    decided = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]*) \|", table, re.MULTILINE)
        for code in re.sub(r"\([^)]*\)", "", codes).replace(",", " ").replace(";", " ").split()
    }

    assert decided <= {(one.status, one.code) for one in documented("site")} | {
        (status, "malformed_request") for status in (414, 417, 431, 501)
    }
    assert len(decided) > 10


@tiers
def test_every_answer_of_the_site_has_its_headers(tier):
    document = openapi.document(tier, DEFAULT)
    answers = [
        answer
        for operation in operations(document).values()
        for answer in operation["responses"].values()
        if "$ref" not in answer
    ] + list(document["components"]["responses"].values())

    names = [set(answer.get("headers", {})) for answer in answers]
    assert all("X-Request-Id" in one for one in names) == (tier == "site")
    for status in (429, 503):
        found = document["components"]["responses"].get(f"Failure{status}", {"headers": {"Retry-After": 0}})
        assert "Retry-After" in found["headers"]
