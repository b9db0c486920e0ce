"""NDJSON through the site: in the test client where the lines matter, under gunicorn where sockets do."""

import json
import re
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

from web.stream.lines import MAX_GROUP_LINES
from web.stream.response import MAX_FAILED_GROUPS, NUM_SENDERS
from web.upstream.breaker import THRESHOLD

MODEL = {"name": "en", "version": "1.0", "digest": "sha256:" + "0" * 64}
NDJSON = {"Content-Type": "application/x-ndjson"}
PHRASE = "Attack at dawn"


def oslo(start=0):
    return {"text": "Oslo", "label": "LOC", "start": start, "end": start + 4, "score": 0.998}


def to_lines(bodies):
    return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)


def post(site, data, query=""):
    """The status and the lines of the answer."""
    reply = site.post(f"/api/predict{query}", data=data, headers=NDJSON)
    answers = [json.loads(line) for line in reply.data.splitlines()]
    reply.close()
    return reply.status_code, answers


def reply_to(rows):
    """A whole HTTP reply with a result for each text."""
    body = json.dumps({"model": MODEL, "results": list(rows)}).encode()
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_each_line_is_answered_in_order(site):
    status, answers = post(site, to_lines([{"text": "Oslo", "id": "a"}, {"text": "in Oslo"}, {"text": "", "id": 3}]))

    assert status == 200
    assert answers == [
        {"line": 1, "id": "a", "model": MODEL, "entities": [oslo()]},
        {"line": 2, "model": MODEL, "entities": [oslo(3)]},
        {"line": 3, "id": 3, "model": MODEL, "entities": []},
    ]
    assert list(answers[0]) == ["line", "id", "model", "entities"]


def test_the_answer_says_what_it_is(site):
    reply = site.post("/api/predict", data=b'{"text": "x"}', headers=NDJSON)

    assert reply.content_type == "application/x-ndjson; charset=utf-8"  # else requests' .text guesses
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Request-Id"]


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n \n\t\r\n"])
def test_nothing_gets_nothing(site, data):
    assert post(site, data) == (200, [])


def test_blank_lines_are_counted_but_not_answered(site):
    _, answers = post(site, b'\n\r\n{"text": "x"}\r\n\n{"text": "y"}')

    assert [answer["line"] for answer in answers] == [3, 5]


def test_a_bad_line_harms_no_other(make_site, upstream):
    lines = [
        b'{"text": "Oslo"}',
        b"nonsense",
        b'{"text": "x", "id": 2, "model": "en"}',
        b'{"text": "' + b"x" * 11 + b'", "id": "long"}',
        b"x" * 1_048_577,
        b'{"text": "\xff"}',
        b'{"text": "in Oslo"}',
    ]

    status, answers = post(make_site(upstream.url, max_chars=10), b"\n".join(lines))

    assert status == 200
    assert [answer["line"] for answer in answers] == [1, 2, 3, 4, 5, 6, 7]
    assert [answer.get("error", {}).get("code") for answer in answers] == [
        None, "malformed_request", "malformed_request", "text_too_long", "request_too_large", "malformed_request", None,
    ]  # fmt: skip
    assert [answer.get("id") for answer in answers] == [None, None, 2, "long", None, None, None]
    assert [answers[0]["entities"], answers[6]["entities"]] == [[oslo()], [oslo(3)]]


def test_options_and_model_are_those_of_the_query(make_site, upstream):
    site = make_site(upstream.url, models=("en", "de"))

    _, answers = post(site, to_lines([{"text": "😀 Oslo"}]), "?model=de&labels=LOC&threshold=0.5&offsets=utf8")

    assert answers == [{"line": 1, "model": MODEL | {"name": "de"}, "entities": [oslo(5) | {"end": 9}]}]
    assert {path for path, _, _ in upstream.requests} == {"/predictions/de"}
    sent = [json.loads(body) for _, _, body in upstream.requests]
    assert sent == [
        {"texts": texts, "labels": ["LOC"], "threshold": 0.5} for texts in ([], ["😀 Oslo"])
    ]  # the model is asked about the options first


def test_lines_travel_together_but_not_too_many(site, upstream):
    _, answers = post(site, to_lines({"text": f"Oslo {i}", "id": i} for i in range(200)))

    assert [answer["id"] for answer in answers] == list(range(200))
    sizes = [len(json.loads(body)["texts"]) for _, _, body in upstream.requests[1:]]
    assert sum(sizes) == 200
    assert max(sizes) == MAX_GROUP_LINES
    assert len(sizes) <= 8


def test_long_texts_travel_alone(make_site, upstream):
    texts = ["x" * 5000, "y" * 5000, "z" * 90_000]

    _, answers = post(make_site(upstream.url), to_lines({"text": text} for text in texts))

    assert [answer["entities"] for answer in answers] == [[], [], []]
    assert sorted(json.loads(body)["texts"] for _, _, body in upstream.requests[1:]) == [[text] for text in texts]


def test_the_order_stays_when_later_lines_are_faster(make_site, raw_upstream, read_request, wait_until):
    most, now, lock = [0], [0], threading.Lock()

    def play(connection, n):
        while True:
            texts = json.loads(read_request(connection))["texts"]
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            if "0" in texts:
                wait_until(lambda: now[0] > 1)  # others are on their way before the first is answered
            time.sleep(0.2 if "0" in texts else 0.01)
            with lock:
                now[0] -= 1
            body = json.dumps({"model": MODEL, "results": [{"entities": []} for _ in texts]}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    site = make_site(raw_upstream(play))

    _, answers = post(site, to_lines({"text": str(i)} for i in range(300)))

    assert [answer["line"] for answer in answers] == list(range(1, 301))
    assert 1 < most[0] <= NUM_SENDERS


def test_a_row_the_model_refuses_is_the_error_of_its_line(make_site, raw_upstream, read_request):
    rows = {"Oslo": {"entities": [oslo()]}, "x": {"error": {"code": "overloaded", "message": "Later."}}}

    def play(connection, n):
        texts = json.loads(read_request(connection))["texts"]
        connection.sendall(reply_to(rows[text] for text in texts))

    _, answers = post(make_site(raw_upstream(play)), to_lines([{"text": "Oslo"}, {"text": "x", "id": 9}]))

    assert answers == [
        {"line": 1, "model": MODEL, "entities": [oslo()]},
        {"line": 2, "id": 9, "error": {"code": "overloaded", "message": "Later."}},
    ]


def test_a_group_that_is_refused_is_asked_about_in_halves(make_site, raw_upstream, read_request):
    def play(connection, n):
        texts = json.loads(read_request(connection))["texts"]
        status, reply = 200, {"model": MODEL, "results": [{"entities": []} for _ in texts]}
        if "bad" in texts:
            status, reply = 413, {"error": {"code": "request_too_large", "message": "Too much."}}
        body = json.dumps(reply).encode()
        head = b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        connection.sendall(head + body)

    texts = ["bad" if i == 5 else "good" for i in range(20)]
    _, answers = post(make_site(raw_upstream(play)), to_lines({"text": text} for text in texts))

    assert [i for i, answer in enumerate(answers) if "error" in answer] == [5]
    assert answers[5]["error"] == {"code": "request_too_large", "message": "Too much."}


def test_a_failure_of_the_model_is_the_error_of_the_lines_concerned(make_site, raw_upstream, read_request):
    def play(connection, n):
        texts = json.loads(read_request(connection))["texts"]
        body = json.dumps({"model": MODEL, "results": [{"entities": []} for _ in texts]}).encode()
        if "x" * 7000 in texts:
            connection.sendall(b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        else:
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            connection.sendall(head + body)

    texts = ["a" * 7000, "x" * 7000, "b" * 7000]
    site = make_site(raw_upstream(play), retries=False)

    _, answers = post(site, to_lines({"text": text} for text in texts))

    assert [answer.get("error", {}).get("code") for answer in answers] == [None, "model_unavailable", None]


def test_a_stream_ends_when_nothing_is_answered_any_more(make_site, raw_upstream, read_request):
    def play(connection, n):
        if json.loads(read_request(connection))["texts"]:
            connection.sendall(b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        else:
            body = json.dumps({"model": MODEL, "results": []}).encode()
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )

    site = make_site(raw_upstream(play), retries=False)

    _, answers = post(site, to_lines({"text": "x" * 7000} for _ in range(100)))

    assert [answer["line"] for answer in answers[:-1]] == list(range(1, MAX_FAILED_GROUPS + 1))
    assert {answer["error"]["code"] for answer in answers} == {"model_unavailable"}
    assert "line" not in answers[-1]


def test_a_stream_to_a_model_that_is_not_there_does_not_begin(make_site, upstream):
    upstream.answer(503, b"")

    status, answers = post(make_site(upstream.url, retries=False), to_lines([{"text": "x"}]))

    assert status == 503
    assert answers[0]["error"]["code"] == "model_unavailable"


def test_only_so_many_streams_are_served_at_a_time(make_site, upstream):
    site = make_site(upstream.url, max_streams=0)

    reply = site.post("/api/predict", data=b'{"text": "x"}', headers=NDJSON)

    assert reply.status_code == 429
    assert reply.headers["Retry-After"] == "1"
    assert reply.json["error"]["code"] == "too_many_requests"


def test_a_stream_that_is_over_makes_room_for_another(make_site, upstream):
    site = make_site(upstream.url, max_streams=1)

    for _ in range(3):
        reply = site.post("/api/predict", data=b'{"text": "x"}', headers=NDJSON)
        assert reply.status_code == 200
        assert reply.data
        reply.close()


class Chunks:
    """A body that arrives in pieces."""

    def __init__(self, pieces):
        self._pieces = iter(pieces)

    def read(self, _size=-1):
        return next(self._pieces, b"")


def test_a_stream_waits_while_the_model_is_not_asked(site, upstream):
    breaker = site.application.extensions["nerserve"].client._model("en").breaker

    def body():
        yield b'{"text": "Oslo"}\n'
        while upstream.num_texts < 1 or breaker.state != "closed":
            time.sleep(0.01)
        time.sleep(0.1)
        for _ in range(THRESHOLD):
            breaker.failed(time.monotonic())
        assert breaker.state == "open"
        yield b'{"text": "in Oslo"}\n'

    pieces = {"wsgi.input": Chunks(body())}
    with site.post("/api/predict", environ_overrides=pieces, headers=NDJSON) as reply:
        answers = [json.loads(line) for line in reply.data.splitlines()]

    assert [answer.get("entities") for answer in answers] == [[oslo()], [oslo(3)]]
    assert breaker.state == "closed"


# From here on with real sockets.


class Client:
    """A client that sends and reads when it is told to, in chunks."""

    def __init__(self, port, *, chunked=True, head=b""):
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.reader = self.connection.makefile("rb")
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else head
        self.connection.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n" + framing + b"\r\n"
        )

    def send(self, data):
        self.connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.connection.sendall(b"0\r\n\r\n")

    def read_head(self):
        lines = iter(self.reader.readline, b"\r\n")
        return next(lines), dict(line.decode().strip().split(": ", 1) for line in lines)

    def read_chunk(self):
        size = int(self.reader.readline() or b"-1", 16)
        return None if size < 0 else self.reader.read(size + 2)[:-2]

    def read_rest(self):
        """All lines to the end, and whether it was a proper one."""
        data = b""
        while True:
            chunk = self.read_chunk()
            if not chunk:
                return [json.loads(line) for line in data.splitlines()], chunk == b""
            data += chunk

    def close(self):
        self.reader.close()
        self.connection.close()


@pytest.fixture
def client_of():
    clients = []

    def make(port, **settings):
        clients.append(Client(port, **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_a_line_is_answered_before_the_next_is_sent(start_site, upstream, client_of):
    client = client_of(start_site(upstream.url).port)

    for number in range(1, 4):
        client.send(b'{"text": "Oslo"}\n')
        if number == 1:
            assert client.read_head()[0] == b"HTTP/1.1 200 OK\r\n"
        assert json.loads(client.read_chunk())["line"] == number

    client.send(b'{"text": "the last one"}')
    client.end()
    answers, is_whole = client.read_rest()
    assert is_whole
    assert [answer["line"] for answer in answers] == [4]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_connection_is_used_again_after_a_stream(start_site, upstream, client_of, chunked):
    data = to_lines({"text": "Oslo"} for _ in range(1000))
    client = client_of(start_site(upstream.url).port, chunked=chunked, head=b"Content-Length: %d\r\n" % len(data))
    if chunked:
        client.send(data)
        client.end()
    else:
        client.connection.sendall(data)
    client.read_head()
    answers, is_whole = client.read_rest()
    assert len(answers) == 1000
    assert is_whole

    client.connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")

    assert client.read_head()[0] == b"HTTP/1.1 200 OK\r\n"


def test_a_client_that_stops_sending_is_told_so(start_site, upstream, client_of):
    site = start_site(upstream.url, NERSERVE_CLIENT_TIMEOUT_S="0.5")
    client = client_of(site.port)
    client.send(b'{"text": "Oslo"}\n{"text": ')

    client.read_head()
    answers, _ = client.read_rest()

    assert [answer.get("line") for answer in answers] == [1, None]
    assert answers[-1]["error"] == {"code": "request_timeout", "message": "Nothing came for 0.5 seconds."}


def send_for_ever(client, line):
    while True:
        client.send(line)


def test_a_client_that_does_not_read_is_given_up(start_site, upstream, client_of, wait_until):
    site = start_site(upstream.url, NERSERVE_CLIENT_TIMEOUT_S="0.5")
    client = client_of(site.port)
    client.connection.settimeout(60)
    line = json.dumps({"text": "Oslo " * 1000}).encode() + b"\n"

    with pytest.raises(OSError, match=r"(?i)reset|broken pipe"):  # what a program that sends everything first gets
        send_for_ever(client, line)

    wait_until(site.answers)
    (answer,) = site.answers()
    assert answer["error"] == "client_disconnected"
    assert upstream.num_texts < 5_000


def test_a_client_that_leaves_ends_the_work(start_site, upstream, client_of, wait_until):
    site = start_site(upstream.url)
    client = client_of(site.port)
    client.send(to_lines({"text": "Oslo"} for _ in range(100)))
    client.read_head()
    client.connection.shutdown(socket.SHUT_RDWR)
    client.close()

    wait_until(site.answers)

    assert site.answers()[0]["error"] == "client_disconnected"
    assert requests.get(f"{site.url}/metrics", timeout=60).text.count("nerserve_streams 0.0") == 1


def test_a_body_that_is_not_whole_is_no_stream(start_site, upstream, client_of, wait_until):
    site = start_site(upstream.url)
    client = client_of(site.port, chunked=False, head=b"Content-Length: 1000\r\n")
    client.connection.sendall(b'{"text": "Oslo"}\n')
    client.connection.shutdown(socket.SHUT_WR)

    client.read_head()
    answers, _ = client.read_rest()

    assert [answer.get("line") for answer in answers] == [1, None]
    assert answers[-1]["error"]["code"] == "client_disconnected"


def test_a_malformed_chunk_ends_the_stream(start_site, upstream, client_of):
    client = client_of(start_site(upstream.url).port)
    client.send(b'{"text": "Oslo"}\n')
    client.read_head()
    client.read_chunk()

    client.connection.sendall(b"zz\r\n")

    answers, _ = client.read_rest()
    assert [answer["error"]["code"] for answer in answers] == ["client_disconnected"]


def test_a_stop_ends_a_stream_and_says_after_which_line(start_site, upstream, client_of):
    site = start_site(upstream.url)
    client = client_of(site.port)
    client.send(to_lines([{"text": "Oslo"}] * 3))
    client.read_head()
    assert client.read_chunk().count(b"\n") == 3

    site.process.terminate()

    answers, is_whole = client.read_rest()
    assert answers == [
        {"error": {"code": "model_unavailable", "message": "The site is stopping, the stream ends after line 3."}}
    ]
    assert is_whole
    assert site.process.wait(60) == 0


def test_much_is_streamed_in_little_memory(start_site, upstream, client_of):
    site = start_site(upstream.url)
    (worker,) = psutil.Process(site.process.pid).children()
    line = json.dumps({"text": "Oslo" + "x" * 10_000}).encode() + b"\n"

    def most():
        status = Path(f"/proc/{worker.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

    requests.post(f"{site.url}/api/predict", data=line, headers=NDJSON, timeout=60)
    before_kb = most()
    client = client_of(site.port)
    sender = threading.Thread(target=lambda: [client.send(line) for _ in range(3_000)] and client.end())
    sender.start()
    client.read_head()
    num_lines = 0
    while chunk := client.read_chunk():
        num_lines += chunk.count(b"\n")
    sender.join()

    assert num_lines == 3_000
    assert most() - before_kb < 30_000


def ask(client_of, port, **settings):
    """A client that has asked for a stream and sent one line."""
    client = client_of(port, **settings)
    client.send(b'{"text": "Oslo"}\n')
    return client


def test_a_client_that_stops_gives_its_place_to_one_that_waits(start_site, upstream, client_of):
    site = start_site(upstream.url, NERSERVE_MAX_STREAMS="1", NERSERVE_QUEUE_S="120", NERSERVE_CLIENT_TIMEOUT_S="600")
    still = ask(client_of, site.port)
    assert still.read_head()[0].startswith(b"HTTP/1.1 200 ")
    assert json.loads(still.read_chunk())["line"] == 1

    other = ask(client_of, site.port)

    assert other.read_head()[0].startswith(b"HTTP/1.1 200 ")
    assert json.loads(other.read_chunk())["entities"][0]["text"] == "Oslo"
    (last,), is_proper = still.read_rest()
    assert is_proper
    assert last["error"]["code"] == "request_timeout"
    other.send(b'{"text": "Oslo"}\n')
    other.end()
    assert [answer["line"] for answer in other.read_rest()[0]] == [2]
