"""The circuit breaker alone, and in front of a TorchServe that fails."""

import time

import pytest

from contract.errors import ModelReplyError, ModelTimeoutError, ModelUnavailableError, UpstreamError
from web.upstream.breaker import Breaker
from web.upstream.client import Caller
from web.upstream.errors import CircuitOpenError

PROBE_S = 0.2


@pytest.fixture
def states():
    return []


@pytest.fixture
def breaker(states):
    return Breaker(threshold=3, probe_every_s=PROBE_S, on_change=states.append)


def fail(breaker, times):
    for _ in range(times):
        breaker.failed(time.monotonic())


def await_probe(breaker):
    """Wait until a call may go as a probe; the seconds that the calls before it were told to wait."""
    told = set()
    while True:
        try:
            assert breaker.admit() is True
            return told
        except CircuitOpenError as error:
            told.add(error.retry_after_s)
            time.sleep(0.001)


def test_it_opens_after_so_many_failures_in_a_row(states):
    breaker = Breaker(threshold=3, probe_every_s=60, on_change=states.append)
    fail(breaker, 2)
    breaker.answered()
    fail(breaker, 2)
    assert breaker.admit() is False

    fail(breaker, 1)

    with pytest.raises(CircuitOpenError) as caught:
        breaker.admit()
    assert (caught.value.status, caught.value.code) == (503, "model_unavailable")
    assert 1 < caught.value.retry_after_s <= 60
    assert states == ["closed", "open"]


def test_a_probe_goes_every_now_and_then_and_no_more(breaker):
    started = time.monotonic()
    fail(breaker, 3)

    for _ in range(3):
        assert await_probe(breaker) <= {1}

    assert time.monotonic() - started >= 3 * PROBE_S


def test_a_probe_that_hangs_keeps_no_other_from_going(breaker, states):
    fail(breaker, 3)
    time.sleep(PROBE_S)
    breaker.admit()
    time.sleep(PROBE_S)

    assert breaker.admit() is True
    breaker.answered()

    assert breaker.admit() is False
    assert states == ["closed", "open", "half_open", "closed"]


def test_a_probe_that_fails_leaves_it_open(breaker, states):
    fail(breaker, 3)
    time.sleep(PROBE_S)
    started = time.monotonic()
    assert breaker.admit() is True

    fail(breaker, 1)

    assert breaker.state == "open"
    await_probe(breaker)
    assert time.monotonic() - started >= PROBE_S


def test_a_failure_that_began_before_the_last_answer_says_nothing(breaker):
    began_s = time.monotonic()
    breaker.answered()

    for _ in range(10):
        breaker.failed(began_s)

    assert breaker.state == "closed"


def test_a_failing_model_is_asked_no_more_and_found_well_again(upstream, make_client):
    client = make_client(upstream.url, breaker_threshold=3)
    upstream.answer(503, b"")
    for _ in range(3):
        with pytest.raises(ModelUnavailableError, match="status 503"):
            client.tag_text("en", "x")
    for _ in range(5):
        with pytest.raises(CircuitOpenError):
            client.tag_text("en", "x")
    assert len(upstream.requests) == 3

    upstream.canned = None
    deadline = time.monotonic() + 30
    while True:
        try:
            client.tag_text("en", "x")
            break
        except CircuitOpenError:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    assert client.tag_text("en", "x").entities == []


def test_a_silent_model_opens_it_too(raw_upstream, make_client, silent):
    client = make_client(raw_upstream(silent), timeout_s=0.1, breaker_threshold=2)
    for _ in range(2):
        with pytest.raises(ModelTimeoutError):
            client.tag_text("en", "x")

    with pytest.raises(CircuitOpenError):
        client.tag_text("en", "x")


def test_impatient_clients_do_not_open_it(raw_upstream, make_client, silent):
    client = make_client(raw_upstream(silent), breaker_threshold=2)

    for _ in range(5):
        with pytest.raises(ModelTimeoutError):
            client.tag_text("en", "x", caller=Caller(timeout_s=0.05))


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (400, {"error": {"code": "malformed_request", "message": "No."}}),
        (422, {"error": {"code": "invalid_option", "message": "No."}}),
        (503, {"error": {"code": "overloaded", "message": "No."}}),
        (200, {}),
    ],
)
def test_an_answer_of_any_kind_does_not_open_it(upstream, make_client, status, reply):
    client = make_client(upstream.url, breaker_threshold=1)
    upstream.answer(status, reply)

    for _ in range(5):
        with pytest.raises(UpstreamError) as caught:
            client.tag_text("en", "x")
        assert not isinstance(caught.value, CircuitOpenError)


def test_each_model_has_its_own(upstream, make_client):
    client = make_client(upstream.url, breaker_threshold=1)
    upstream.answer(503, b"")
    with pytest.raises(ModelUnavailableError):
        client.tag_text("de", "x")
    upstream.canned = None

    assert client.tag_text("en", "x").entities == []
    with pytest.raises(CircuitOpenError):
        client.tag_text("de", "x")


def test_a_canary_that_is_answered_closes_it(upstream, make_client):
    client = make_client(upstream.url, breaker_threshold=1)
    upstream.answer(503, b"")
    with pytest.raises(ModelUnavailableError):
        client.tag_text("en", "x")
    upstream.canned = None

    client.probe("en", "x", timeout_s=1)

    assert client.tag_text("en", "x").entities == []


def test_a_probe_is_one_attempt(upstream, make_client):
    upstream.answer(200, {})
    client = make_client(upstream.url, breaker_threshold=1)
    with pytest.raises(ModelReplyError):
        client.tag_text("en", "x")
    upstream.answer(503, b"")
    with pytest.raises(ModelUnavailableError):
        client.tag_text("en", "x")
    time.sleep(2.1)
    num_before = len(upstream.requests)

    with pytest.raises(ModelUnavailableError, match="status 503"):
        client.tag_text("en", "x")

    assert len(upstream.requests) == num_before + 1
