"""The numbers, read by prometheus_client's own parser."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from contract.entities import ModelInfo
from web.metrics import MAX_LABELS, Metrics

MODEL = {"name": "en", "version": "1.0", "digest": "sha256:" + "0" * 64}


def read(text):
    """(name, labels) -> value of every sample; labels as a frozen set of pairs."""
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(site, name, **labels):
    return read(site.get("/metrics").text).get((f"nerserve_{name}", frozenset(labels.items())), 0)


def test_they_are_in_the_text_format(site):
    site.post("/api/predict", json={"text": "x"}).close()

    reply = site.get("/metrics")

    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    assert reply.headers["Cache-Control"] == "no-store"
    assert len(read(reply.text)) > 5


def test_texts_characters_and_entities_are_counted(site):
    site.post("/api/predict", json={"text": "Barack Obama in Oslo"})
    site.post("/api/predict", json={"texts": ["Oslo", None]})

    assert value(site, "texts_total", model="en") == 2
    assert value(site, "characters_total", model="en") == 24
    assert value(site, "entities_total", model="en", label="LOC") == 2
    assert value(site, "entities_total", model="en", label="PER") == 1


def test_requests_are_timed_by_endpoint_and_class_of_status(site):
    site.post("/api/predict", json={"text": "x"}).close()
    site.post("/api/predict", json={"text": 1}).close()
    site.post("/predict", data={"text": ""}).close()
    site.get("/nowhere").close()

    for endpoint, status in [("api.predict", "2xx"), ("api.predict", "4xx"), ("pages.predict", "4xx"), ("none", "4xx")]:
        assert value(site, "request_seconds_count", endpoint=endpoint, status=status) == 1
    assert value(site, "request_seconds_bucket", endpoint="api.predict", status="2xx", le="100.0") == 1
    assert value(site, "errors_total", code="malformed_request") == 1
    assert value(site, "errors_total", code="empty_text") == 1
    assert value(site, "errors_total", code="not_found") == 1


def test_attempts_retries_and_waits_are_counted(make_site, raw_upstream, read_request, good_reply):
    def play(connection, n):
        read_request(connection)
        connection.sendall(good_reply if n else b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    site = make_site(raw_upstream(play))

    site.post("/api/predict", json={"text": "x"})

    assert value(site, "upstream_attempt_seconds_count", model="en", result="model_unavailable") == 1
    assert value(site, "upstream_attempt_seconds_count", model="en", result="ok") == 1
    assert value(site, "upstream_retries_total", model="en") == 1
    assert value(site, "queue_wait_seconds_count", kind="request") == 2
    assert value(site, "upstream_in_flight") == 0
    assert value(site, "queued") == 0


def test_rejections_are_counted_by_reason(make_site, upstream):
    site = make_site(upstream.url, max_streams=0)

    site.post("/api/predict", data=b"", content_type="application/x-ndjson").close()

    assert value(site, "rejected_total", reason="streams") == 1
    assert value(site, "errors_total", code="too_many_requests") == 1


def test_lines_of_streams_are_counted(site):
    with site.post("/api/predict", data=b'{"text": "x"}\nnonsense\n', content_type="application/x-ndjson") as reply:
        assert reply.data

    assert value(site, "stream_lines_total", result="ok") == 1
    assert value(site, "stream_lines_total", result="error") == 1
    assert value(site, "errors_total", code="malformed_request") == 1
    assert value(site, "streams") == 0


def test_the_version_that_answered_last_is_known(upstream, site):
    site.post("/api/predict", json={"text": "x"})
    upstream.answer(200, {"model": MODEL | {"version": "1.1"}, "entities": []})
    site.post("/api/predict", json={"text": "x"})

    assert value(site, "model_info", model="en", version="1.0", digest=MODEL["digest"]) == 0
    assert value(site, "model_info", model="en", version="1.1", digest=MODEL["digest"]) == 1


def test_the_state_of_the_breaker_is_known(upstream, make_client):
    metrics = Metrics()
    client = make_client(upstream.url, metrics=metrics, breaker_threshold=1)
    client.tag_text("en", "x")
    assert read(metrics.render().decode())["nerserve_breaker_state", frozenset({("model", "en")})] == 0

    upstream.answer(503, b"")
    with pytest.raises(Exception, match="status 503"):
        client.tag_text("en", "x")

    assert read(metrics.render().decode())["nerserve_breaker_state", frozenset({("model", "en")})] == 2


def test_nobody_invents_values_of_labels():
    metrics = Metrics()
    info = ModelInfo("\ud800", "\ud800" * 1000, "d")

    metrics.count_answer("en", info, [1], [f"label {i} \ud800" for i in range(1000)])
    metrics.count_error("a_code_of_tomorrow")
    metrics.count_attempt("en", "a_code_of_tomorrow", 0.1, is_retry=False)

    samples = read(metrics.render().decode())
    labels = [labels for name, labels in samples if name == "nerserve_entities_total"]
    assert len(labels) == MAX_LABELS + 1
    assert samples["nerserve_entities_total", frozenset({("model", "en"), ("label", "other")})] == 1000 - MAX_LABELS
    assert samples["nerserve_errors_total", frozenset({("code", "other")})] == 1


def test_the_numbers_of_all_processes_are_summed(start_site, upstream, wait_until):
    site = start_site(upstream.url, NERSERVE_WEB_WORKERS="2")
    num_texts, group = 0, 8
    with ThreadPoolExecutor(group) as pool:
        while len({line["pid"] for line in site.answers()}) < 2:  # who accepts a connection is the kernel's choice
            url, num_texts = f"{site.url}/api/predict", num_texts + group
            for answer in [pool.submit(requests.post, url, json={"text": "Oslo"}, timeout=60) for _ in range(group)]:
                assert answer.result().status_code == 200
            wait_until(partial(lambda expected: len(site.answers()) == expected, num_texts))

    samples = read(requests.get(f"{site.url}/metrics", timeout=60).text)

    assert samples["nerserve_texts_total", frozenset({("model", "en")})] == num_texts
    assert samples["nerserve_upstream_in_flight", frozenset()] == 0
    (folder,) = (site.log.parent / f"scratch-{site.port}").glob("nerserve-metrics-*")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000

    site.process.terminate()
    assert site.process.wait(60) == 0
    assert not folder.exists()


def test_nothing_is_left_of_a_site_that_does_not_come_up(start_site, upstream):
    site = start_site(upstream.url)

    second = start_site(upstream.url, NERSERVE_PORT=str(site.port))

    assert second.process.wait(60) != 0
    assert not list((second.log.parent / f"scratch-{second.port}").glob("nerserve-metrics-*"))
