"""The logs of a running nerserve: JSON a line, a request is found in both tiers by its id, and none holds a text."""

import contextlib
import itertools
import json
import socket
import time
import uuid

import grpc
import requests

from tests.e2e.instance import ANSWER_S

LOGS = ("model_log.log", "access_log.log", "ts_log.log")


def lines_of(served, name):
    """The whole lines of one log, parsed."""
    text = (served.log_dir / "logs" / name).read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def lines_with(served, name, mark):
    """Those lines that hold *mark*, once there are any: both tiers write them after the answer."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        found = [line for line in lines_of(served, name) if mark in json.dumps(line)]
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{name} has no line with {mark}")


def test_a_request_is_found_in_both_tiers_by_its_id(served):
    mark = f"test-{uuid.uuid4()}"

    reply = requests.post(
        f"{served.site}/api/predict", json={"text": "Paris"}, headers={"X-Request-Id": mark}, timeout=60
    )

    assert reply.headers["X-Request-Id"] == mark
    (batch,) = lines_with(served, "model_log.log", mark)
    (asked,) = [one for one in batch["requests"] if one["id"] == mark]
    assert (asked["status"], asked["texts"], asked["chars"]) == (200, 1, 5)
    assert [line["status"] for line in lines_with(served, "site.log", mark)] == [200]


def test_every_line_is_an_object_with_a_message_or_an_event(served):
    requests.post(
        f"{served.inference}/predictions/nobody", json={"text": "Paris"}, auth=served.inference_key, timeout=60
    )
    requests.get(f"{served.management}/models/nobody", auth=served.management_key, timeout=60)

    refused = lines_with(served, "access_log.log", "POST /predictions/nobody")
    lines = [line for name in LOGS for line in lines_of(served, name)]

    assert refused[-1]["message"].split('" ')[1].startswith("404 ")
    assert len(lines) > 10
    assert [line for line in lines if not {"message", "event"} & line.keys()] == []


def test_an_answered_prediction_is_not_logged_twice(served):
    mark = f"test-{uuid.uuid4()}"
    before = len(lines_of(served, "access_log.log"))

    requests.post(
        f"{served.inference}/predictions/en",
        json={"text": "Paris"},
        headers={"X-Request-Id": mark},
        auth=served.inference_key,
        timeout=60,
    )
    lines_with(served, "model_log.log", mark)
    requests.get(f"{served.management}/models/{mark}", auth=served.management_key, timeout=60)
    lines_with(served, "access_log.log", f"GET /models/{mark}")

    new = lines_of(served, "access_log.log")[before:]
    assert [line for line in new if "/predictions/" in line["message"]] == []


TEXT = "TEXT-0000000"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
PREDICT = "/predictions/en"
DISPOSITION = 'Content-Disposition: form-data; name="a"'


def post(path, content_type, body, **headers):
    """A request whose *path*, headers or *body* hold a text."""
    lines = [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "@KEY@", *lines, "", body])


def bare(line, *headers):
    return "\r\n".join([line, "Host: x", "@KEY@", *headers, "", ""])


def part(*lines):
    return "\r\n".join(["--x", *lines, "--x--", ""])


INFERENCE = [
    post(PREDICT, FORM, f"text={TEXT} 100%zz"),
    post(PREDICT, FORM, f"{TEXT}%zz=1"),
    post(PREDICT, FORM, f"text={TEXT}%4"),
    post(PREDICT, FORM, f"text=%zz\n\tat {TEXT}.x(y.java)\nCaused by: {TEXT}: {TEXT}"),
    post(PREDICT, f"{FORM}; charset={TEXT}", "text=a"),
    post(PREDICT, f"{TEXT}/{TEXT}; charset={TEXT}", "text=a"),
    post(PREDICT, MULTIPART, f'--x\r\nContent-Disposition: form-data; name="{TEXT}"\r\n\r\n{TEXT}'),
    post(PREDICT, MULTIPART, part(DISPOSITION, f"Content-Type: text/plain; charset={TEXT}", "", TEXT)),
    post(PREDICT, MULTIPART, part(f"Content-Disposition: {TEXT}", "", TEXT)),
    post(PREDICT, MULTIPART, part(f'{DISPOSITION}; filename="{TEXT}%zz"', f"Content-Length: {TEXT}", "", TEXT)),
    post(PREDICT, MULTIPART, part(f"{DISPOSITION}; filename*=UTF-8''{TEXT}%zz", "", TEXT)),
    post(PREDICT, MULTIPART, part(DISPOSITION, f"Content-Transfer-Encoding: {TEXT}", "", TEXT)),
    post(PREDICT, "multipart/form-data", TEXT),
    post(PREDICT, "text/plain; charset=utf-8", f"{TEXT}\xff\xfe"),
    post(PREDICT, "application/json", f'{{"text": "{TEXT}'),
    post(PREDICT, "application/json", f'{{"{TEXT}": 1}}'),
    post(PREDICT, f"application/json; charset={TEXT}", '{"text": "a"}'),
    post(PREDICT, "text/plain", TEXT, Content_Encoding="gzip"),
    post(PREDICT, "text/plain", TEXT, describe="True"),
    post(f"{PREDICT}?data={TEXT}%zz", "text/plain", "x"),
    post(f"{PREDICT}?data=a {TEXT} b", "text/plain", "x"),
    post(f"{PREDICT}?data=a\x0b{TEXT}\xa0{TEXT}\x85b", "text/plain", "x"),
    post(f"{PREDICT};data={TEXT}%zz", "text/plain", "x"),
    post(f"{PREDICT}#{TEXT}", "text/plain", "x"),
    post(f"{PREDICT}/{TEXT}%zz", "text/plain", "x"),
    post(f"{PREDICT}/%20{TEXT}", "text/plain", "x"),
    post(f"{PREDICT}/1.0/{TEXT}", "text/plain", "x"),
    post(f"/explanations/en?{TEXT}", FORM, f"data={TEXT}%zz"),
    post(f"/v1/models/en:predict%zz{TEXT}", "application/json", "{}"),
    post("/v1/models/en:predict", FORM, f"instances={TEXT}%zz"),
    post("/v1/models/en:predict", "application/json", f'{{"instances": ["{TEXT}'),
    post("/v2/models/en/infer", "application/json", f'{{"inputs": ["{TEXT}'),
    post(f"/v2/models/en/infer?{TEXT}%zz", "application/json", f'{{"inputs": "{TEXT}"}}'),
    post("/wfpredict/x", FORM, f"a={TEXT}%zz"),
    post("/wfpredict/x", "text/plain", TEXT),
    post(f"/invocations?data={TEXT}", FORM, f"data={TEXT}%zz"),
    bare(f"{TEXT} {PREDICT} HTTP/1.1", "Content-Length: 0"),
    bare(f"POST {PREDICT} {TEXT}/1.1", "Content-Length: 0"),
    bare(f"{TEXT} {TEXT} {TEXT} {TEXT}"),
    bare(f"POST {PREDICT} HTTP/1.1", f"A {TEXT}: x", "Content-Length: 0"),
    bare(f"POST {PREDICT} HTTP/1.1", f"X-Text: {TEXT}\0", "Content-Length: 0"),
    bare(f"POST {PREDICT} HTTP/1.1", f"Content-Length: {TEXT}"),
    bare(f"POST {PREDICT} HTTP/1.1", f"Expect: {TEXT}", "Content-Length: 0"),
    bare(f"POST {PREDICT} HTTP/1.1", "Transfer-Encoding: chunked") + f"{TEXT}\r\nabc\r\n0\r\n\r\n",
    bare(f"POST {PREDICT}?{TEXT}{'x' * 9_000} HTTP/1.1", "Content-Length: 0"),
]
MANAGEMENT = [
    bare(f"POST /models?url={TEXT}%zz HTTP/1.1", "Content-Length: 0"),
    bare(f"POST /models?url=x{TEXT} HTTP/1.1", "Content-Length: 0"),
    bare(f"PUT /models/nobody?min_worker={TEXT} HTTP/1.1", "Content-Length: 0"),
    bare(f"DELETE /models/en/{TEXT}%zz HTTP/1.1", "Content-Length: 0"),
    bare(f"GET /models?limit={TEXT} HTTP/1.1"),
    post("/models", "application/json", f'{{"url": "{TEXT}'),
    post("/models", "application/json", f'{{"url": "x.mar", "batch_size": "{TEXT}"}}'),
    post("/models", FORM, f"url={TEXT}%zz"),
    post(f"/workflows?url={TEXT}", "text/plain", TEXT),
    post(PREDICT, FORM, f"text={TEXT}%zz"),
]
METRICS = [bare(f"GET /metrics?name[]={TEXT}%zz HTTP/1.1"), post("/metrics", FORM, f"{TEXT}%zz")]
SITE = [
    post("/predict", FORM, f"text={TEXT}%zz"),
    post("/predict", MULTIPART, part(f"Content-Disposition: {TEXT}", "", TEXT)),
    post("/api/predict", "application/json", f'{{"text": "{TEXT}'),
    post(f"/api/predict?threshold={TEXT}%zz", "text/plain", TEXT),
    post(f"/api/predict/a%20{TEXT}", "text/plain", TEXT),
    bare(f"{TEXT} /api/predict HTTP/1.1", "Content-Length: 0"),
    bare("POST /api/predict HTTP/1.1", f"X-Request-Timeout: {TEXT}", "Content-Length: 0"),
]
GRPC = [
    ("Predictions", TEXT.encode()),
    ("Predictions", b"\x0a\x0d\xff" + TEXT.encode()),  # a model's name that is not UTF-8
    ("Predictions", b"\x0a\x02en\x1a\x13\x0a\x0d\xff" + TEXT.encode() + b"\x12\x02{}"),  # nor an input's
    ("Predictions", b"\x0a\x02en\x1a\x14\x0a\x04data\x12\x0c" + TEXT.encode()),
    ("Ping", TEXT.encode()),
]


def send(url, request, key):
    """Send *request* as it is; the answer, if there is one, is not what this is about."""
    host, _, port = url.removeprefix("http://").partition(":")
    request = request.replace("@KEY@", f"Authorization: Bearer {key.text}" if key else "X: x")
    with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
        connection.sendall(request.encode("latin-1"))
        with contextlib.suppress(ConnectionError):
            assert connection.recv(65_536)


def test_no_text_is_in_any_log_whatever_is_wrong_with_its_request(served):
    numbers = itertools.count(1)
    sent = {}
    for url, key, table in [
        (served.inference, served.inference_key, INFERENCE),
        (served.management, served.management_key, MANAGEMENT),
        (served.metrics, None, METRICS),
        (served.site, None, SITE),
    ]:
        for request in table:
            text = f"TEXT-{next(numbers):07}"
            sent[text] = request
            send(url, request.replace(TEXT, text), key)
    with grpc.insecure_channel(served.grpc) as channel:
        for method, content in GRPC:
            text = f"TEXT-{next(numbers):07}"
            sent[text] = (method, content)
            call = channel.unary_unary(f"/org.pytorch.serve.grpc.inference.InferenceAPIsService/{method}")
            with contextlib.suppress(grpc.RpcError):
                metadata = [("authorization", f"Bearer {served.inference_key.text}")]
                call(content.replace(TEXT.encode(), text.encode()), metadata=metadata, timeout=ANSWER_S)
    end = f"end-{uuid.uuid4()}"
    requests.get(f"{served.management}/models/{end}", auth=served.management_key, timeout=ANSWER_S)
    lines_with(served, "access_log.log", end)
    requests.post(f"{served.site}/api/predict", json={"text": "Paris"}, headers={"X-Request-Id": end}, timeout=ANSWER_S)
    lines_with(served, "model_log.log", end)
    lines_with(served, "site.log", end)

    logs = {path.name: path.read_text().lower() for path in (served.log_dir / "logs").iterdir()}

    assert '"logger":"httprequesthandler"' in logs["ts_log.log"]
    leaks = [(name, request) for name, log in logs.items() for text, request in sent.items() if text.lower() in log]
    assert leaks == []
    assert "text-00000" not in "".join(logs.values())
