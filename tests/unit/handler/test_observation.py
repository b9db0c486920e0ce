"""What a worker logs and counts, through TorchServe's own metrics cache and the project's metrics.yaml."""

import json
import logging
import re

import pytest
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from handler.batch import BatchWorker
from handler.limits import Limits
from handler.observation import Observer
from handler.request_headers import RequestHeaders
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
    return BatchWorker(Tagger(make_bundle()), MODEL, Limits())


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
    assert totals.count(("batch_requests", {}, 4)) == 3
    stages = [dimensions["stage"] for name, dimensions, _ in totals if name == "stage_seconds"]
    assert stages == ["read", "tag", "explain", "reply"] * 3


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
