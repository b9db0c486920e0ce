"""Both servers, asked by schemathesis whatever their published documents allow, and what they do not."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.e2e.instance import SITE_TIMEOUT_S

pytestmark = pytest.mark.timeout(1200)

CONFIG = """
[checks]
negative_data_rejection.expected-statuses = ["400", "403", "404", "405", "413", "415", "422"]
positive_data_acceptance.expected-statuses = ["2xx"]
"""

#: TorchServe takes every method for a prediction, and never reads what it ignores: documented facts.
NOT_OF_TORCHSERVE = ["--exclude-checks", "unsupported_method"]

LABELS = ["LOC", "MISC", "ORG", "PER"]


def nodes(value):
    """*value* and everything in it that is an object."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(one)


def with_facts(document):
    """*document* with what is true of models/en and what no schema can say: names, and that sizes must fit."""
    document = copy.deepcopy(document)
    for node in nodes(document):
        properties = node.get("properties", {})
        match properties.get("labels"):
            case {"type": "array", "items": items}:
                items["enum"] = LABELS
            case {"type": "string"} as labels:
                labels["enum"] = [*LABELS, "PER,ORG"]
        if "shape" in properties and "maxItems" in properties["data"]:
            properties["shape"] = {"const": [2]}
            properties["data"] |= {"minItems": 2, "maxItems": 2}
        match node:
            case {"name": "labels", "schema": {"items": items}}:
                items["enum"] = LABELS
            case {"name": "model", "in": "path"}:
                node |= {"schema": {"const": "en"}, "examples": {"en": {"value": "en"}}}
            case {"name": "version", "in": "path"}:
                node["schema"] = {"const": "1.0"}
    return document


def with_items(document, items):
    """*document* where the texts of a list are *items*: a bad one has an error in its place, the request succeeds."""
    document = copy.deepcopy(document)
    for node in nodes(document):
        for key in ("texts", "instances", "data"):
            field = node.get("properties", {}).get(key, {})
            if "maxItems" in field:
                field["items"] = items
    return document


def with_one_form_for_all(document):
    """*document* where every address takes every form: TorchServe does not tell its workers which was asked."""
    document = copy.deepcopy(document)
    for path, item in document["paths"].items():
        of_kserve = re.fullmatch(r"/v\d/models/\{model\}[:/](infer|predict|explain)", path)
        if of_kserve:
            twin = "/explanations/{model}" if of_kserve[1] == "explain" else "/predictions/{model}"
            for part in ("requestBody", "responses"):
                item["post"][part] = document["paths"][twin]["post"][part]
    return document


def run(folder, document, url, *options, max_examples=40):
    """Run schemathesis over *document*; its report when it has found something, else an empty string."""
    (folder / "document.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(CONFIG)
    command = [
        *(Path(sys.executable).parent / "schemathesis", "--no-color", "--config-file", folder / "schemathesis.toml"),
        *("run", folder / "document.json", "--url", url, "--request-timeout", "120", "--workers", "1"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(max_examples), "--generation-deterministic"),
        *("--continue-on-failure", "--suppress-health-check", "all", *options),
    ]
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("schemathesis_hooks.py"))},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )
    report = "\n".join(line[:500] for line in done.stdout.splitlines())
    found = re.search(r"(\d+) generated", report)
    assert found, report + done.stderr
    assert int(found[1]) > 100, report
    return "" if done.returncode == 0 else report


def with_key(served):
    """The options for requests with the inference key."""
    return [word for name, value in served.inference_key.headers.items() for word in ("--header", f"{name}: {value}")]


def check(*arguments, **settings):
    """Fail with schemathesis's own report if it finds anything."""
    if report := run(*arguments, **settings):
        pytest.fail(report, pytrace=False)


@pytest.fixture
def site_document(served):
    return with_facts(requests.get(f"{served.site}/openapi.json", timeout=60).json())


@pytest.fixture
def inference_document(served):
    return with_facts(requests.get(f"{served.site}/openapi-inference.json", timeout=60).json())


def pids(served):
    served.wait_for_workers(2)
    return sorted(worker.pid for worker in served.workers())


def test_the_site_keeps_its_document(served, site_document, tmp_path):
    before = pids(served)

    check(tmp_path, with_items(site_document, {}), served.site)
    assert pids(served) == before


def test_the_inference_port_answers_what_its_document_allows(served, inference_document, tmp_path):
    before = pids(served)
    short = with_items(inference_document, {"type": "string", "maxLength": 7})  # 256 of them can be explained

    check(
        tmp_path, short, served.inference, *with_key(served), "--mode", "positive", *NOT_OF_TORCHSERVE, max_examples=25
    )
    assert pids(served) == before


def test_the_inference_port_refuses_what_its_document_does_not_allow(served, inference_document, tmp_path):
    before = pids(served)
    document = with_one_form_for_all(with_items(inference_document, {}))

    check(tmp_path, document, served.inference, *with_key(served), *NOT_OF_TORCHSERVE, max_examples=15)
    assert pids(served) == before


def test_the_documents_served_are_those_of_the_repository(served):
    for address, name in (("/openapi.json", "site.json"), ("/openapi-inference.json", "inference.json")):
        in_repository = Path("docs/openapi", name).read_text("utf-8")
        text = requests.get(served.site + address, timeout=60).text
        assert text.replace(f"within {SITE_TIMEOUT_S} seconds", "within 10 seconds") == in_repository


def test_the_tester_finds_what_is_wrong(served, site_document, tmp_path):
    """A document that is not true is found out, so that the tests above mean something."""
    site_document["components"]["schemas"]["Entity"]["properties"]["score"] = {"type": "string"}

    report = run(tmp_path, site_document, served.site)

    assert "Response violates schema" in report
