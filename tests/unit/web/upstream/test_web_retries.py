"""Lost replies are asked for again, within the deadline and the budgets; each attempt is scripted on loopback."""

import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from contract.errors import ModelReplyError, ModelTimeoutError, ModelUnavailableError, UpstreamError
from web.metrics import Metrics
from web.upstream.admission import Admission
from web.upstream.errors import RequestRejectedError, WorkerDeadlineError, WorkerOverloadedError
from web.upstream.retries import RetryPolicy, TokenBucket

FAST = RetryPolicy(first_pause_s=0.002, longest_pause_s=0.02, least_attempt_s=0.1)
STEADY = RetryPolicy(first_pause_s=0.002, longest_pause_s=0.2, least_attempt_s=0.1)
DEADLINE_S = 2.5
SLACK_S = 20  # for a busy machine; what ends by no deadline never ends here


def reply(status, body=b""):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


STEPS = {
    "404": reply(404, b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: en"}'),
    "500": reply(500, b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}'),
    "503": reply(503, b'{"code": 503, "type": "InternalServerException", "message": "Prediction failed"}'),
    "507": reply(507, b'{"code": 507, "type": "InternalServerException", "message": "Worker died."}'),
    "400": reply(400, b'{"error": {"code": "malformed_request", "message": "No."}}'),
    "broken": reply(200, b"{}"),
    "overloaded": reply(503, b'{"error": {"code": "overloaded", "message": "No."}}'),
    "late": reply(504, b'{"error": {"code": "deadline_exceeded", "message": "No."}}'),
    "closed": b"",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "silent": None,
}


@pytest.fixture
def scripted(raw_upstream, read_request, good_reply):
    """Start a server whose n-th attempt ends as the n-th step says, all later ones as the last; URL and attempts."""

    def start(*steps):
        attempts = []

        def play(connection, n):
            attempts.append(read_request(connection))
            step = steps[min(n, len(steps) - 1)]
            if step == "silent":
                connection.recv(1)  # until the client gives up
            else:
                connection.sendall(good_reply if step == "200" else STEPS[step])

        return raw_upstream(play), attempts

    return start


@pytest.mark.parametrize(
    "steps",
    [
        ("500", "200"),
        ("507", "200"),
        ("503", "200"),
        ("404", "200"),
        ("closed", "200"),
        ("cut", "200"),
        ("broken", "200"),
        ("silent", "200"),
        ("overloaded", "overloaded", "200"),
        ("late", "200"),
        ("503", "503", "404", "closed", "503", "cut", "503", "200"),
        ("500", "507", "500", "200"),
        ("404", "silent", "503", "200"),
        ("broken", "500", "200"),
    ],
    ids=" ".join,
)
def test_a_lost_reply_is_asked_for_again(scripted, make_client, steps):
    url, attempts = scripted(*steps)

    timeout_s = 7.5 if "silent" in steps else 60  # a silence is over after a third of it
    assert make_client(url, timeout_s=timeout_s, policy=FAST).tag_text("en", "x").entities == []
    assert attempts == [b'{"text":"x"}'] * len(steps)


def test_several_texts_are_asked_for_again_too(raw_upstream, make_client, read_request):
    def play(connection, n):
        read_request(connection)
        body = b'{"model": {"name": "en", "version": "1", "digest": "d"}, "results": [{"entities": []}]}'
        connection.sendall(reply(200, body) if n else STEPS["500"])

    assert make_client(raw_upstream(play), policy=FAST).tag_texts("en", ["x"]).results == [[]]


def test_a_server_that_starts_later_is_waited_for(make_client, read_request, good_reply):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # refuses until it listens

        def serve_late():
            time.sleep(0.5)
            listener.listen()
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(good_reply)

        server = threading.Thread(target=serve_late)
        server.start()
        client = make_client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=60, policy=FAST)

        assert client.tag_text("en", "x").entities == []
        server.join()


@pytest.mark.parametrize(
    ("steps", "error", "num_attempts"),
    [
        (("400", "200"), RequestRejectedError, 1),
        (("broken", "broken", "200"), ModelReplyError, 2),
        (("broken", "503", "broken", "200"), ModelReplyError, 3),
        (("500", "507", "500", "500", "200"), ModelUnavailableError, 4),
    ],
)
def test_what_will_not_get_better_is_not_repeated_for_ever(scripted, make_client, steps, error, num_attempts):
    url, attempts = scripted(*steps)

    with pytest.raises(error):
        make_client(url, policy=FAST).tag_text("en", "x")

    assert len(attempts) == num_attempts


def test_every_call_ends_by_its_deadline(scripted, make_client):
    """All calls at the same time: what is told depends on the third and the half of a deadline, so it is a long one."""
    ends = {
        ("503",): ModelUnavailableError,
        ("404",): ModelUnavailableError,
        ("closed",): ModelUnavailableError,
        ("silent",): ModelTimeoutError,
        ("503", "silent"): ModelTimeoutError,
        ("silent", "503"): ModelUnavailableError,
        ("silent", "silent"): ModelTimeoutError,
        ("late", "late"): WorkerDeadlineError,
        ("overloaded",): WorkerOverloadedError,
    }
    deadline_s = 9.0

    def end_of(steps):
        url, _ = scripted(*steps)
        with pytest.raises(UpstreamError) as caught:
            make_client(url, timeout_s=deadline_s, policy=STEADY).tag_text("en", "x")
        return type(caught.value)

    started = time.monotonic()
    with ThreadPoolExecutor(len(ends)) as pool:
        ended = dict(zip(ends, pool.map(end_of, ends), strict=True))

    assert ended == ends
    assert time.monotonic() - started < deadline_s + SLACK_S


def test_nobody_listening_is_unavailable_by_the_deadline(dead_url, make_client):
    client = make_client(dead_url, timeout_s=0.6, policy=FAST)
    started = time.monotonic()

    with pytest.raises(ModelUnavailableError, match="no connection"):
        client.tag_text("en", "x")

    assert time.monotonic() - started < 0.6 + SLACK_S


def test_the_failure_that_took_the_time_is_told_rather_than_a_last_short_silence(
    raw_upstream, make_client, read_request
):
    started = time.monotonic()

    def play(connection, n):
        read_request(connection)
        if time.monotonic() - started < DEADLINE_S - 0.5:
            connection.sendall(STEPS["503"])
        else:
            connection.recv(1)

    with pytest.raises(ModelUnavailableError, match="status 503"):
        make_client(raw_upstream(play), timeout_s=DEADLINE_S, policy=FAST).tag_text("en", "x")


def test_without_a_budget_a_refusal_is_told_at_once(scripted, make_client):
    url, attempts = scripted("503")
    policy = RetryPolicy(first_pause_s=0.001, longest_pause_s=4, longest_reserve_s=1, retries_per_s=0, retry_ratio=0)
    client = make_client(url, timeout_s=60, policy=policy)  # 4 connections, 1 s, 2 s a pause: a reserve of 2 retries
    started = time.monotonic()

    for _ in range(20):
        with pytest.raises(ModelUnavailableError):
            client.tag_text("en", "x")

    assert len(attempts) == 22
    assert time.monotonic() - started < 30


def test_every_fifth_request_pays_for_a_retry(scripted, make_client):
    url, attempts = scripted("503")
    policy = RetryPolicy(first_pause_s=0.001, longest_pause_s=8, longest_reserve_s=1, retries_per_s=0)
    client = make_client(url, timeout_s=60, policy=policy)  # a reserve of 1 retry

    for _ in range(50):
        with pytest.raises(ModelUnavailableError):
            client.tag_text("en", "x")

    assert len(attempts) in {60, 61}


def test_one_model_does_not_spend_the_budget_of_another(scripted, make_client):
    url, attempts = scripted("503", "503", "503", "200")
    policy = RetryPolicy(first_pause_s=0.001, longest_pause_s=8, longest_reserve_s=1, retries_per_s=0, retry_ratio=0)
    client = make_client(url, policy=policy)
    with pytest.raises(ModelUnavailableError):
        client.tag_text("de", "x")

    assert client.tag_text("en", "x").entities == []
    assert len(attempts) == 4


def test_an_overload_is_not_multiplied(raw_upstream, make_client, read_request, *, good_reply, silent):
    """All are slower than an attempt may be, a third of 4.5 s; only as many are abandoned as there are threads."""
    attempts = []

    def play(connection, n):
        body = read_request(connection)
        is_first = body not in attempts
        attempts.append(body)
        if is_first and json.loads(body)["text"] in {"0", "1", "2", "3"}:
            silent(connection, n)
        elif is_first:
            time.sleep(2)
        connection.sendall(good_reply)

    policy = RetryPolicy(least_attempt_s=0.1, abandon_ratio=0, abandons_per_s=0)
    client = make_client(raw_upstream(play), timeout_s=4.5, policy=policy)
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda number: client.tag_text("en", str(number)), range(8)))

    assert [answer.entities for answer in replies] == [[]] * 8
    assert len(attempts) == 8 + 4


def test_an_answer_in_time_costs_no_right_to_abandon(raw_upstream, make_client, read_request, good_reply):
    def play(connection, n):
        body = read_request(connection)
        if body == b'{"text":"lost"}' and n == 1:
            connection.recv(1)
        for _ in range(20):
            connection.sendall(good_reply)
            read_request(connection)

    policy = RetryPolicy(least_attempt_s=0.1, abandon_ratio=0, abandons_per_s=0)
    client = make_client(raw_upstream(play), timeout_s=3, policy=policy)
    for _ in range(20):
        client.tag_text("en", "x")

    assert client.tag_text("en", "lost").entities == []


def test_a_probe_repeats_nothing(scripted, make_client):
    url, attempts = scripted("503", "200")

    with pytest.raises(ModelUnavailableError):
        make_client(url, policy=FAST).probe("en", "x", timeout_s=30)

    assert len(attempts) == 1


def test_repeated_requests_are_logged_once_and_without_a_text(scripted, make_client, caplog):
    caplog.set_level(logging.INFO, logger="web")
    url, _ = scripted("503", "404", "closed", "200", "503", "400")
    client = make_client(url, policy=FAST)

    client.tag_text("en", "Attack at dawn")
    with pytest.raises(UpstreamError):
        client.tag_text("en", "Attack at dawn")

    # Whether a kept connection is already known to be closed is a matter of luck, and the transport's own event.
    assert [record.getMessage() for record in caplog.records if record.name == "web.upstream.client"] == [
        "model en: answered attempt 4",
        "model en refused a request: malformed_request",
    ]


def test_pauses_are_random_up_to_a_bound_that_doubles():
    runs = [list(islice(RetryPolicy(first_pause_s=1, longest_pause_s=10).pauses_s(), 6)) for _ in range(300)]

    for bound_s, pauses_s in zip((1, 2, 4, 8, 10, 10), zip(*runs, strict=True), strict=True):
        assert 0 <= min(pauses_s) < 0.1 * bound_s
        assert 0.9 * bound_s < max(pauses_s) <= bound_s


def test_tokens_come_with_time_up_to_the_capacity():
    bucket = TokenBucket(capacity=1, per_s=100)

    for _ in range(3):
        started = time.monotonic()
        num_tokens = sum(1 for _ in iter(bucket.take, False))
        assert 1 <= num_tokens <= 1 + 100 * (time.monotonic() - started)
        time.sleep(0.1)  # in which ten would come


def test_threads_never_take_more_tokens_than_there_are():
    bucket = TokenBucket(capacity=100, per_s=0)

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(lambda _: bucket.take(), range(1000)))

    assert taken == 100


def test_a_long_request_is_not_asked_for_twice(scripted, make_client):
    url, attempts = scripted("silent", "200")

    with pytest.raises(ModelTimeoutError):
        make_client(url, timeout_s=1.5, policy=FAST).tag_text("en", "x" * 65_536)

    assert len(attempts) == 1


def test_an_attempt_whose_turn_does_not_come_in_time_tells_what_failed_before(
    raw_upstream, make_client, read_request, wait_until
):
    failed = set()

    def play(connection, n):
        body = read_request(connection)
        if body == b'{"text":"y"}':
            connection.recv(1)
        else:
            failed.add(body)
            connection.sendall(STEPS["503"])

    policy = RetryPolicy(first_pause_s=0.3, longest_pause_s=0.3, least_attempt_s=60)
    admission = Admission(max_in_flight=4, max_queue=20, queue_s=60, metrics=Metrics())
    client = make_client(raw_upstream(play), timeout_s=DEADLINE_S, policy=policy, admission=admission)
    with ThreadPoolExecutor(12) as pool:
        short = [pool.submit(client.tag_text, "en", f"x{number}") for number in range(4)]
        wait_until(lambda: len(failed) == 4)
        for _ in range(8):
            pool.submit(client.tag_text, "en", "y")
        errors = [task.exception() for task in short]

    assert {type(error) for error in errors} == {ModelUnavailableError}
