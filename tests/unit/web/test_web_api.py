import json
from urllib.parse import urlencode

import pytest
import requests

from tests.unit.web.conftest import NAMES
from web.app import create_app
from web.config import WebConfig

MODEL = {"name": "en", "version": "1.0", "digest": "sha256:" + "0" * 64}
OSLO = {"text": "Oslo", "label": "LOC", "start": 0, "end": 4, "score": 0.998}
EXPECTED = (
    'Expected a JSON object with "text" (a string) or "texts" (a list of strings), perhaps with "model", "labels", '
    '"threshold", "offsets" and "context", got '
)
PHRASE = "Attack at dawn"


def post(site, body, content_type="application/json"):
    return site.post("/api/predict", data=body, content_type=content_type)


def error_of(reply):
    """The code and the message; the body holds nothing else."""
    assert reply.mimetype == "application/json"
    assert list(reply.json) == ["error"]
    assert list(reply.json["error"]) == ["code", "message"]
    return reply.json["error"]["code"], reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"text": "Oslo"}', "application/json"),
        ('{"text": "Oslo", "model": "en"}', "application/json; charset=utf-8"),
        ("Oslo", "text/plain"),
        ("Oslo", "text/plain; charset=UTF-8"),
    ],
)
def test_one_text_gets_the_reply_of_the_model(site, body, content_type):
    reply = post(site, body, content_type)

    assert reply.status_code == 200
    assert reply.mimetype == "application/json"
    assert reply.json == {"model": MODEL, "entities": [OSLO]}
    assert list(reply.json) == ["model", "entities"]
    assert list(reply.json["entities"][0]) == ["text", "label", "start", "end", "score"]


def test_several_texts_get_one_result_each(site):
    reply = post(site, '{"texts": ["Oslo", ""]}')

    assert reply.json == {"model": MODEL, "results": [{"entities": [OSLO]}, {"entities": []}]}


def test_no_texts_get_no_results(site):
    assert post(site, '{"texts": []}').json == {"model": MODEL, "results": []}


@pytest.mark.parametrize(("body", "content_type"), [('{"text": ""}', "application/json"), ("", "text/plain")])
def test_the_empty_text_has_no_entities(site, body, content_type):
    assert post(site, body, content_type).json == {"model": MODEL, "entities": []}


@pytest.mark.parametrize(
    "text", ["\r\nOslo\r", "\0\x1b", "\ufeffOslo", "東京 😀", " ", "e\u0301", "\ud800Oslo", "\ud83d\ude00"]
)
def test_a_text_is_never_changed(upstream, site, text):
    reply = post(site, json.dumps({"text": text}))

    assert reply.status_code == 200
    sent = json.loads(upstream.requests[0][2])["text"]
    assert sent == json.loads(json.dumps(text))
    for entity in reply.json["entities"]:
        assert sent[entity["start"] : entity["end"]] == entity["text"]


def test_plain_text_is_never_changed(upstream, site):
    post(site, "\ufeff\r\n東京\r".encode(), "text/plain")

    assert json.loads(upstream.requests[0][2])["text"] == "\ufeff\r\n東京\r"


def test_lone_surrogates_leave_as_they_came(upstream, site):
    entity = {"text": "\ud800", "label": "MISC", "start": 0, "end": 1, "score": 0.5}
    upstream.answer(200, {"model": MODEL, "entities": [entity]})

    assert post(site, rb'{"text": "\ud800"}').json["entities"] == [entity]


def test_the_error_of_one_text_stays_in_its_row(upstream, site):
    row = {"error": {"code": "text_too_long", "message": "Too long."}}
    upstream.answer(200, {"model": MODEL, "results": [row, {"entities": []}]})

    reply = post(site, json.dumps({"texts": ["x" * 20_000, "y"]}))

    assert reply.status_code == 200
    assert reply.json["results"] == [row, {"entities": []}]


def test_what_is_no_text_or_too_long_among_texts_is_an_error_in_its_row(upstream, make_site):
    texts = [None, "Oslo", "x" * 11, {"a": 1}, "", 7, True, ["x"]]

    reply = post(make_site(upstream.url, max_chars=10), json.dumps({"texts": texts}))

    assert reply.status_code == 200
    kinds = ["null", "an object", "a number", "a boolean", "a list"]
    wrong = [{"error": {"code": "malformed_request", "message": f"Expected a string, got {kind}."}} for kind in kinds]
    long = "The text is too long: it has 11 characters, the limit is 10."
    assert reply.json["results"] == [
        wrong[0],
        {"entities": [OSLO]},
        {"error": {"code": "text_too_long", "message": long}},
        wrong[1],
        {"entities": []},
        *wrong[2:],
    ]
    assert json.loads(upstream.requests[-1][2]) == {"texts": ["Oslo", ""]}


def test_texts_that_are_all_wrong_still_tell_the_model(site):
    reply = post(site, '{"texts": [null]}')

    assert reply.json["model"] == MODEL
    assert [row["error"]["code"] for row in reply.json["results"]] == ["malformed_request"]


def test_the_model_is_chosen_by_name(upstream, make_site):
    site = make_site(upstream.url, models=("en", "de"))

    assert post(site, '{"text": "x", "model": "de"}').json["model"]["name"] == "de"
    assert post(site, '{"texts": ["x"], "model": "de"}').json["model"]["name"] == "de"
    assert post(site, '{"text": "x"}').json["model"]["name"] == "en"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", EXPECTED + "invalid JSON: Expecting value at character 0."),
        ("{", EXPECTED + "invalid JSON: Expecting property name enclosed in double quotes at character 1."),
        (f'{{"text": "{PHRASE}"', EXPECTED + "invalid JSON: Expecting ',' delimiter at character 25."),
        ('{"text": "x"} y', EXPECTED + "invalid JSON: Extra data at character 14."),
        ('{"text": NaN}', EXPECTED + "NaN, which JSON has not."),
        ('{"text": "x", "model": -Infinity}', EXPECTED + "-Infinity, which JSON has not."),
        ("9" * 5000, EXPECTED + "JSON that cannot be read."),
        ("[" * 100_000, EXPECTED + "JSON that cannot be read."),
        ("[]", EXPECTED + "a list."),
        (f'"{PHRASE}"', EXPECTED + "a string."),
        ("null", EXPECTED + "null."),
        ("1.5", EXPECTED + "a number."),
        ("{}", EXPECTED + "neither."),
        ('{"model": "en"}', EXPECTED + "neither."),
        ('{"text": "x", "texts": ["y"]}', EXPECTED + "both."),
        (f'{{"text": "x", "{PHRASE}": 1}}', EXPECTED + "another key."),
        ('{"text": null}', 'Expected a string for "text", got null.'),
        ('{"text": ["x"]}', 'Expected a string for "text", got a list.'),
        ('{"text": 1}', 'Expected a string for "text", got a number.'),
        ('{"text": true}', 'Expected a string for "text", got a boolean.'),
        ('{"text": "x", "model": null}', 'Expected a string for "model", got null.'),
        ('{"text": "x", "model": {}}', 'Expected a string for "model", got an object.'),
        ('{"texts": "x"}', 'Expected a list of strings for "texts", got a string.'),
        ('{"texts": {"0": "x"}}', 'Expected a list of strings for "texts", got an object.'),
        (b'{"text": "\xff"}', "Expected UTF-8, got something else at byte 10."),
        (b'{"text": "\xed\xa0\x80"}', "Expected UTF-8, got something else at byte 10."),
        (b'\xef\xbb\xbf{"text": "x"}', EXPECTED + "invalid JSON: Unexpected UTF-8 BOM"),
        ('{"text": "x"}'.encode("utf-16"), "Expected UTF-8, got UTF-16."),
    ],
)
def test_a_malformed_request_is_refused_with_the_reason(upstream, site, body, message):
    reply = post(site, body)

    code, told = error_of(reply)
    assert (reply.status_code, code) == (400, "malformed_request")
    assert told.startswith(message)
    assert PHRASE not in reply.text
    assert upstream.requests == []


def test_plain_text_that_is_not_utf8_is_refused(site):
    reply = post(site, b"caf\xe9", "text/plain")

    assert reply.status_code == 400
    assert error_of(reply) == ("malformed_request", "Expected UTF-8, got something else at byte 3.")


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        ("text/html", "text/html"),
        ("Application/XML; charset=utf-8", "application/xml"),
        ("text/attack", "another"),
    ],
)
def test_another_media_type_is_refused_with_the_header_to_send(site, content_type, named):
    reply = post(site, "Oslo", content_type)

    assert reply.status_code == 415
    assert error_of(reply) == (
        "unsupported_media_type",
        "Expected one of the Content-Types application/json, text/plain, application/x-ndjson, "
        f"got {named}; with curl, add -H 'Content-Type: application/json'.",
    )


@pytest.mark.parametrize(
    "content_type",
    [
        *(None, "", "application/x-www-form-urlencoded", "application/octet-stream", "text/json", "text/html"),
        *("application/vnd.api+json; charset=UTF-8", "multipart/form-data", "Attack / at dawn"),
    ],
)
@pytest.mark.parametrize("body", [b'{"text": "Oslo"}', b'\r\n\t {"text": "Oslo", "model": "en"}\n'])
def test_a_body_that_is_json_is_json_whatever_its_header_says(site, body, content_type):
    assert post(site, body, content_type).json == {"model": MODEL, "entities": [OSLO]}


def test_a_text_is_a_text_even_if_it_is_json(site, upstream):
    post(site, '{"text": "Oslo"}', "text/plain")

    assert json.loads(upstream.requests[0][2]) == {"text": '{"text": "Oslo"}'}


def test_a_text_that_curl_sends_as_a_form_is_told_both_headers(site):
    reply = post(site, "Kofi Annan in Kumasi.", "application/x-www-form-urlencoded")

    code, message = error_of(reply)
    assert (reply.status_code, code) == (415, "unsupported_media_type")
    assert "-H 'Content-Type: application/json' or -H 'Content-Type: text/plain'" in message


def test_a_body_of_no_type_is_a_text(site):
    assert post(site, "Oslo", None).json == {"model": MODEL, "entities": [OSLO]}
    assert error_of(post(site, "", None))[0] == "unsupported_media_type"


def test_json_of_another_type_is_read_as_strictly(site):
    reply = post(site, '{"text": "Oslo", "text": "Attack"}', "application/x-www-form-urlencoded")

    assert (reply.status_code, error_of(reply)) == (400, ("malformed_request", EXPECTED + "a key twice."))


AWKWARD = "Müller & Söhne + 100 % = 東京\r\n😀 {;}\u2028"
URLENCODED = "application/x-www-form-urlencoded"


def form(fields, *, multipart):
    """A real client's form with *fields*, a list of pairs: its body and its Content-Type."""
    parts = [(name, (None, value)) for name, value in fields] if multipart else None
    prepared = requests.Request("POST", "http://x", data=None if multipart else fields, files=parts).prepare()
    return {"data": prepared.body, "content_type": prepared.headers["Content-Type"]}


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("name", ["text", "data", "body"])
def test_a_form_has_a_text(site, upstream, name, multipart):
    reply = site.post("/api/predict", **form([(name, AWKWARD)], multipart=multipart))

    assert json.loads(upstream.requests[0][2]) == {"text": AWKWARD}
    assert [entity["text"] for entity in reply.json["entities"]] == ["東京"]


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("name", ["json", "data", "body"])
def test_a_form_has_json(site, upstream, name, multipart):
    document = json.dumps({"texts": [AWKWARD, "Oslo"], "labels": ["LOC"]})

    reply = site.post("/api/predict", **form([(name, document)], multipart=multipart))

    assert json.loads(upstream.requests[0][2]) == {"texts": [AWKWARD, "Oslo"], "labels": ["LOC"]}
    assert reply.json["results"][1] == {"entities": [OSLO]}


def test_a_form_has_a_file(site):
    prepared = requests.Request("POST", "http://x", files={"data": ("x.json", b'{"text": "Oslo"}')}).prepare()

    reply = site.post("/api/predict", data=prepared.body, content_type=prepared.headers["Content-Type"])

    assert reply.json == {"model": MODEL, "entities": [OSLO]}


@pytest.mark.parametrize("multipart", [False, True])
def test_a_form_has_model_and_options_beside_the_text(upstream, make_site, multipart):
    fields = [
        ("text", "東京😀 Oslo"),
        ("model", "de"),
        ("labels", "LOC,PER"),
        ("threshold", "0.5"),
        ("offsets", "utf8"),
    ]

    reply = make_site(upstream.url, models=("en", "de")).post("/api/predict", **form(fields, multipart=multipart))

    assert upstream.requests[0][0] == "/predictions/de"
    assert json.loads(upstream.requests[0][2]) == {"text": "東京😀 Oslo", "labels": ["LOC", "PER"], "threshold": 0.5}
    assert [entity["start"] for entity in reply.json["entities"]] == [0, 11]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ([], 415, "with no part."),
        ([("Attack", "")], 415, "with other parts."),
        ([("text", "AT"), ("T", "")], 415, "with other parts."),
        ([("text", "x"), ("json", "{}")], 415, "with other parts."),
        ([("json", '{"text": "x"}'), ("labels", "LOC")], 415, "with JSON and other parts."),
        ([("text", "x"), ("text", "Attack")], 400, "Expected each field of the form once, got one twice."),
        ([("text", "x"), ("threshold", "Attack")], 422, 'for "threshold", got something else.'),
        ([("text", "x"), ("labels", "")], 422, "got a list with something else in it."),
        ([("text", "x"), ("model", "Attack")], 404, "There is no such model here. The models are: en."),
        ([("json", "Attack")], 400, "got invalid JSON: Expecting value at character 0."),
        ([("text", "x")] * 17, 400, "Expected a complete form with at most 16 fields, got something else."),
    ],
)
def test_another_form_is_refused(upstream, site, fields, status, message):
    reply = site.post("/api/predict", data=urlencode(fields), content_type=URLENCODED)

    assert reply.status_code == status
    assert error_of(reply)[1].endswith(message)
    assert "Attack" not in reply.text
    if status == 415:
        assert "-H 'Content-Type: application/json'" in reply.json["error"]["message"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"text=%FF", URLENCODED),
        (b"text=\xff", URLENCODED),
        (
            b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n\xff\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nOslo', "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\nOslo\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"text=Oslo", "multipart/form-data"),
        (b"text=Oslo", "multipart/form-data; boundary=x"),
    ],
)
def test_a_broken_form_is_refused(upstream, site, body, content_type):
    reply = post(site, body, content_type)

    assert (reply.status_code, error_of(reply)[0]) == (400, "malformed_request")
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["text", "texts", "stream"])
@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Müller 東京😀", "Müller 東京😀".encode()),
        ("\x85\u2028\u2029\ud800", rb"\u0085\u2028\u2029\ud800"),
        ("a\n\r\x0b\x0c\x1c\x1d\x1e", rb"a\n\r\u000b\f\u001c\u001d\u001e"),
    ],
)
def test_answers_are_utf8_in_lines_for_every_reader(site, monkeypatch, path, text, written):
    monkeypatch.setitem(NAMES, text, "X")
    body = {"texts": [text]} if path == "texts" else {"text": text}

    reply = post(site, json.dumps(body), "application/x-ndjson" if path == "stream" else "application/json")

    assert written in reply.data
    assert len(reply.data.decode().splitlines()) == 1
    assert json.dumps(text) in json.dumps(json.loads(reply.data))


@pytest.mark.parametrize("content_type", ["text/plain; charset=latin-1", "application/json; charset=utf-16"])
def test_another_charset_is_refused(site, content_type):
    reply = post(site, '{"text": "x"}', content_type)

    assert reply.status_code == 415
    assert error_of(reply) == ("unsupported_media_type", "Expected the charset utf-8.")


@pytest.mark.parametrize("name", ["fr", "", "EN", "en/1.0", "../metrics", "en\n", " en", "en%2f1.0", "en\0", "en,de"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-ndjson", "application/x-www-form-urlencoded"]
)
def test_a_model_that_is_not_on_the_list_is_not_asked(upstream, make_site, name, content_type):
    site = make_site(upstream.url, models=("en", "de"))
    if content_type == "application/json":
        reply = post(site, json.dumps({"text": "x", "model": name}))
    elif "form" in content_type:
        reply = site.post("/predict", data={"text": "x", "model": name})
    else:
        body = {"data": "x" if content_type == "text/plain" else '{"text": "x"}\n', "content_type": content_type}
        reply = site.post("/api/predict", query_string={"model": name}, **body)

    assert reply.status_code == 404
    assert "There is no such model here. The models are: en, de." in reply.text
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("body", "content_type"), [(json.dumps({"text": "é" * 101}), "application/json"), ("é" * 101, "text/plain")]
)
def test_a_text_over_the_limit_is_refused_before_torchserve_is_bothered(upstream, make_site, body, content_type):
    reply = post(make_site(upstream.url, max_chars=100), body.encode(), content_type)

    assert reply.status_code == 413
    assert error_of(reply) == ("text_too_long", "The text is too long: it has 101 characters, the limit is 100.")
    assert upstream.requests == []


def test_a_text_at_the_limit_is_taken_however_it_is_encoded(upstream, make_site):
    site = make_site(upstream.url, max_chars=100)

    assert post(site, json.dumps({"text": "😀" * 100})).status_code == 200
    assert len(json.loads(upstream.requests[0][2])["text"]) == 100


def test_a_body_over_the_limit_is_refused_unread(upstream, make_site):
    reply = post(make_site(upstream.url, max_chars=100), b" " * 1_048_577)

    assert reply.status_code == 413
    assert error_of(reply) == ("request_too_large", "The request is too large: the limit is 1,048,576 bytes.")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x" * 60] * 2, "The texts have 120 characters in all, the limit is 100."),
        ([""] * 257, "The request has 257 texts, the limit is 256."),
    ],
)
def test_texts_that_are_too_much_in_all_are_refused(upstream, make_site, texts, message):
    reply = post(make_site(upstream.url, max_chars=100), json.dumps({"texts": texts}))

    assert reply.status_code == 413
    assert error_of(reply) == ("request_too_large", message)
    assert upstream.requests == []


def test_as_many_texts_and_characters_as_are_allowed_are_taken(upstream, make_site):
    site = make_site(upstream.url, max_chars=256)

    reply = post(site, json.dumps({"texts": ["é"] * 256}))

    assert reply.status_code == 200
    assert reply.json["results"] == [{"entities": []}] * 256


@pytest.mark.parametrize(
    ("status", "reply", "shown_status", "error"),
    [
        (503, b"", 503, ("model_unavailable", "The model server answered with status 503.")),
        (404, b"", 503, ("model_unavailable", "The model is not loaded on the model server.")),
        (200, b"{}", 502, ("bad_model_reply", "The model's reply is off the contract: ")),
        (302, b"", 502, ("bad_model_reply", "The model server answered with status 302.")),
        (400, {"error": {"code": "malformed_request", "message": "No."}}, 400, ("malformed_request", "No.")),
        (413, b"", 413, ("request_too_large", "The request is too large for the model server.")),
    ],
)
@pytest.mark.parametrize("body", ['{"text": "x"}', '{"texts": ["x"]}'])
def test_a_failure_of_the_model_has_its_status_and_code(
    upstream, make_site, *, body, status, reply, shown_status, error
):
    upstream.answer(status, reply)

    shown = post(make_site(upstream.url, retries=False), body)

    code, message = error_of(shown)
    assert shown.status_code == shown_status
    assert code == error[0]
    assert message.startswith(error[1])
    assert shown.headers.get("Retry-After") == ("1" if shown_status == 503 else None)


def test_nobody_listening_is_unavailable(make_site, dead_url):
    reply = post(make_site(dead_url, retries=False), '{"text": "x"}')

    assert reply.status_code == 503
    assert error_of(reply) == ("model_unavailable", "There is no connection to the model server.")


def test_a_model_that_is_too_slow_is_a_timeout(raw_upstream, make_site, silent):
    site = make_site(raw_upstream(silent), timeout_s=0.1)

    reply = post(site, '{"text": "x"}')

    assert reply.status_code == 504
    assert error_of(reply) == ("model_timeout", "The model did not answer within 0.1 seconds.")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/predict", 405, "method_not_allowed"),
        ("PUT", "/api/predict", 405, "method_not_allowed"),
        ("GET", "/api", 404, "not_found"),
        ("GET", "/api/", 404, "not_found"),
        ("POST", "/api/nowhere", 404, "not_found"),
        ("POST", "/livez", 405, "method_not_allowed"),
        ("POST", "/readyz", 405, "method_not_allowed"),
        ("POST", "/openapi.json", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
        ("POST", "/predictions/en", 404, "not_found"),
        ("POST", "/v1/models/en:predict", 404, "not_found"),
    ],
)
def test_a_wrong_address_says_where_texts_go(site, method, path, status, code):
    reply = site.open(path, method=method)

    assert reply.status_code == status
    assert error_of(reply)[0] == code
    assert error_of(reply)[1].endswith("; texts go to /api/predict, by POST.")
    assert ("Allow" in reply.headers) == (status == 405)


@pytest.fixture
def broken_site():
    """A site with two views that fail in a way nobody foresaw."""
    app = create_app(WebConfig())

    def fail():
        raise ZeroDivisionError(PHRASE)

    app.add_url_rule("/api/broken", view_func=fail)
    app.add_url_rule("/broken", "broken_page", view_func=fail)
    return app.test_client()


def test_what_nobody_foresaw_is_an_internal_error(broken_site):
    reply = broken_site.get("/api/broken")

    assert reply.status_code == 500
    assert error_of(reply) == ("internal_error", "Internal Server Error.")


def test_what_nobody_foresaw_has_a_page(broken_site, read_page):
    reply = broken_site.get("/broken")

    assert reply.status_code == 500
    assert read_page(reply.text).headings == ["Something went wrong"]
    assert PHRASE not in reply.text
