"""Every failure in the documents is one that the servers send: its status, code, exact message and Retry-After.

``CASES`` says how each is provoked; a documented failure that is not in it fails the test.
"""

import contextlib
import html
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import methodcaller
from urllib.parse import urlsplit

import pytest
import requests

from contract.errors import DeadlineExceededError, OverloadedError, documented
from tests.e2e.instance import ANSWER_S, MODEL_CONFIG, Up, write_archive
from web.config import WebConfig
from web.reference import openapi

TIERS = ("site", "inference")
PATHS = {"site": "/api/predict", "inference": "/predictions/en"}
DOCUMENTS = {"site": "/openapi.json", "inference": "/openapi-inference.json"}
JSON_ONLY = "application/json"
IMPATIENT = {"NERSERVE_TIMEOUT_S": "3"}

FAULTY_SITE = """
from web.app import create_app

app = create_app()


@app.get("/api/faulty")
def faulty():
    raise ZeroDivisionError
"""


class Answer:
    """What came over a bare socket, as far as ``requests`` shows it of others."""

    def __init__(self, received):
        head, _, self.text = received.decode().partition("\r\n\r\n")
        self.status_code = int(head.split()[1])
        self.headers = requests.structures.CaseInsensitiveDict(re.findall(r"^([\w-]+): (.*?)\r?$", head, re.MULTILINE))

    def json(self):
        return json.loads(self.text)


def talk(url, *lines, body=b""):
    """The answer to an HTTP request of *lines* and *body*, which need not be a right one."""
    parts = urlsplit(url)
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_S) as connection:
        connection.sendall("\r\n".join([*lines, "Host: x", "", ""]).encode() + body)
        with contextlib.suppress(ConnectionResetError):  # TorchServe's way to close a connection after an error
            while chunk := connection.recv(65536):
                received += chunk
    return Answer(received)


def ask(url, **request_):
    return requests.post(url, **{"json": {"text": "Oslo"}} | request_, timeout=ANSWER_S)


def ask_with_key(served, url, **request_):
    """The same with the inference key of *served*, which the site does not need."""
    return ask(url, auth=served.inference_key, **request_)


class Stage:
    """The fixtures of a test by name, each made when a case first wants it."""

    def __init__(self, request):
        self._request = request

    def __getattr__(self, name):
        return self._request.getfixturevalue(name)


@pytest.fixture
def stage(request):
    return Stage(request)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A nerserve with a handler of a few lines, whose worker is ended when it takes 8 seconds for an answer."""
    up = Up(tmp_path_factory.mktemp("tiny"))
    model_config = MODEL_CONFIG.replace("responseTimeout: 20", "responseTimeout: 8")
    write_archive(up.model_store / "en.mar", name="en", model_config=model_config)
    try:
        yield up.start().wait_until_ready()
    finally:
        up.end()


# Each of these returns the address of a site, which describes both tiers, and an answer. All is well with this one:


def asked(tier, path, stage, **request_):
    return stage.served.site, ask_with_key(stage.served, getattr(stage.served, tier) + path, **request_)


def empty_text(stage):
    site, answer = asked("site", "/predict", stage, data={"text": " \n"}, json=None)
    give_up_s = time.monotonic() + ANSWER_S
    while 'nerserve_errors_total{code="empty_text"}' not in requests.get(f"{site}/metrics", timeout=ANSWER_S).text:
        assert time.monotonic() < give_up_s  # it is counted when the answer is on its way
        time.sleep(0.1)
    return site, answer


def method_not_allowed(stage):
    answer = requests.get(f"{stage.served.site}/api/predict", timeout=ANSWER_S)
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    return stage.served.site, answer


def broken_http(path, length, stage):
    return stage.served.site, talk(stage.served.inference, f"POST {path} HTTP/1.1", f"Content-Length: {length}")


# A site that is full, impatient, wrong, or without a good model:


def too_many_requests(stage):
    read_request, good_reply = stage.read_request, stage.good_reply
    has_come, go_on = threading.Event(), threading.Event()

    def play(connection, n):
        read_request(connection)
        has_come.set()
        go_on.wait(ANSWER_S)
        connection.sendall(good_reply)

    room = {"NERSERVE_MAX_IN_FLIGHT": "1", "NERSERVE_MAX_QUEUE": "0", "NERSERVE_TIMEOUT_S": str(ANSWER_S)}
    site = stage.start_site(stage.raw_upstream(play), **room).url
    first = threading.Thread(target=ask, args=(f"{site}/api/predict",))
    first.start()
    assert has_come.wait(ANSWER_S)
    second = ask(f"{site}/api/predict")
    go_on.set()
    first.join()
    return site, second


def request_timeout(stage):
    site = stage.start_site(stage.dead_url, NERSERVE_CLIENT_TIMEOUT_S="0.5").url
    headers = ("Content-Type: text/plain", "Content-Length: 9")
    return site, talk(site, "POST /api/predict HTTP/1.1", *headers, body=b"Oslo")


def internal_error(stage):
    folder = stage.tmp_path
    (folder / "faulty_site.py").write_text(FAULTY_SITE, "utf-8")
    site = stage.start_site(stage.dead_url, app="faulty_site:app", PYTHONPATH=str(folder)).url
    return site, requests.get(f"{site}/api/faulty", timeout=ANSWER_S)


def behind_a_site(status, body, stage):
    stage.upstream.answer(status, body)
    site = stage.start_site(stage.upstream.url, **IMPATIENT).url
    return site, ask(f"{site}/api/predict")


def model_unavailable(stage):
    site = stage.start_site(stage.dead_url, **IMPATIENT).url
    return site, ask(f"{site}/api/predict")


def model_timeout(stage):
    site = stage.start_site(stage.raw_upstream(stage.silent), **IMPATIENT).url
    return site, ask(f"{site}/api/predict")


# A worker that is too late, or has too much to do; and what TorchServe says by itself:


def deadline_exceeded(stage):
    return asked("inference", "/predictions/en", stage, headers={"X-Request-Deadline": f"{time.time() - 1}"})


def overloaded(stage):
    """Texts to be explained, each as much as 100,000 characters, come together while both workers have a long text."""
    inference, key = stage.served.inference, stage.served.inference_key
    answers = []

    def explain():
        answers.append(ask(f"{inference}/explanations/en", auth=key, json={"text": "a " * 1_000}))

    for _ in range(20):  # until enough of them are in one batch
        text = "Nothing was found here. " * 4_000
        long = partial(ask, f"{inference}/predictions/en", auth=key, json={"text": text})
        threads = [threading.Thread(target=target) for target in [long] * 2 + [explain] * 16]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if refused := [answer for answer in answers if answer.status_code != 200]:
            assert len(refused) < len(answers)
            return stage.served.site, refused[0]
    return pytest.fail("no batch had enough of them")


def too_slow(stage):
    """What TorchServe says of a request that takes longer than it waits for a worker, which it ends."""
    return stage.tiny.site, answer_of_busy(stage.tiny)


def worker_died(stage):
    """What TorchServe says of a request whose worker is killed, where it knows how that ended before it answers.

    Where it does not, it says 500.
    """
    for _ in range(10):
        answer = answer_of_busy(stage.tiny, methodcaller("kill"))
        if answer.status_code != 500:
            break
    return stage.tiny.site, answer


def answer_of_busy(up, do=lambda _worker: None):
    """The answer to a request that keeps a worker busy; *do* is done to the worker meanwhile."""
    up.wait_until(up.model_answers)
    up.asleep.unlink(missing_ok=True)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(up.predict, "sleep 60")
        up.wait_until(up.asleep.exists)
        do(up.worker)
        return answer.result()


def no_worker(stage):
    up = stage.tiny
    up.wait_until(up.model_answers)
    numbers = "/models/en?synchronous=true&min_worker={0}&max_worker={0}".format
    requests.put(up.management + numbers(0), auth=up.management_key, timeout=ANSWER_S).raise_for_status()
    answer = up.predict()
    requests.put(up.management + numbers(1), auth=up.management_key, timeout=ANSWER_S).raise_for_status()
    return up.site, answer


#: What both tiers refuse by themselves.
REFUSED = {
    "malformed_request": {"json": {"text": 1}},
    "text_too_long": {"json": {"text": "x" * 100_001}},
    "request_too_large": {"json": {"texts": [""] * 257}},
    "unsupported_media_type": {"data": b"", "headers": {"Content-Type": "text/plain", "Content-Encoding": "gzip"}},
    "invalid_option": {"json": {"text": "x", "threshold": 2}},
}
BROKEN_FORM = {"data": "=x", "headers": {"Content-Type": "application/x-www-form-urlencoded"}, "json": None}

CASES = {
    **{
        (tier, code): partial(asked, tier, PATHS[tier], **request_)
        for tier in TIERS
        for code, request_ in REFUSED.items()
    },
    ("site", "empty_text"): empty_text,
    ("site", "unknown_model"): partial(asked, "site", "/api/predict", json={"text": "Oslo", "model": "fr"}),
    ("site", "not_found"): partial(asked, "site", "/api/nowhere"),
    ("site", "method_not_allowed"): method_not_allowed,
    ("site", "misdirected_request"): partial(asked, "site", "/api/predict", headers={"Host": "ner.example.org"}),
    ("site", "request_timeout"): request_timeout,
    ("site", "too_many_requests"): too_many_requests,
    ("site", "internal_error"): internal_error,
    ("site", "bad_model_reply"): partial(behind_a_site, 200, b"<html>"),
    ("site", "model_unavailable"): model_unavailable,
    ("site", "model_timeout"): model_timeout,
    **{  # with what a worker says, which is the case of the inference port
        ("site", error.code): partial(behind_a_site, error.status, error(error.example).to_json())
        for error in (OverloadedError, DeadlineExceededError)
    },
    ("inference", "overloaded"): overloaded,
    ("inference", "deadline_exceeded"): deadline_exceeded,
    ("inference", "400 BadRequestException"): partial(broken_http, "/predictions/en", "x"),
    ("inference", "403 IllegalArgumentException"): partial(broken_http, "/predictions/en%", "0"),
    ("inference", "404 ModelNotFoundException"): partial(asked, "inference", "/predictions/fr"),
    ("inference", "404 ModelVersionNotFoundException"): partial(asked, "inference", "/predictions/en/9"),
    ("inference", "500 ErrorDataDecoderException"): partial(asked, "inference", "/predictions/en", **BROKEN_FORM),
    ("inference", "500 InternalServerException"): too_slow,
    ("inference", "503 ServiceUnavailableException"): no_worker,
    ("inference", "507 InternalServerException"): worker_died,
}


def failures_in(document):
    """The body of each failure that *document* shows, by our code, or TorchServe's status and type."""
    return {
        f"{example['value']['code']} {name}" if "type" in example["value"] else name: example["value"]
        for response in document["components"]["responses"].values()
        for name, example in response["content"][JSON_ONLY]["examples"].items()
    }


def documented_failures():
    """(tier, name) of all that the contract lists or a document shows."""
    shown = {(tier, name) for tier in TIERS for name in failures_in(openapi.document(tier, WebConfig()))}
    return sorted(shown | {(tier, error.code) for tier in TIERS for error in documented(tier)})


def alert_on(page):
    (message,) = re.findall(r'role="alert"[^>]*>([^<]*)</', page)
    return html.unescape(message)


@pytest.mark.parametrize(("tier", "name"), documented_failures())
def test_a_documented_failure_is_what_the_server_sends(stage, tier, name):
    error = next((error for error in documented(tier) if error.code == name), None)

    site, answer = CASES[tier, name](stage)

    expected = failures_in(requests.get(site + DOCUMENTS[tier], timeout=ANSWER_S).json())[name]
    assert answer.status_code == (error.status if error else expected["code"]), answer.text
    if name == "empty_text":
        assert alert_on(answer.text) == expected["error"]["message"]
    else:
        assert answer.headers["Content-Type"] == JSON_ONLY
        assert answer.json() == expected
    assert answer.headers.get("Retry-After") == (str(error.retry_after_s) if error and error.retry_after_s else None)


def test_there_is_no_case_of_what_is_not_documented():
    assert sorted(CASES) == documented_failures()


def errors_in(value):
    """(code, message) of every error within *value*, also within strings that are lines of JSON."""
    match value:
        case {"code": str(code), "message": str(message)}:
            yield code, message
        case dict():
            for one in value.values():
                yield from errors_in(one)
        case list():
            for one in value:
                yield from errors_in(one)
        case str() if value.startswith("{"):
            for line in value.splitlines():
                yield from errors_in(json.loads(line))


@pytest.mark.parametrize("tier", TIERS)
def test_an_error_in_another_example_is_what_the_server_sends(served, start_site, dead_url, tier):
    document = requests.get(served.site + DOCUMENTS[tier], timeout=ANSWER_S).json()
    del document["components"]["responses"]

    sent = set(
        errors_in(ask_with_key(served, getattr(served, tier) + PATHS[tier], json={"texts": ["Oslo", "", 42]}).json())
    )
    if tier == "site":
        body = document["paths"]["/api/predict"]["post"]["requestBody"]["content"]["application/x-ndjson"]["example"]
        ndjson = {"data": body, "headers": {"Content-Type": "application/x-ndjson"}, "json": None}
        sent |= set(errors_in(ask(f"{served.site}/api/predict", **ndjson).text))
        sent |= set(errors_in(requests.get(f"{start_site(dead_url).url}/readyz", timeout=ANSWER_S).json()))

    assert set(errors_in(document)) == sent


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, ["nonsense"]),
        (414, [f"GET /{'x' * 10_000} HTTP/1.1"]),
        (417, ["POST /api/predict HTTP/1.1", "Expect: the-impossible"]),
        (431, ["GET / HTTP/1.1", f"A: {'x' * 20_000}"]),
        (501, ["POST /api/predict HTTP/1.1", "Transfer-Encoding: x"]),
    ],
)
def test_what_is_no_http_for_the_site_gets_a_status_that_the_page_names(served, status, lines):
    answer = talk(served.site, *lines)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "malformed_request")
    assert re.search(rf"gets [0-9, or]*\b{status}\b", requests.get(f"{served.site}/docs", timeout=ANSWER_S).text)
