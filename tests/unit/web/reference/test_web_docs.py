"""The page of documentation: complete, well-formed, safe to show, usable without scripts and with a screen reader."""

import json
import re

import pytest

from contract.errors import documented
from web.config import WebConfig
from web.reference import openapi

LIMITS = WebConfig().limits


@pytest.fixture
def read_docs(read_page):
    class Docs(read_page):
        """Adds what is in every ``pre`` and the order of all headings; refuses what is not closed, as Page does."""

        VOID = read_page.VOID | {"wbr"}

        def __init__(self, html):
            self.samples = []
            self.levels = []
            self.text = ""
            super().__init__(html)

        def handle_starttag(self, tag, attrs):
            super().handle_starttag(tag, attrs)
            if tag == "pre":
                self.samples.append("")
            if re.fullmatch("h[1-6]", tag):
                self.levels.append(int(tag[1]))

        def handle_data(self, data):
            super().handle_data(data)
            self.text += data
            if any(tag == "pre" for tag, _ in self._open):
                self.samples[-1] += data

        def attributes(self, tag, name):
            return [attributes[name] for one, attributes in self.elements if one == tag and name in attributes]

    return Docs


@pytest.fixture
def page(site, read_docs):
    reply = site.get("/docs")
    assert reply.status_code == 200
    return read_docs(reply.text)


def test_every_operation_code_limit_and_schema_is_on_it(page):
    for tier in ("site", "inference"):
        document = openapi.document(tier, WebConfig())
        for path, item in document["paths"].items():
            assert path in page.text
            for method in item.keys() - {"parameters"}:
                assert item[method]["summary"] in page.text
        for name in document["components"]["schemas"]:
            assert name in page.headings or name in page.text
    for failure in documented("site"):
        assert failure.code in page.text
    for number in (f"{LIMITS.max_chars:,} characters", "256 texts", f"{LIMITS.request_bytes:,} bytes"):
        assert number in page.text


def test_the_limits_are_those_of_the_running_site(make_site, dead_url):
    text = make_site(dead_url, max_chars=1_000_000).get("/docs").text

    assert "1,000,000 characters" in text
    assert "10,485,760 bytes" in text
    assert "100,000 characters" not in text


def test_every_link_within_the_page_leads_somewhere(page):
    targets = page.attributes("a", "href")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]

    inner = {target[1:] for target in targets if target.startswith("#")}
    assert len(inner) > 30
    assert inner <= set(ids)
    assert len(ids) == len(set(ids))


def test_everything_else_it_links_to_is_there(site, page):
    outer = {target for target in page.attributes("a", "href") if not target.startswith("#")}
    loaded = {*page.attributes("link", "href"), *page.attributes("script", "src"), *page.attributes("img", "src")}

    assert {"/openapi.json", "/openapi-inference.json"} <= outer
    assert {target: site.get(target).status_code for target in outer | loaded} == dict.fromkeys(outer | loaded, 200)


def test_no_script_or_style_is_inline_and_nothing_comes_from_elsewhere(page):
    names = {name for _, attributes in page.elements for name in attributes}
    addresses = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in {"href", "src"}
    ]

    assert not [name for name in names if name == "style" or name.startswith("on")]
    assert not [tag for tag, _ in page.elements if tag == "style"]
    assert all("src" in attributes for tag, attributes in page.elements if tag == "script")
    assert all(address.startswith(("/", "#")) and not address.startswith("//") for address in addresses)


def test_headings_skip_no_level_and_the_first_alone_is_the_title(page):
    assert page.levels[0] == 1
    assert page.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.levels, page.levels[1:], strict=False))


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(page):
    boxes = [attributes for tag, attributes in page.elements if tag == "pre" or "scroll" in attributes.get("class", "")]

    assert len(boxes) > 30
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)


def test_every_table_says_what_its_columns_are(page):
    assert page.attributes("th", "scope")
    assert len(page.attributes("th", "scope")) == len([tag for tag, _ in page.elements if tag == "th"])


def test_the_samples_name_the_address_that_was_asked(make_site, dead_url, read_docs):
    site = make_site(dead_url, allowed_hosts=("ner.example",))
    samples = read_docs(site.get("/docs", base_url="https://ner.example:8443").text).samples

    asked = [sample for sample in samples if re.search(r"\w/api/predict", sample)]
    assert len(asked) == 4
    assert all("https://ner.example:8443/api/predict" in sample for sample in asked)


def test_json_samples_are_json(page):
    samples = [sample for sample in page.samples if sample.startswith(("{", "["))]

    assert len(samples) > 20
    for sample in samples:
        for document in sample.splitlines() if sample.endswith("}\n") else [sample]:
            json.loads(document)


def test_names_of_models_are_shown_as_text(make_site, dead_url):
    text = make_site(dead_url, models=("en", "en-social", "x.y_z")).get("/docs").text

    for name in ("en", "en-social", "x.y_z"):
        assert f"<code>{name}</code>" in text


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/openapi-inference.json"])
def test_it_is_as_safe_as_the_other_pages(site, path):
    reply = site.get(path)

    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert "'unsafe-inline'" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/openapi-inference.json"])
def test_it_needs_no_model(make_site, dead_url, path):
    assert make_site(dead_url).get(path).status_code == 200
