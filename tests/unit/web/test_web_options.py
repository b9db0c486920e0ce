"""The options of a request, in JSON and in the query, as a client of the API meets them."""

import json

import pytest

LABELS = 'Expected a list of labels, not empty, for "labels", got '
THRESHOLD = 'Expected a number from 0 to 1 for "threshold", got '
CONTEXT = 'Expected one of document, sentence for "context", got something else.'
OFFSETS = 'Expected one of codepoint, utf16, utf8 for "offsets", got something else.'
QUERY = 'Expected "model", "labels", "threshold", "offsets" and "context" in the query, each at most once, got '


def post(site, body, query="", content_type="application/json", **headers):
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return site.post(f"/api/predict{query}", data=data, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {}),
        ({"labels": ["PER", "ORG"]}, {"labels": ["PER", "ORG"]}),
        ({"threshold": 0.5}, {"threshold": 0.5}),
        ({"threshold": 0}, {"threshold": 0}),
        ({"threshold": 1}, {"threshold": 1}),
        ({"offsets": "codepoint"}, {}),
        ({"offsets": "utf8"}, {}),
        ({"context": "document"}, {}),
        ({"context": "sentence"}, {"context": "sentence"}),
        ({"labels": ["é"], "threshold": 0.25, "offsets": "utf16"}, {"labels": ["é"], "threshold": 0.25}),
    ],
)
def test_the_model_is_told_what_is_wanted_but_not_the_unit(upstream, site, options, sent):
    assert post(site, {"text": "Oslo", **options}).status_code == 200
    assert post(site, {"texts": ["Oslo"], **options}).status_code == 200

    one, several = (json.loads(body) for _, _, body in upstream.requests)
    assert one == {"text": "Oslo", **sent}
    assert several == {"texts": ["Oslo"], **sent}


@pytest.mark.parametrize(("content_type", "body"), [("text/plain", "Oslo"), ("application/json", '{"text": "Oslo"}')])
def test_the_query_has_options_too(upstream, make_site, content_type, body):
    site = make_site(upstream.url, models=("en", "de"))

    reply = post(site, body, "?model=de&labels=PER,LOC&threshold=0.5&offsets=utf16", content_type)

    assert reply.status_code == 200
    path, _, sent = upstream.requests[0]
    assert path == "/predictions/de"
    assert json.loads(sent) == {"text": "Oslo", "labels": ["PER", "LOC"], "threshold": 0.5}


def test_what_the_body_says_counts_more_than_the_query(upstream, site):
    post(site, {"text": "Oslo", "threshold": 0.9}, "?threshold=0.1&labels=LOC")

    assert json.loads(upstream.requests[0][2]) == {"text": "Oslo", "threshold": 0.9, "labels": ["LOC"]}


@pytest.mark.parametrize(
    ("unit", "offsets"),
    [("codepoint", [(2, 6), (9, 11)]), ("utf16", [(3, 7), (10, 12)]), ("utf8", [(6, 10), (14, 20)])],
)
@pytest.mark.parametrize("form", ["text", "texts", "plain"])
def test_offsets_come_in_the_unit_that_is_wanted(site, form, unit, offsets):
    text = "é😀Oslo é 東京"

    if form == "plain":
        reply = post(site, text.encode(), f"?offsets={unit}", "text/plain").json
    else:
        body = {"text": text} if form == "text" else {"texts": ["x", text]}
        reply = post(site, {**body, "offsets": unit}).json
        reply = reply if form == "text" else reply["results"][1]

    assert [(entity["start"], entity["end"]) for entity in reply["entities"]] == offsets
    assert [entity["text"] for entity in reply["entities"]] == ["Oslo", "東京"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "PER"}, LABELS + "something else."),
        ({"labels": None}, LABELS + "something else."),
        ({"labels": []}, LABELS + "an empty one."),
        ({"labels": ["PER", 1]}, LABELS + "a list with something else in it."),
        ({"labels": [""]}, LABELS + "a list with something else in it."),
        ({"threshold": "0.5"}, THRESHOLD + "something else."),
        ({"threshold": None}, THRESHOLD + "something else."),
        ({"threshold": True}, THRESHOLD + "something else."),
        ({"threshold": 1.0001}, THRESHOLD + "another number."),
        ({"threshold": -1}, THRESHOLD + "another number."),
        ({"threshold": 10**400}, THRESHOLD + "another number."),
        ({"offsets": "bytes"}, OFFSETS),
        ({"offsets": None}, OFFSETS),
        ({"offsets": ["utf8"]}, OFFSETS),
        ({"context": "text"}, CONTEXT),
        ({"context": None}, CONTEXT),
        ({"context": ["sentence"]}, CONTEXT),
    ],
)
def test_a_wrong_option_is_refused(upstream, site, options, message):
    reply = post(site, {"text": "x", **options})

    assert reply.status_code == 422
    assert reply.json == {"error": {"code": "invalid_option", "message": message}}
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("query", "status", "code", "message"),
    [
        ("?threshold=high", 422, "invalid_option", THRESHOLD + "something else."),
        ("?threshold=nan", 422, "invalid_option", THRESHOLD + "another number."),
        ("?threshold=2", 422, "invalid_option", THRESHOLD + "another number."),
        ("?labels=", 422, "invalid_option", LABELS + "a list with something else in it."),
        ("?labels=PER,", 422, "invalid_option", LABELS + "a list with something else in it."),
        ("?offsets=UTF8", 422, "invalid_option", OFFSETS),
        ("?context=", 422, "invalid_option", CONTEXT),
        ("?model=fr", 404, "unknown_model", "There is no such model here. The models are: en."),
        ("?treshold=0.5", 400, "malformed_request", QUERY + "another name."),
        ("?threshold=0.5&threshold=0.6", 400, "malformed_request", QUERY + "one twice."),
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-ndjson"])
def test_a_wrong_query_is_refused(upstream, site, *, content_type, query, status, code, message):
    reply = post(site, "x", query, content_type)

    assert reply.status_code == status
    assert reply.json == {"error": {"code": code, "message": message}}
    assert upstream.requests == []


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_what_the_model_says_of_an_option_is_passed_on(upstream, site, content_type):
    error = {"code": "invalid_option", "message": "labels: expected some of LOC, ORG, PER"}
    upstream.answer(422, {"error": error})

    reply = post(site, '{"text": "x"}\n', "?labels=GENE", content_type)

    assert reply.status_code == 422
    assert reply.json == {"error": error}


@pytest.mark.parametrize("body", ['{"text": "a", "text": "b"}', '{"texts": [{"a": 1, "a": 2}]}'])
def test_a_key_that_comes_twice_is_refused(upstream, site, body):
    reply = post(site, body)

    assert reply.status_code == 400
    assert reply.json["error"]["message"].endswith('"threshold", "offsets" and "context", got a key twice.')
    assert upstream.requests == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-ndjson"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "x"])
def test_a_compressed_request_is_refused(site, content_type, encoding):
    reply = post(site, '{"text": "x"}', content_type=content_type, **{"Content-Encoding": encoding})

    assert reply.status_code == 415
    assert reply.json["error"]["code"] == "unsupported_media_type"


def test_identity_is_no_compression(site):
    assert post(site, '{"text": "x"}', **{"Content-Encoding": "Identity"}).status_code == 200


@pytest.mark.parametrize("sent", ["soon", "0", "-1", "nan", "inf", ""])
def test_a_timeout_that_is_no_time_is_refused(upstream, site, sent):
    reply = post(site, '{"text": "x"}', **{"X-Request-Timeout": sent})

    assert reply.status_code == 400
    assert reply.json["error"]["message"] == (
        "Expected a number of seconds above 0 in X-Request-Timeout, got something else."
    )
    assert upstream.requests == []
