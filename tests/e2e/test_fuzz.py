"""Hostile requests over raw sockets to both ports: nothing dies, nothing fails that may not, nobody else notices.

``NERSERVE_FUZZ_REQUESTS`` sets how many are sent, ``NERSERVE_FUZZ_SEED`` which; they are the same each time.
"""

import contextlib
import gzip
import json
import os
import re
import socket
import threading
import zlib
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from contract.errors import documented

NUM_REQUESTS = int(os.environ.get("NERSERVE_FUZZ_REQUESTS", "400"))
SEED = int(os.environ.get("NERSERVE_FUZZ_SEED", "0"))
ANSWER_S = 120
LIMIT = 100_000
DEEP = 3_000  # above what Python's parser of JSON descends; and cheap to tag, where it is taken for plain text


class Attack(NamedTuple):
    """One request as bytes, and what may come of it.

    Attributes:
        tier: ``"site"`` or ``"inference"``.
        sent: All of it.
        method: What was put into the first line.
        is_whole: Whether it is one complete request by its own account, so that an answer is owed.
        is_form: Whether TorchServe reads the body itself, as a form, and may fail at it: docs/api.md.
        is_odd: Whether TorchServe may fail at its target, or any server refuse its framing with a 501.
        is_late: Whether it names a deadline.
    """

    tier: str
    sent: bytes
    method: str
    is_whole: bool
    is_form: bool
    is_odd: bool
    is_late: bool

    def __repr__(self):
        return f"{self.tier}: {self.sent[:600]!r} ({len(self.sent)} bytes)"


METHODS = ["POST"] * 60 + ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "post", "A" * 30]
TARGETS = {
    "site": ["/api/predict"] * 40
    + [
        "/predict",
        "/",
        "/livez",
        "/openapi.json",
        "/docs",
        "/api/predict?labels=PER,ORG&offsets=utf16",
        "/api/predict?",
    ]
    + [
        "/api/predict?threshold=NaN",
        "/api/predict?model=%00",
        "/api/predict?labels=&labels=",
        "/static/../app.py",
        "/%",
    ]
    + [
        "/api/predict/",
        "//",
        "*",
        "http://else.where/api/predict",
        "/api/predict?x=" + "y" * 5_000,
        "/static/%2e%2e/x",
    ],
    "inference": ["/predictions/en"] * 40
    + ["/predictions/en/1.0", "/explanations/en", "/v1/models/en:predict", "/v1/models/en:explain"]
    + ["/v2/models/en/infer", "/v2/models/en/explain", "/predictions/nobody", "/predictions/en/9", "/predictions", "/"]
    + [
        "/predictions/en?x=1",
        "/predictions/%65n",
        "/predictions/en%",
        "/predictions/en/1.0/a/b",
        "/ping",
        "*",
        "//",
        "x",
    ]
    + ["/predictions/en?" + "y" * 5_000, "/invocations", "/models/en/invoke", "/en/predict", "/v2/health/live", "/%00"],
}
FORMS = ["multipart/form-data; boundary=x", "multipart/form-data", "application/x-www-form-urlencoded"]
CONTENT_TYPES = [
    *["application/json", "text/plain"] * 4,
    *[
        "application/json; charset=utf-16",
        "text/plain; charset=latin-1",
        'application/json;charset="utf-8"',
        "text/html",
    ],
    *["application/x-ndjson", "Application/JSON", "", "/", ";", "text", "application/json, text/plain", "a" * 3_000],
    *["text/plain; charset=", "text/plain; \xe9\xff", "multipart/mixed; boundary=x", *FORMS],
]
HEADERS = [
    *["describe: True", "explain: True", "explain: False", "Describe: true", "url_path: /etc/passwd"],
    *["ts_request_sequence_id: 1", "ts_request_sequence_start: true", "ts_stream_next: true", "X-A: \xe9\xff"],
    *["X-Request-Id: a b", "X-Request-Id: " + "x" * 129, "X-Request-Id: \xff", "X-Request-Id: ok-1", "X-Request-Id:"],
    *["X-Request-Timeout: NaN", "X-Request-Timeout: 0", "X-Request-Timeout: -1", "X-Request-Timeout: 1e400"],
    *["X-Request-Timeout: 1e-9", "X-Request-Timeout: 20", "X-Request-Deadline: 0", "X-Request-Deadline: NaN"],
    *[
        "X-Request-Deadline: 99999999999",
        "X-Request-Deadline: x",
        "Content-Encoding: gzip",
        "Content-Encoding: identity",
    ],
    *["Content-Encoding: br, gzip", "Accept: image/png", "Accept-Encoding: gzip", "Connection: close"],
    *["Connection: keep-alive, Upgrade", "Upgrade: h2c", "Cookie: a=b", "Authorization: Bearer x", "Range: bytes=0-1"],
    *["Content-Type: application/json", "X-Forwarded-For: 1.2.3.4", "X-HTTP-Method-Override: DELETE", "Content-Md5: x"],
]

texts = st.text(
    st.one_of(st.characters(), st.sampled_from('Obama in New York.\n\t\x00\u200d\u0301\ud800\udfff😀日本\u2028"\\')),
    max_size=80,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.integers(10**30, 10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from(
    ["text", "texts", "model", "labels", "threshold", "offsets", "instances", "inputs", "parameters", "id", "outputs"]
)
options = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.lists(st.sampled_from(["PER", "ORG", "", "X"]), max_size=3) | anything,
        "threshold": st.floats(-1, 2) | anything,
        "offsets": st.sampled_from(["codepoint", "utf16", "utf8", "utf32"]) | anything,
        "model": st.sampled_from(["en", "fr", ""]) | anything,
    },
)
tensors = st.fixed_dictionaries(
    {
        "name": texts | anything,
        "shape": st.lists(st.integers(-1, 2**65), max_size=3) | anything,
        "datatype": st.sampled_from(["BYTES", "FP32"]) | anything,
        "data": st.lists(texts | st.lists(texts, max_size=2) | anything, max_size=4),
    }
)
documents = st.one_of(
    st.builds(lambda text, more: {"text": text} | more, texts | anything, options),
    st.builds(lambda texts, more: {"texts": texts} | more, st.lists(texts | anything, max_size=5), options),
    st.builds(lambda texts, more: {"instances": texts} | more, st.lists(texts | anything, max_size=5), options),
    st.builds(lambda inputs, more: {"inputs": inputs, "parameters": more}, st.lists(tensors, max_size=2), options),
    st.dictionaries(keys | texts, anything, max_size=4),
    anything,
)
written = st.builds(
    lambda document, is_ascii: json.dumps(document, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass"),
    documents,
    st.booleans(),
)
monsters = st.sampled_from(
    [
        b"",
        b"[" * DEEP,
        b'{"text":' * DEEP,
        b'{"text": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"text": "a", "text": "b"}',
        b'{"text": "a", "threshold": NaN}',
        b'{"text": "a", "threshold": 1e999}',
        b'{"text": ' + b"9" * 10_000 + b"}",
        b'{"text": "\\ud800"}',
        b'{"text": "\xed\xa0\x80"}',
        b'{"text": "a\x00b"}',
        b'\xef\xbb\xbf{"text": "a"}',
        '{"text": "a"}'.encode("utf-16"),
        b'{"text": "a"} {"text": "b"}',
        b'{"texts": [' + b",".join([b'"a"'] * 257) + b"]}",
        b'{"texts": [' + b",".join([b"1"] * 256) + b"]}",
        b'{"text": "' + b"a" * (LIMIT + 1) + b'"}',
        b"a" * (LIMIT + 1),
        b"x" * 1_048_577,
        b"x" * 1_300_000,
        b"--x\r\nContent-Disposition: form-data\r\n\r\nhi\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nhi\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="json"; filename="a"\r\n\r\n{"text": 1}\r\n--x--\r\n',
        b"text=a&text=b&json=%7B",
        b"a=%zz",
        b"=",
        gzip.compress(b'{"text": "a"}'),
        zlib.compress(b'{"text": "a"}'),
        gzip.compress(b"0" * 5_000_000),
        b'{"text": "a"}\n' * 50,
        b'{"text": "a", "id": {"deep": [[[]]]}}\n{"line": 1}\n\n\xff\n{"text": "b"}',
        b"\n" * 5_000,
    ]
)


@st.composite
def mangled(draw):
    """A written document with a piece cut out, put in or changed."""
    body = bytearray(draw(written))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


@st.composite
def attacks(draw):
    tier = draw(st.sampled_from(["site", "inference"]))
    method = draw(st.sampled_from(METHODS))
    target = draw(st.sampled_from(TARGETS[tier]))
    content_types = draw(st.lists(st.sampled_from(CONTENT_TYPES), min_size=1, max_size=1) | st.just([]))
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=3))
    body = draw(st.one_of(written, written, mangled(), monsters, monsters, st.binary(max_size=200)))
    framing, framed, is_whole = draw(framings(body))
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *(f"Content-Type: {one}" for one in content_types)]
    head = "\r\n".join([*lines, *headers, *framing, "", ""])
    return Attack(
        tier=tier,
        sent=head.encode("latin-1") + framed,
        method=method,
        is_whole=is_whole,
        is_form=any("form" in one for one in content_types),
        is_odd=not target.startswith("/") or "Transfer-Encoding: x" in framing,
        is_late=any(line.startswith(("X-Request-Timeout", "X-Request-Deadline")) for line in headers),
    )


BROKEN_FRAMINGS = [
    (["Content-Length: 5", "Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
    (["Content-Length: 5", "Content-Length: 6"], b"hello"),
    (["Content-Length: -1"], b"hello"),
    (["Content-Length: x"], b"hello"),
    (["Transfer-Encoding: chunked"], b"zz\r\nhello\r\n0\r\n\r\n"),
    (["Transfer-Encoding: x"], b"hello"),
    ([], b"hello"),
]


@st.composite
def framings(draw, body):
    """(headers, the bytes that follow them, whether that is one complete request) for *body*."""
    kind = draw(st.sampled_from(["exact"] * 12 + ["chunked"] * 4 + ["cut", "long", "broken", "broken"]))
    if kind == "exact":
        return [f"Content-Length: {len(body)}"], body, True
    if kind == "chunked":
        at = draw(st.integers(0, len(body)))
        pieces = [piece for piece in (body[:at], body[at:]) if piece]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        return ["Transfer-Encoding: chunked"], chunks + b"0\r\n\r\n", True
    if kind == "broken":
        return (*draw(st.sampled_from(BROKEN_FRAMINGS)), False)
    difference = draw(st.integers(1, 10**6)) if kind == "cut" else -draw(st.integers(0, len(body)))
    return [f"Content-Length: {len(body) + difference}"], body, False


def send(url, attack, key):
    """(status, body) of the first answer, None when the server hangs up without one; *key* is a header."""
    parts = urlsplit(url)
    first, _, others = attack.sent.partition(b"\r\n")
    sent = first + b"\r\n" + "".join(f"{name}: {value}\r\n" for name, value in key.items()).encode() + others
    with socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_S) as connection:
        with contextlib.suppress(OSError):  # it answers before it has read everything, and hangs up
            connection.sendall(sent)
            if not attack.is_whole:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError), connection.makefile("rb") as reader:
            return read_answer(reader, attack.method)
    return None


def read_answer(reader, method):
    status = 100
    while 100 <= status < 200:
        first = reader.readline()
        if not first:
            return None
        status = int(re.match(rb"HTTP/1\.[01] (\d{3})", first)[1])
        headers = {}
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip().lower()
    if method == "HEAD" or status in {204, 304}:
        return status, b""
    if headers.get(b"transfer-encoding") == b"chunked":
        return status, b"".join(read_chunks(reader))
    length = headers.get(b"content-length")
    return status, reader.read(-1 if length is None else int(length))


def read_chunks(reader):
    while size := int(reader.readline() or b"0", 16):
        yield reader.read(size)
        reader.readline()


DOCUMENTED = {tier: {(one.status, one.code) for one in documented(tier)} for tier in ("site", "inference")}
DOCUMENTED["site"] |= {(status, "malformed_request") for status in (414, 417, 431, 501)}


def problem(attack, answer):
    """What is wrong with *answer*, empty if nothing is."""
    if answer is None:
        return "no answer" if attack.is_whole else ""
    status, body = answer
    code, kind = read_error(body)
    if status >= 500:
        if code in {"model_timeout", "deadline_exceeded"} or (status == 504 and attack.method == "HEAD"):
            return "" if attack.is_late else "too late without a deadline"
        if status == 501 and attack.is_odd:
            return ""  # what RFC 9112 asks of a server that does not know a transfer coding
        kind = kind or ("not to be seen" if attack.method == "HEAD" else "")
        is_of_torchserve = attack.tier == "inference" and kind not in {"", "InternalServerException"}
        return "" if is_of_torchserve and (attack.is_form or attack.is_odd) else "a failure of the server"
    if status >= 400 and code and (status, code) not in DOCUMENTED[attack.tier]:
        return "a failure that no document has"
    return ""


def read_error(body):
    """(our code, TorchServe's type) in *body*, each empty when it has none."""
    try:
        document = json.loads(body)
    except ValueError:
        return "", ""
    if not isinstance(document, dict):
        return "", ""
    error = document.get("error", "")
    if isinstance(error, dict):
        return error.get("code", ""), ""
    return str(error).partition(":")[0], document.get("type", "")


class Neighbour(threading.Thread):
    """Asks good questions all the time and compares each answer, to the byte, with the one before all this."""

    def __init__(self, url, key, document):
        super().__init__()
        # A new connection each time: a kept one may be closed, after 5 idle seconds, just as it is used again.
        self._ask = lambda: requests.post(url, json=document, auth=key, timeout=ANSWER_S)
        self._end = threading.Event()
        self.expected = self._ask().content
        self.num_answers = 0
        self.wrong = []

    def run(self):
        while not self._end.wait(0.02):
            try:
                reply = self._ask()
            except requests.RequestException as error:
                self.wrong.append(repr(error))
                continue
            self.num_answers += 1
            if reply.content != self.expected:
                self.wrong.append(f"{reply.status_code} {reply.content[:200]}")

    def end(self):
        self._end.set()
        self.join()


@pytest.fixture
def neighbours(served):
    question = {"texts": ["Barack Obama was born in Hawaii.", "", "😀 Kofi Annan"], "offsets": "utf16"}
    urls = (f"{served.site}/api/predict", f"{served.inference}/predictions/en")
    found = [Neighbour(url, served.inference_key, question) for url in urls]
    for one in found:
        one.start()
    yield found
    for one in found:
        one.end()


def processes(served):
    """The JVM, its workers, and the site's processes."""
    port = urlsplit(served.site).port
    site = {
        one.pid for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    }
    return {served.java().pid, *site, *(worker.pid for worker in served.workers())}


@pytest.mark.timeout(900 + NUM_REQUESTS)
def test_hostile_requests_break_nothing_and_nobody_else_notices(served, neighbours):
    before = processes(served)
    urls = {"site": served.site, "inference": served.inference}
    statuses = {"site": {}, "inference": {}}

    @settings(
        max_examples=NUM_REQUESTS,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @seed(SEED)
    @given(attacks())
    def attack_once(attack):
        answer = send(urls[attack.tier], attack, served.inference_key.headers)
        status = answer and answer[0]
        statuses[attack.tier][status] = statuses[attack.tier].get(status, 0) + 1
        assert problem(attack, answer) == "", (attack, answer)

    attack_once()

    for one in neighbours:
        one.end()
        assert one.wrong == []
        assert one.num_answers > NUM_REQUESTS / 50
    assert processes(served) == before
    print(statuses)  # noqa: T201  (shown by pytest -s)
    for found in statuses.values():
        usual = {200, 400, 415} | ({404, 413} if NUM_REQUESTS >= 2_500 else set())
        assert usual <= found.keys(), f"the attacks are too tame: {statuses}"
    assert sum(sum(found.values()) for found in statuses.values()) >= NUM_REQUESTS
