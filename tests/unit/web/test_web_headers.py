import pytest

from web.app import create_app
from web.config import WebConfig

CSP = {
    "default-src 'none'",
    "style-src 'self'",
    "script-src 'self'",
    "img-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}
EVERY_KIND = [
    ("GET", "/", {}, 200),
    ("GET", "/?example=1", {}, 200),
    ("HEAD", "/", {}, 200),
    ("OPTIONS", "/predict", {}, 200),
    ("GET", "/predict", {}, 303),
    ("POST", "/predict", {"data": {"text": "Oslo"}}, 200),
    ("POST", "/predict", {"data": {"text": ""}}, 400),
    ("POST", "/predict", {"data": {"text": "x" * 200_000}}, 413),
    ("GET", "/nowhere", {}, 404),
    ("DELETE", "/", {}, 405),
    ("POST", "/api/predict", {"json": {"text": "Oslo"}}, 200),
    ("POST", "/api/predict", {"json": {"text": 1}}, 400),
    ("POST", "/api/predict", {"json": {"text": "x", "model": "fr"}}, 404),
    ("POST", "/api/predict", {"data": b"x" * 200_000, "content_type": "text/plain"}, 413),
    ("POST", "/api/predict", {"data": b""}, 415),
    ("GET", "/api/nowhere", {}, 404),
    ("GET", "/livez", {}, 200),
    ("GET", "/readyz", {}, 200),
    ("GET", "/static/site.css", {}, 200),
    ("GET", "/static/site.css", {"headers": {"Range": "bytes=9999999-"}}, 416),
    ("GET", "/static/nowhere", {}, 404),
]


def assert_safe(reply):
    assert set(reply.headers["Content-Security-Policy"].split("; ")) == CSP
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in reply.headers["Permissions-Policy"]
    assert "Set-Cookie" not in reply.headers


@pytest.mark.parametrize(("method", "path", "request_", "status"), EVERY_KIND)
def test_every_kind_of_answer_has_the_headers(site, method, path, request_, status):
    reply = site.open(path, method=method, **request_)

    assert reply.status_code == status
    assert_safe(reply)
    assert reply.headers["Cache-Control"] == (
        "public, max-age=31536000" if path == "/static/site.css" and status == 200 else "no-store"
    )


@pytest.mark.parametrize("path", ["/predict", "/api/predict"])
def test_a_failure_of_the_model_has_the_headers(make_site, dead_url, path):
    body = {"json": {"text": "x"}} if "api" in path else {"data": {"text": "x"}}

    reply = make_site(dead_url, retries=False).post(path, **body)

    assert reply.status_code == 503
    assert_safe(reply)
    assert reply.headers["Cache-Control"] == "no-store"


def test_an_internal_error_has_the_headers():
    app = create_app(WebConfig())
    app.add_url_rule("/broken", view_func=lambda: 1 / 0)

    reply = app.test_client().get("/broken")

    assert reply.status_code == 500
    assert_safe(reply)
    assert reply.headers["Cache-Control"] == "no-store"


def test_everything_a_page_loads_is_there_and_has_an_address_of_its_own(site, read_page):
    page = read_page(site.get("/").text)
    addresses = [
        attributes.get("src") or attributes.get("href")
        for tag, attributes in page.elements
        if tag in {"link", "script", "img"}
    ]

    replies = [site.get(address) for address in addresses]

    assert len(addresses) == 4
    assert all("?v=" in address for address in addresses)
    assert [reply.status_code for reply in replies] == [200] * 4
    assert {reply.mimetype for reply in replies} == {"image/svg+xml", "text/css", "text/javascript"}


def test_the_settings_come_from_the_environment_by_default(monkeypatch, upstream):
    monkeypatch.setenv("NERSERVE_INFERENCE_URL", upstream.url)
    monkeypatch.setenv("NERSERVE_MODELS", "de")

    create_app().test_client().post("/api/predict", json={"text": "x"})

    assert upstream.requests[0][0] == "/predictions/de"
