"""The clients against a stub of TorchServe on loopback that answers, refuses, talks nonsense or says nothing."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from contract.entities import CANARY_TEXT
from ops.errors import (
    KeyRefusedError,
    ManagementRefusedError,
    ManagementReplyError,
    ManagementUnreachableError,
    UnknownModelError,
)
from ops.supervise.canaries import Canaries
from ops.torchserve_api.management import ManagementClient, WorkerStatus
from ops.torchserve_api.predictions import PredictionClient, Sign

DESCRIBED = {
    "modelName": "en",
    "modelVersion": "1.0",
    "minWorkers": 2,
    "maxWorkers": 2,
    "responseTimeout": 20,
    "workers": [
        {"id": "9000", "status": "READY", "pid": 4711},
        {"id": "9001", "status": "UNLOADING", "pid": -1},
    ],
    "jobQueueStatus": {"remainingCapacity": 97, "pendingRequests": 3},
}

KEY_REFUSED = json.dumps({"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."})


class Stub:
    """Gives every request the same reply, once it says anything, and remembers what it was asked."""

    def __init__(self):
        self.status, self.body = 200, json.dumps([DESCRIBED])
        self.speaks = threading.Event()
        self.speaks.set()
        self.statuses, self.bodies = [], []  # for the next requests, before those
        self.requests, self.keys = [], []
        stub = self

        def answer(handler):
            body = handler.rfile.read(int(handler.headers.get("Content-Length", 0))).decode()
            stub.requests.append((handler.command, handler.path, body))
            stub.keys.append(handler.headers.get("Authorization"))
            stub.speaks.wait(60)
            status = stub.statuses.pop(0) if stub.statuses else stub.status
            content = stub.bodies.pop(0) if stub.bodies else stub.body
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(content)))
            handler.send_header("Location", "/elsewhere")
            with contextlib.suppress(ConnectionError):  # whoever asked has gone
                handler.end_headers()
                handler.wfile.write(content.encode())

        methods = dict.fromkeys(["do_GET", "do_PUT", "do_POST", "do_DELETE"], answer)
        quiet = {"log_message": lambda *_: None}
        handler_class = type("Handler", (BaseHTTPRequestHandler,), methods | quiet)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_class)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def stub():
    stub = Stub()
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.01,))
    thread.start()
    yield stub
    stub.speaks.set()
    stub.server.shutdown()
    thread.join()
    stub.server.server_close()


def sign_of(url, timeout_s=30):
    return PredictionClient(url).ask(CANARY_TEXT, "en", timeout_s=timeout_s).sign


@pytest.fixture
def client(stub):
    return ManagementClient(stub.url, timeout_s=30)


def test_describe_says_what_torchserve_says(stub, client):
    status = client.describe("en")

    assert (status.name, status.version, status.min_workers, status.max_workers) == ("en", "1.0", 2, 2)
    assert (status.num_pending, status.response_timeout_s, status.num_ready) == (3, 20, 1)
    assert status.workers == (WorkerStatus("9000", "READY", 4711), WorkerStatus("9001", "UNLOADING", None))
    assert stub.requests == [("GET", "/models/en", "")]


def test_scale_sets_both_numbers(stub, client):
    stub.status, stub.body = 202, '{"status": "Processing worker updates..."}'

    client.scale("en", 3)

    assert stub.requests == [("PUT", "/models/en?min_worker=3&max_worker=3", "")]


def test_scale_is_said_again_where_torchserve_trips(stub, client):
    stub.statuses = [500, 500]
    client.scale("en", 1)

    assert len(stub.requests) == 3
    assert len(set(stub.requests)) == 1

    stub.statuses = [500, 500, 500]
    with pytest.raises(ManagementRefusedError, match="status 500"):
        client.scale("en", 1)

    stub.statuses = [409]
    with pytest.raises(ManagementRefusedError, match="status 409"):
        client.scale("en", 1)

    assert len(stub.requests) == 7


@pytest.mark.parametrize(
    ("call", "request_line"),
    [
        (lambda client: client.describe("en", "1.1"), ("GET", "/models/en/1.1")),
        (lambda client: client.versions("en"), ("GET", "/models/en/all")),
        (lambda client: client.scale("en", 0, "1.1"), ("PUT", "/models/en/1.1?min_worker=0&max_worker=0")),
        (
            lambda client: client.register("en-1.1.mar", "en", 2),
            ("POST", "/models?url=en-1.1.mar&initial_workers=2&synchronous=false&model_name=en"),
        ),
        (
            lambda client: client.register("en-1.1.mar", None, 1),
            ("POST", "/models?url=en-1.1.mar&initial_workers=1&synchronous=false"),
        ),
        (lambda client: client.set_default("en", "1.1"), ("PUT", "/models/en/1.1/set-default")),
        (lambda client: client.unregister("en", "1.1"), ("DELETE", "/models/en/1.1")),
    ],
)
def test_every_call_asks_what_torchserve_understands(stub, client, call, request_line):
    call(client)

    assert [one[:2] for one in stub.requests] == [request_line]


def test_a_list_of_models_may_have_pages(stub, client):
    pages = [{"models": [{"modelName": "en"}], "nextPageToken": "100"}, {"models": [{"modelName": "de"}]}]
    stub.bodies = [json.dumps(page) for page in pages]

    assert client.models() == ["de", "en"]
    assert [path for _, path, _ in stub.requests] == [
        "/models?limit=100&next_page_token=0",
        "/models?limit=100&next_page_token=100",
    ]


@pytest.mark.parametrize(
    "body", ["[]", "{}", '{"models": [{}]}', '{"models": 7}', '{"models": [], "nextPageToken": "0"}']
)
def test_a_list_of_models_in_another_form_is_an_error(stub, client, body):
    stub.body = body

    with pytest.raises(ManagementReplyError, match="lists its models in a form we do not know"):
        client.models()


@pytest.mark.parametrize(
    ("status", "method", "message"),
    [
        (404, "describe", "says: Model not found: en"),
        (400, "describe", "was refused with status 400: Model not found: en"),
        (405, "unregister", "registers and unregisters nothing: its enable_model_api is not true"),
    ],
)
def test_the_words_of_torchserve_are_passed_on_in_one_line(stub, client, status, method, message):
    stub.status, stub.body = status, json.dumps({"code": status, "message": "Model not found:\n en"})

    with pytest.raises(ManagementRefusedError, match=message):
        getattr(client, method)("en", "1.1")


def test_a_key_that_was_renewed_meanwhile_is_tried_once(stub):
    keys = iter(["old", "old", "new", "new", "new"])
    stub.statuses, stub.bodies = [400], [KEY_REFUSED]

    assert ManagementClient(stub.url, timeout_s=30, key=lambda: next(keys)).describe("en").name == "en"
    assert stub.keys == ["Bearer old", "Bearer new"]


def test_a_key_that_stays_is_not_tried_again(stub):
    stub.status, stub.body = 400, KEY_REFUSED

    with pytest.raises(KeyRefusedError, match="asks for a management key, and did not get it"):
        ManagementClient(stub.url, timeout_s=30, key=lambda: "old").describe("en")

    assert stub.keys == ["Bearer old"]


def test_a_name_cannot_lead_elsewhere(stub, client):
    client.describe("../ping")

    assert stub.requests[0][1] == "/models/..%2Fping"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, '{"code": 404, "type": "ModelNotFoundException"}', UnknownModelError),
        (400, "{}", ManagementRefusedError),
        (405, "{}", ManagementRefusedError),
        (500, "", ManagementRefusedError),
        (503, "", ManagementRefusedError),
        (302, "", ManagementReplyError),
        (200, "", ManagementReplyError),
        (200, "<html>", ManagementReplyError),
        (200, "{}", ManagementReplyError),
        (200, "[]", ManagementReplyError),
        (200, "[7]", ManagementReplyError),
        (200, '[{"modelName": "en"}]', ManagementReplyError),
        (200, json.dumps([DESCRIBED | {"minWorkers": "many"}]), ManagementReplyError),
    ],
)
def test_every_other_reply_is_an_error_of_its_own(stub, client, status, body, expected):
    stub.status, stub.body = status, body

    with pytest.raises(expected) as caught:
        client.describe("en")

    assert type(caught.value) is expected
    assert getattr(caught.value, "status", status) == status


def test_a_server_that_says_nothing_is_unreachable(stub):
    stub.speaks.clear()

    with pytest.raises(ManagementUnreachableError, match="ReadTimeout"):
        ManagementClient(stub.url, timeout_s=0.3).describe("en")


def test_after_a_silence_the_next_call_is_fresh(stub):
    client = ManagementClient(stub.url, timeout_s=1.5)
    stub.speaks.clear()
    with pytest.raises(ManagementUnreachableError):
        client.describe("en")
    stub.speaks.set()

    assert client.describe("en").num_ready == 1


def test_a_port_nobody_listens_on_is_unreachable(stub, client):
    stub.server.server_close()

    with pytest.raises(ManagementUnreachableError, match="ConnectionError"):
        client.describe("en")


def test_a_proxy_of_the_environment_is_not_asked(stub, client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert client.describe("en").name == "en"
    assert sign_of(stub.url) is not Sign.SILENCE


@pytest.mark.parametrize(
    ("status", "body", "sign"),
    [
        (200, '{"model": {}, "entities": []}', Sign.ANSWER),
        (200, '{"model": {}}', Sign.REFUSAL),
        (200, "[]", Sign.REFUSAL),
        (200, "", Sign.REFUSAL),
        (503, '{"code": 503}', Sign.REFUSAL),
        (503, '{"entities": []}', Sign.REFUSAL),
    ],
)
def test_only_a_prediction_is_an_answer(stub, status, body, sign):
    stub.status, stub.body = status, body

    assert sign_of(stub.url) is sign
    assert stub.requests[0][:2] == ("POST", "/predictions/en")


def test_a_server_that_says_nothing_is_silent(stub):
    stub.speaks.clear()

    assert sign_of(stub.url, timeout_s=0.3) is Sign.SILENCE


def test_canaries_bring_back_what_each_model_said(stub):
    stub.body = '{"entities": []}'
    canaries = Canaries(PredictionClient(stub.url), timeout_s=30)

    canaries.send("en")
    canaries.send("de")
    signs = {}
    while len(signs) < 2:
        signs |= canaries.take()

    assert signs == {"en": Sign.ANSWER, "de": Sign.ANSWER}
    assert canaries.take() == {}
