"""gRPC on TorchServe's own port, asked by a client that is generated from the vendored proto files."""

import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import requests

from tests.e2e.generated import generate

TEXT = "Barack Obama was born in Hawaii."
LIMIT = 100_000


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    """(messages, stubs)."""
    generated = generate(tmp_path_factory.mktemp("grpc"))
    sys.path.insert(0, str(generated))
    try:
        yield importlib.import_module("inference_pb2"), importlib.import_module("inference_pb2_grpc")
    finally:
        sys.path.remove(str(generated))


class WithKey(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds the key in a file to every call."""

    def __init__(self, key):
        self._key = key

    def _call(self, go_on, details, request):
        metadata = [("authorization", f"Bearer {self._key.text}")]
        return go_on(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = _call


@pytest.fixture
def stub(served, api):
    with grpc.insecure_channel(served.grpc) as channel:
        yield api[1].InferenceAPIsServiceStub(grpc.intercept_channel(channel, WithKey(served.inference_key)))


@pytest.fixture
def predict(stub, api):
    """Ask and read the answer's JSON."""

    def ask(version="", **parts):
        request = api[0].PredictionsRequest(model_name="en", model_version=version, input=parts)
        return json.loads(stub.Predictions(request, timeout=60).prediction)

    return ask


def by_http(served, document):
    return requests.post(
        f"{served.inference}/predictions/en", json=document, auth=served.inference_key, timeout=60
    ).json()


def pids(served):
    return sorted(worker.pid for worker in served.workers())


@pytest.mark.parametrize(
    "document",
    [
        {"text": TEXT},
        {"texts": [TEXT, "", 42, "Kofi Annan"]},
        {"text": f"😀 {TEXT}", "offsets": "utf16", "labels": ["LOC"], "threshold": 0.1},
        {"instances": [TEXT, {"text": ""}]},
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}], "id": "7"},
    ],
)
def test_the_part_json_takes_every_form_and_answers_as_over_http(served, predict, document):
    assert predict(json=json.dumps(document).encode()) == by_http(served, document)


def test_an_answer_is_utf8(stub, api):
    request = api[0].PredictionsRequest(model_name="en", input={"data": "Kofi\u2028Annan flew to São Paulo.".encode()})

    answer = stub.Predictions(request, timeout=60).prediction.decode()

    assert '"São Paulo"' in answer
    assert len(answer.splitlines()) == 1


@pytest.mark.parametrize("name", ["data", "body"])
def test_a_part_of_no_kind_is_json_or_a_text(served, predict, name):
    assert predict(**{name: json.dumps({"text": TEXT}).encode()}) == by_http(served, {"text": TEXT})
    assert predict(**{name: TEXT.encode()}) == by_http(served, {"text": TEXT})


def test_the_part_text_is_one_text(served, predict):
    assert predict(text=f"😀 {TEXT}".encode()) == by_http(served, {"text": f"😀 {TEXT}"})


def test_a_version_can_be_named(served, predict):
    version = by_http(served, {"text": TEXT})["model"]["version"]

    assert predict(version=version, text=TEXT.encode())["model"]["version"] == version


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"json": b"{"}, "malformed_request"),
        ({"json": b'{"text": "a", "text": "b"}'}, "malformed_request"),
        ({"json": b'{"text": "a", "threshold": NaN}'}, "malformed_request"),
        ({"json": b'{"text": "a", "other": 1}'}, "malformed_request"),
        ({"text": b"\xff"}, "malformed_request"),
        ({"json": b'{"text": "a", "threshold": 2}'}, "invalid_option"),
        ({"text": b"a" * (LIMIT + 1)}, "text_too_long"),
        ({"json": json.dumps({"texts": ["a"] * 257}).encode()}, "request_too_large"),
        ({}, "unsupported_media_type"),
        ({"text": b"a", "json": b"{}"}, "unsupported_media_type"),
        ({"other": b"a"}, "unsupported_media_type"),
    ],
)
def test_a_failure_of_a_worker_comes_with_the_status_ok_and_its_code(predict, parts, code):
    """TorchServe drops the worker's status: GRPCJob.response never looks at it."""
    reply = predict(**parts)

    assert list(reply) == ["error"]
    assert reply["error"]["code"] == code


@pytest.mark.parametrize(
    ("request_", "details"),
    [
        ({"model_name": "nobody", "input": {"text": b"a"}}, "Model not found: nobody"),
        ({"model_name": "en", "model_version": "9", "input": {"text": b"a"}}, "Model version: 9 does not exist"),
        ({"input": {"text": b"a"}}, "model_name is required"),
    ],
)
def test_what_reaches_no_model_is_internal(stub, api, request_, details):
    with pytest.raises(grpc.RpcError) as failed:
        stub.Predictions(api[0].PredictionsRequest(**request_), timeout=60)

    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert details in failed.value.details()


def test_a_message_above_the_limit_is_refused_and_the_server_goes_on(served, stub, api, predict):
    before = pids(served)
    request = api[0].PredictionsRequest(model_name="en", input={"text": b"a" * 1_200_000})

    with pytest.raises(grpc.RpcError) as failed:
        stub.Predictions(request, timeout=60)

    assert failed.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
    assert predict(text=TEXT.encode())["entities"]
    assert pids(served) == before


def test_a_call_whose_time_is_up_disturbs_nobody(served, stub, api, predict):
    before = pids(served)
    long = api[0].PredictionsRequest(model_name="en", input={"text": (f"{TEXT} " * 3_000).encode()})

    with pytest.raises(grpc.RpcError) as failed:
        stub.Predictions(long, timeout=0.05)

    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert predict(text=TEXT.encode())["entities"]
    assert pids(served) == before


def test_stream_predictions_answers_once(served, stub, api):
    before = pids(served)
    request = api[0].PredictionsRequest(model_name="en", input={"text": TEXT.encode()})

    answers = list(stub.StreamPredictions(request, timeout=60))

    assert [json.loads(answer.prediction) for answer in answers] == [by_http(served, {"text": TEXT})]
    assert pids(served) == before


def test_stream_predictions_answers_a_failure_too(served, stub, api):
    before = pids(served)
    request = api[0].PredictionsRequest(model_name="en", input={"json": b"{"})

    (answer,) = stub.StreamPredictions(request, timeout=60)

    assert json.loads(answer.prediction)["error"]["code"] == "malformed_request"
    assert pids(served) == before


def test_many_calls_at_once_have_the_answers_that_each_has_alone(predict):
    documents = [
        {"text": f"{name} of {place} wrote."} for name in ("Ann Lee", "NATO", "x") for place in ("Oslo", "Bonn")
    ]
    alone = [predict(json=json.dumps(document).encode()) for document in documents]

    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda document: predict(json=json.dumps(document).encode()), documents * 10))

    assert together == alone * 10


def test_ping_says_that_the_server_runs(stub):
    empty = importlib.import_module("google.protobuf.empty_pb2").Empty()

    assert json.loads(stub.Ping(empty, timeout=60).health) == {"status": "Healthy"}


def test_the_vendored_files_say_whose_they_are():
    notice = Path("examples/grpc/NOTICE").read_text()

    for path in Path("examples/grpc").rglob("*.proto"):
        assert str(path.relative_to("examples/grpc")) in notice
    assert "Apache License, Version 2.0" in notice
