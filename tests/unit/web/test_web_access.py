"""The id of a request, its line in the log and its place among the numbers, whoever answers it."""

import json
import logging
import re

import pytest
from werkzeug.test import create_environ, run_wsgi_app

from web.access import AccessLog
from web.metrics import Metrics

PHRASE = "Attack at dawn"
EVERY_KIND = [
    ("GET", "/", {}, 200, ""),
    ("GET", "/nowhere", {}, 404, "not_found"),
    ("GET", "/static/site.css", {}, 200, ""),
    ("GET", "/static/nowhere", {}, 404, "not_found"),
    ("GET", "/predict", {}, 303, ""),
    ("POST", "/predict", {"data": {"text": f"{PHRASE} Oslo"}}, 200, ""),
    ("POST", "/predict", {"data": {"text": ""}}, 400, "empty_text"),
    ("POST", "/api/predict", {"json": {"text": PHRASE}}, 200, ""),
    ("POST", "/api/predict", {"json": {"text": PHRASE, "x": 1}}, 400, "malformed_request"),
    ("POST", f"/api/predict?{PHRASE}", {"json": {"text": PHRASE}}, 400, "malformed_request"),
    ("POST", "/api/predict", {"data": b"x" * 2_000_000, "content_type": "text/plain"}, 413, "request_too_large"),
    ("GET", "/api/predict", {}, 405, "method_not_allowed"),
    ("GET", "/livez", {}, 200, ""),
    ("GET", "/readyz", {}, 200, ""),
    ("GET", "/metrics", {}, 200, ""),
]


def line_of(caplog):
    """The one line that a request got, as the site's log has it."""
    (record,) = [record for record in caplog.records if record.name == "web.access"]
    return record


@pytest.mark.parametrize(("method", "path", "request_", "status", "code"), EVERY_KIND)
def test_every_request_has_an_id_and_one_line(site, caplog, *, method, path, request_, status, code):
    caplog.set_level(logging.INFO, logger="web")

    with site.open(path, method=method, **request_) as reply:
        size = len(reply.data)

    record = line_of(caplog)
    assert reply.status_code == status
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["X-Request-Id"])
    assert record.request_id == reply.headers["X-Request-Id"]
    assert (record.method, record.path, record.status) == (method, path.partition("?")[0], status)
    assert record.bytes == size
    assert 0 <= record.seconds < 5
    assert record.error == code
    assert PHRASE not in json.dumps([str(value) for value in vars(record).values()])


@pytest.mark.parametrize("sent", ["a", "order-17.A_b", "x" * 128])
def test_a_good_id_of_the_client_is_kept_and_passed_on(site, upstream, sent):
    reply = site.post("/api/predict", json={"text": "x"}, headers={"X-Request-Id": sent})

    assert reply.headers["X-Request-Id"] == sent
    assert upstream.requests[0][1]["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", ["", "two words", "a,b", "x" * 129, "é", "<b>", "a\tb"])
def test_another_id_is_replaced(site, upstream, sent):
    reply = site.post("/api/predict", json={"text": "x"}, headers={"X-Request-Id": sent})

    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["X-Request-Id"])
    assert upstream.requests[0][1]["X-Request-Id"] == reply.headers["X-Request-Id"]


def test_the_form_passes_its_id_on_too(site, upstream):
    reply = site.post("/predict", data={"text": "x"})

    assert upstream.requests[0][1]["X-Request-Id"] == reply.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("body", "content_type", "texts", "characters"),
    [
        ('{"text": "Oslo"}', "application/json", 1, 4),
        ('{"texts": ["Oslo", "x", null]}', "application/json", 3, 5),
        ("é", "text/plain", 1, 1),
        ('{"text": "Oslo"}\nnonsense\n{"text": "x"}\n', "application/x-ndjson", 2, 5),
    ],
)
def test_the_line_says_how_much_was_asked(site, caplog, *, body, content_type, texts, characters):
    caplog.set_level(logging.INFO, logger="web")

    with site.post("/api/predict", data=body.encode(), content_type=content_type) as reply:
        assert reply.data

    record = line_of(caplog)
    assert (record.model, record.texts, record.characters) == ("en", texts, characters)
    assert record.attempts == (2 if content_type == "application/x-ndjson" else 1)


def test_the_line_says_how_often_the_model_was_asked(make_site, raw_upstream, read_request, good_reply, caplog):
    caplog.set_level(logging.INFO, logger="web")

    def play(connection, n):
        read_request(connection)
        connection.sendall(
            good_reply if n == 2 else b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )

    make_site(raw_upstream(play)).post("/api/predict", json={"text": "x"}).close()

    assert line_of(caplog).attempts == 3


def test_an_unforeseen_failure_has_an_id_and_a_line(make_site, upstream, caplog):
    site = make_site(upstream.url)
    site.application.add_url_rule("/api/broken", view_func=lambda: 1 / 0)
    caplog.set_level(logging.INFO, logger="web")

    reply = site.get("/api/broken")
    reply.close()

    assert reply.headers["X-Request-Id"] == line_of(caplog).request_id
    assert (line_of(caplog).status, line_of(caplog).error) == (500, "internal_error")


def test_an_application_that_breaks_has_a_line_too(caplog):
    caplog.set_level(logging.INFO, logger="web")

    def broken(environ, start_response):
        raise ZeroDivisionError(PHRASE)

    with pytest.raises(ZeroDivisionError):
        run_wsgi_app(AccessLog(broken, Metrics()), create_environ("/"))

    assert (line_of(caplog).status, line_of(caplog).path) == (500, "/")
    assert PHRASE not in line_of(caplog).getMessage()


def test_an_answer_that_is_not_taken_to_its_end_has_one_line(caplog):
    caplog.set_level(logging.INFO, logger="web")

    def application(environ, start_response):
        start_response("200 OK", [])
        return iter([b"one", b"two"])

    body, _, _ = run_wsgi_app(AccessLog(application, Metrics()), create_environ("/"))
    next(iter(body))
    body.close()
    body.close()

    assert (line_of(caplog).status, line_of(caplog).error) == (200, "client_disconnected")
