"""What a worker logs and counts, through TorchServe's own metrics cache and the project's metrics.yaml."""

import json
import logging
import re
import socket
import struct

import pytest
from prometheus_client import CollectorRegistry, Histogram
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.protocol.otf_message_handler import retrieve_msg

from contract.limits import RequestLimits
from handler import observation
from handler.batch import BatchWorker
from handler.observation import Observer
from handler.protocol.headers import RequestHeaders
from handler.tagger import Tagger

MODEL = {"name": "tiny", "version": "1.0", "digest": "sha256:abc123"}
TEXT = "Obama saw Paris. The apple, Apple!"

#: org.pytorch.serve.metrics.Metric.PATTERN, behind the [METRICS] that WorkerLifeCycle takes off.
METRIC = re.compile(
    r"\s*([\w\s]+)\.([\w\s]+):([0-9\-,.e]+)\|#([^|]*)(\|#type:([^|,]+))?\|#hostname:([^,]+),([^,]+)(,(.*))?"
)


@pytest.fixture
def metrics():
    cache = MetricsCacheYamlImpl("metrics.yaml")
    cache.initialize_cache()
    return cache


@pytest.fixture
def worker(make_bundle):
    return BatchWorker(Tagger(make_bundle()), MODEL, RequestLimits())


def counted(caplog):
    """Each metric in the log as TorchServe reads it: (name, dimensions, value)."""
    found = []
    for record in caplog.records:
        line = record.getMessage()
        if line.startswith("[METRICS]"):
            match = METRIC.fullmatch(line.removeprefix("[METRICS]"))
            assert match, line
            dimensions = dict(pair.split(":") for pair in match[4].split(","))
            assert (dimensions.pop("model_name"), dimensions.pop("model_version")) == ("tiny", "1.0")
            found.append((match[1], dimensions, float(match[3])))
    return found


def observe(observer, worker, rows):
    batch = worker.answer(rows)
    observer.answered([headers for _, headers in rows], batch)
    return batch


def test_the_counters_of_many_batches_are_sent_together(metrics, worker, caplog):
    observer = Observer(metrics, MODEL)
    rows = [
        ({"body": TEXT.encode()}, RequestHeaders()),
        ({"body": TEXT.encode()}, RequestHeaders(explain=True)),
        ({"body": b"{"}, RequestHeaders(content_type="application/json")),
        ({"body": json.dumps({"texts": [TEXT, 7]}).encode()}, RequestHeaders(content_type="application/json")),
    ]
    caplog.set_level(logging.INFO)

    batches = [observe(observer, worker, rows) for _ in range(3)]
    before = [one for one in counted(caplog) if one[0].endswith("_total")]
    observer.flush()

    assert before == []
    totals = [(name.removeprefix("nerserve_worker_"), *rest) for name, *rest in counted(caplog)]
    labels = batches[0].answers[0].labels
    assert labels
    expected = [
        ("requests_total", {"kind": "predict"}, 9),
        ("requests_total", {"kind": "explain"}, 3),
        ("texts_total", {}, 9),
        ("characters_total", {}, 9 * len(TEXT)),
        ("tokens_total", {}, 9 * 9),
        ("unseen_tokens_total", {}, 9 * 2),  # "saw" and "!"
        ("errors_total", {"code": "malformed_request"}, 6),
        *(("entities_total", {"label": label}, 9 * count) for label, count in labels.items()),
    ]
    found = [one for one in totals if one[0].endswith("_total")]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_what_was_observed_is_sent_as_the_parts_of_histograms(metrics, worker, caplog):
    observer = Observer(metrics, MODEL)
    prediction = [({"body": TEXT.encode()}, RequestHeaders())]
    seconds = [{"read": 0.0004, "tag": 0.002}, {"read": 0.0001, "tag": 0.0025}, {"read": 0.0001, "tag": 99.0}]
    caplog.set_level(logging.INFO)

    for of_batch in seconds:
        batch = worker.answer(prediction * 3)._replace(seconds=of_batch)
        observer.answered([RequestHeaders()] * 3, batch)
    observer.flush()

    registry = CollectorRegistry()
    known = {"stage_seconds": observation.SECONDS, "batch_requests": observation.REQUESTS}
    expected = {
        name: Histogram(name, name, labels, buckets=known[name], registry=registry)
        for name, labels in (("stage_seconds", ["stage"]), ("batch_requests", []))
    }
    for of_batch in seconds:
        expected["batch_requests"].observe(3)
        for stage, value in of_batch.items():
            expected["stage_seconds"].labels(stage).observe(value)
    wanted = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.value and not sample.name.endswith("_created")
    }
    found = {
        (name.removeprefix("nerserve_worker_"), *sorted(labels.items())): value
        for name, labels, value in counted(caplog)
        if not name.endswith("_total")
    }
    assert found == pytest.approx(wanted)


def test_a_stage_that_no_request_asked_for_is_not_observed(metrics, worker, caplog):
    caplog.set_level(logging.INFO)

    for explain in (False, True):
        observer = Observer(metrics, MODEL)
        observe(observer, worker, [({"body": TEXT.encode()}, RequestHeaders(explain=explain))])
        observer.flush()

    stages = [labels["stage"] for name, labels, _ in counted(caplog) if name.endswith("stage_seconds_count")]
    assert sorted(stages) == sorted(["read", "tag", "reply", "read", "tag", "explain", "reply"])


def test_torchserves_own_line_a_batch_is_sent_once_with_the_counters(metrics, caplog):
    observer = Observer(metrics, MODEL)
    metrics.set_request_ids("one")
    metrics.model_name = "tiny"
    caplog.set_level(logging.INFO)

    for milliseconds in (1.5, 2.5, 3.5):
        metrics.add_time("PredictionTime", milliseconds)
    before = list(caplog.messages)
    observer.flush()
    observer.flush()

    assert before == []
    (line,) = caplog.messages
    assert METRIC.fullmatch(line.removeprefix("[METRICS]")).group(1, 3) == ("PredictionTime", "3.5")


def test_what_torchserves_worker_says_of_each_batch_is_not_printed(metrics, caplog):
    Observer(metrics, MODEL)
    caplog.set_level(logging.INFO)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"I" + struct.pack("!i", -1))
        retrieve_msg(ours)
    logging.getLogger().info("another line")

    assert caplog.messages == ["another line"]


def test_counters_are_sent_without_another_batch(metrics, worker, caplog):
    observer = Observer(metrics, MODEL)
    caplog.set_level(logging.INFO)

    observe(observer, worker, [({"body": b"Paris"}, RequestHeaders())])
    observer._timer.join(timeout=30)

    names = [name for name, *_ in counted(caplog)]
    assert "nerserve_worker_texts_total" in names


def test_the_model_is_named_at_the_start(metrics, caplog):
    caplog.set_level(logging.INFO)

    Observer(metrics, MODEL).loaded()

    assert counted(caplog) == [("nerserve_worker_model_info", {"digest": "abc123"}, 1)]
    assert json.loads(caplog.messages[0]) == {"event": "model loaded", "model": MODEL}


def test_a_batch_is_one_line_of_json_without_any_text(worker, caplog):
    rows = [
        ({"body": TEXT.encode()}, RequestHeaders(request_id="one")),
        ({"body": b"{" + TEXT.encode()}, RequestHeaders(content_type="application/json", request_id="two")),
        ({"json": json.dumps({"texts": [TEXT, TEXT, 1]}).encode()}, RequestHeaders(request_id="three", explain=True)),
    ]
    caplog.set_level(logging.INFO)

    batch = observe(Observer(None, MODEL), worker, rows)

    (message,) = caplog.messages
    assert not any(word in message for word in ("Obama", "Paris", "apple"))
    line = json.loads(message)
    assert (line["event"], line["model"], line["version"]) == ("batch", "tiny", "1.0")
    assert set(line["ms"]) == {"read", "tag", "explain", "reply"}
    entities = sum(batch.answers[0].labels.values())
    sizes = {"chars": len(TEXT), "tokens": 9, "entities": entities}
    assert line["requests"] == [
        {"id": "one", "path": "predictions", "status": 200, "texts": 1, **sizes},
        {"id": "two", "path": "predictions", "status": 400, "code": "malformed_request"},
        {
            "id": "three", "path": "explanations", "status": 200, "texts": 2,
            **{name: 2 * size for name, size in sizes.items()}, "errors": {"malformed_request": 1},
        },
    ]  # fmt: skip


def test_a_name_that_torchserve_could_not_read_is_changed_for_it(metrics, caplog):
    caplog.set_level(logging.INFO)

    Observer(metrics, {**MODEL, "name": "my:model,v|1#"}).loaded()

    (line,) = [message for message in caplog.messages if message.startswith("[METRICS]")]
    assert "|#model_name:my_model_v_1_,model_version:1.0," in line


def test_without_definitions_nothing_is_sent(worker, caplog):
    cache = MetricsCacheYamlImpl("metrics.yaml")  # not initialised: as empty as another file
    caplog.set_level(logging.INFO)

    observer = Observer(cache, MODEL)
    observe(observer, worker, [({"body": b"Paris"}, RequestHeaders())])

    assert counted(caplog) == []
