"""Under which names the site answers: its own and this machine's, so that a page under a rebound name reads nothing."""

import json
import re
import socket

import pytest

from contract.errors import MisdirectedRequestError

LOOPBACK = [
    *["localhost", "localhost:8000", "LocalHost:80", "localhost.", "localhost.:8000", "localhost:"],
    *["ner.localhost", "a.b.localhost:1", "127.0.0.1", "127.0.0.1:65535", "127.8.9.10"],
    *["[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]", "[0::0001]:80"],
]
FOREIGN = [
    *["rebound.example", "rebound.example:8000", "localhost.example", "127.0.0.1.example", "xlocalhost", "10.0.0.5"],
    *["[2001:db8::1]", "[::ffff:10.0.0.5]", "0.0.0.0", "[::]", "1"],  # noqa: S104
]
MALFORMED = [
    *[
        " ",
        ".",
        "..",
        ".localhost",
        "a..localhost",
        "x" * 64 + ".localhost",
        ":8000",
        "::1",
        "[::1",
        "[]",
        "[::1]8000",
        "[::1%eth0]",
        "[localhost]",
        "localhost:80:80",
    ],
    *["localhost:x", "user@localhost", "user:password@localhost", "localhost@rebound.example", "localhost/", "a b"],
    *[
        "localhost,rebound.example",
        "localhost rebound.example",
        "localhost\\",
        "localhost#",
        "localhost?",
        "l\xf6calhost",
    ],
    *["*", "*.localhost", "localhost%00", "\u212aocalhost".encode().decode("latin-1")],
]
EVERY_WAY = [
    ("GET", "/", {}),
    ("HEAD", "/", {}),
    ("OPTIONS", "/predict", {}),
    ("POST", "/predict", {"data": {"text": "Oslo"}}),
    ("POST", "/api/predict", {"json": {"text": "Oslo"}}),
    ("POST", "/api/predict", {"data": b'{"text": "Oslo"}\n', "content_type": "application/x-ndjson"}),
    ("GET", "/docs", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/static/site.css", {}),
    ("GET", "/nowhere", {}),
    ("GET", "/livez/", {}),
]

#: Heads of requests, without what ends them, and the status of the answer.
HEADS = {
    "GET / HTTP/1.1\r\nHost: localhost\r\n": 200,
    "GET / HTTP/1.1\r\nHost: rebound.example\r\n": 421,
    "GET / HTTP/1.1\r\nHost:localhost \r\n": 200,
    "GET / HTTP/1.1\r\nHost:\r\n": 200,
    "GET / HTTP/1.1\r\n": 200,
    "GET / HTTP/1.0\r\n": 200,
    "GET / HTTP/1.0\r\nHost: rebound.example\r\n": 421,
    "GET /livez HTTP/1.0\r\nHost: rebound.example\r\n": 200,
    "GET / HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n": 400,
    "GET / HTTP/1.1\r\nHost: rebound.example\r\nhost: localhost\r\n": 400,
    "GET / HTTP/1.1\r\nHost: rebound.example\r\nX-Forwarded-Host: localhost\r\n": 421,
    "GET / HTTP/1.1\r\nHost: rebound.example\r\nForwarded: host=localhost\r\n": 421,
    "GET http://localhost/ HTTP/1.1\r\nHost: rebound.example\r\n": 200,
    "GET http://rebound.example/ HTTP/1.1\r\nHost: localhost\r\n": 421,
    "GET HTTP://user@localhost/ HTTP/1.1\r\nHost: localhost\r\n": 421,
    "POST /api/predict HTTP/1.1\r\nHost: rebound.example\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n": 421,
}


def status_for(site, host, path="/"):
    return site.get(path, headers={"Host": host}).status_code


@pytest.mark.parametrize("host", LOOPBACK)
def test_the_names_of_this_machine_are_served(site, host):
    assert status_for(site, host) == 200


@pytest.mark.parametrize("host", [*FOREIGN, *MALFORMED])
def test_another_name_is_not(site, upstream, host):
    reply = site.post("/api/predict", json={"text": "Oslo"}, headers={"Host": host})

    assert reply.status_code == 421
    assert reply.mimetype == "application/json"
    assert reply.json == MisdirectedRequestError().to_json()
    assert upstream.requests == []


@pytest.mark.parametrize(("method", "path", "request_"), EVERY_WAY)
def test_nothing_is_answered_under_another_name(site, upstream, method, path, request_):
    reply = site.open(path, method=method, headers={"Host": "rebound.example"}, **request_)

    assert reply.status_code == 421
    assert reply.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_ask_by_whatever_name_they_like(site, path):
    assert status_for(site, "10.0.0.5:8000", path) == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "ner-1.example.org"])  # noqa: S104
def test_a_site_for_other_machines_takes_every_name_until_some_are_listed(make_site, upstream, host):
    assert status_for(make_site(upstream.url, host=host), "rebound.example") == 200
    assert status_for(make_site(upstream.url, host=host, allowed_hosts=("a.example",)), "rebound.example") == 421


@pytest.mark.parametrize(
    ("patterns", "host", "is_served"),
    [
        (["ner.example.org"], "ner.example.org", True),
        (["ner.example.org"], "NER.example.org.:443", True),
        (["NER.Example.org."], "ner.example.org", True),
        (["ner.example.org"], "a.ner.example.org", False),
        (["ner.example.org"], "xner.example.org", False),
        (["ner.example.org"], "localhost", True),
        (["a.example", "b.example"], "b.example", True),
        (["*.example.org"], "ner.example.org", True),
        (["*.example.org"], "a.b.example.org:1", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "badexample.org", False),
        (["*.example.org"], ".example.org", False),
        (["192.0.2.7"], "192.0.2.7:8000", True),
        (["192.0.2.7"], "192.0.2.70", False),
        (["2001:db8::1"], "[2001:DB8:0::1]:8000", True),
        (["[2001:db8::1]"], "[2001:db8::1]", True),
        (["2001:db8::1"], "[2001:db8::2]", False),
        (["*"], "anything.at.all", True),
        (["*"], "[2001:db8::2]", True),
        (["*"], "", True),
        (["*"], "user@nonsense", False),
        (["*"], ".example.org", False),
        (["*"], f"{'x' * 64}.example.org", False),
        (["a.example", "*"], "b.example", True),
    ],
)
def test_the_names_in_the_list_are_served_too(make_site, upstream, patterns, host, is_served):
    site = make_site(upstream.url, allowed_hosts=tuple(patterns))

    assert status_for(site, host) == (200 if is_served else 421)


def test_a_refusal_is_counted_and_says_nothing_of_the_name(site, caplog):
    with caplog.at_level("INFO", logger="web"):
        site.get("/", headers={"Host": "rebound.example"}).close()

    (line,) = [record for record in caplog.records if record.name == "web.access"]
    assert (line.status, line.error) == (421, "misdirected_request")
    assert "rebound" not in json.dumps([str(value) for value in vars(line).values()])


def test_the_server_sees_the_name_as_it_was_sent(start_site, upstream):
    site = start_site(upstream.url, NERSERVE_ALLOWED_HOSTS="ner.example.org")

    statuses = {}
    for head in HEADS:
        with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
            connection.sendall(f"{head}Connection: close\r\n\r\nOslo".encode())
            answer = connection.makefile("rb").read()
        statuses[head] = int(re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)[1])

    assert statuses == HEADS
    assert upstream.requests == []
