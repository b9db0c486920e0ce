"""What is costly to decode, sent to TorchServe: without a key nothing is decoded; with one, the fields are bounded.

The second needs Debian's libnetty-java, which scripts/test installs where it may.
"""

import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ops.process.java import find_java
from tests.e2e.instance import ANSWER_S, TEXT

FORM = "application/x-www-form-urlencoded"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
NUM_AT_ONCE = 8

COSTLY = {
    "form fields": {"headers": {"Content-Type": FORM}, "data": b"a=b&" * 260_000},
    "parts": {"headers": {"Content-Type": "multipart/form-data; boundary=x"}, "data": PART * 19_000 + b"--x--\r\n"},
    "query": {"params": "a=b&" * 900, "data": b"x"},
    "headers": {"headers": {f"X-{i}": "y" for i in range(600)}, "data": b"x"},
}


def answers(served):
    url = f"{served.inference}/predictions/en"
    return requests.post(url, json={"text": TEXT}, auth=served.inference_key, timeout=ANSWER_S).status_code


def java_major():
    return int(find_java(os.environ).version.split(".")[0])


def flood(url, request, **key):
    """The statuses of a few such requests at once; 0 for a connection that was closed."""

    def ask(_):
        with contextlib.suppress(requests.ConnectionError):
            return requests.post(url, **request, **key, timeout=ANSWER_S).status_code
        return 0

    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        return list(pool.map(ask, range(NUM_AT_ONCE)))


@pytest.mark.parametrize("request_", COSTLY.values(), ids=COSTLY)
def test_without_a_valid_key_nothing_costly_is_decoded(served, request_):
    java = served.java()
    wrong = {"headers": request_.get("headers", {}) | {"Authorization": "Bearer 00000000"}}

    statuses = {
        (api, status)
        for api, url in [
            ("inference", f"{served.inference}/predictions/en"),
            ("management", f"{served.management}/models"),
            ("metrics", f"{served.metrics}/metrics"),
        ]
        for status in flood(url, request_) + flood(url, request_ | wrong)
    }

    assert statuses <= {("inference", 400), ("management", 400), ("metrics", 200), ("metrics", 400)}
    assert answers(served) == 200
    assert served.java() == java


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (COSTLY["form fields"], 500),
        (COSTLY["parts"], 500),
        (COSTLY["form fields"] | {"data": "&".join(f"f{i}=b" for i in range(100))}, 415),
    ],
    ids=["form fields", "parts", "a hundred fields"],
)
def test_whoever_holds_the_key_cannot_end_the_jvm_with_fields(served, request_, status):
    java = served.java()

    statuses = [flood(f"{served.inference}/predictions/en", request_, auth=served.inference_key) for _ in range(3)]

    assert statuses == [[status] * NUM_AT_ONCE] * 3
    assert answers(served) == 200
    assert served.java() == java


def test_bodies_that_never_end_take_the_answer_from_nobody(served):
    java = served.java()
    host, _, port = served.inference.removeprefix("http://").partition(":")
    head = b"POST /predictions/en HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1040000\r\n\r\n"

    with contextlib.ExitStack() as held:

        def hold(_):
            connection = held.enter_context(socket.create_connection((host, int(port)), timeout=ANSWER_S))
            with contextlib.suppress(ConnectionError):  # there are more of them than TorchServe has memory for
                connection.sendall(head + b"x" * 1_000_000)

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(hold, range(600)))
        statuses = [answers(served) for _ in range(10)] if java_major() <= 20 else []

    assert set(statuses) <= {200}
    assert served.java() == java or java_major() > 20
    served.wait_for_workers(2)  # a later Java may be ended and started again
    assert answers(served) == 200
