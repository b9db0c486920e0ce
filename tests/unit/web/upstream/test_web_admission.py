"""Turns at TorchServe, taken by real threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.errors import TooManyRequestsError
from web.metrics import Metrics
from web.upstream.admission import Admission, Cancelled


def make(max_in_flight=2, max_queue=10, queue_s=60.0):
    return Admission(max_in_flight=max_in_flight, max_queue=max_queue, queue_s=queue_s, metrics=Metrics())


def soon(seconds=60.0):
    return time.monotonic() + seconds


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


class Holder:
    """Holds turns until it is told to let go; remembers their order and how many there were at a time."""

    def __init__(self, admission):
        self.admission = admission
        self.release = threading.Event()
        self.order = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def hold(self, name, turn):
        with turn:
            with self._lock:
                self.order.append(name)
                self._now += 1
                self.most = max(self.most, self._now)
            self.release.wait(60)
            with self._lock:
                self._now -= 1

    def request(self, name, *, seconds=60.0, is_first=True):
        self.hold(name, self.admission.turn(soon(seconds), is_first=is_first))

    def stream(self, name, cancelled=None):
        self.hold(name, self.admission.stream_turn(cancelled or threading.Event()))


def test_no_more_have_a_turn_than_may(pool, wait_until):
    holder = Holder(make(max_in_flight=3))

    tasks = [pool.submit(holder.request, name) for name in range(10)]
    wait_until(lambda: len(holder.order) == 3)
    time.sleep(0.05)
    assert len(holder.order) == 3
    holder.release.set()

    assert [task.result() for task in tasks] == [None] * 10
    assert holder.most <= 3
    assert len(holder.order) == 10


def test_turns_come_in_order(pool, wait_until):
    admission = make(max_in_flight=1)
    holder = Holder(admission)
    tasks = []
    for name in range(6):
        tasks.append(pool.submit(holder.request, name))
        wait_until(lambda name=name: len(holder.order) + len(admission._requests) == name + 1)

    holder.release.set()

    for task in tasks:
        task.result()
    assert holder.order == [0, 1, 2, 3, 4, 5]


def test_a_request_waits_for_its_first_turn_for_the_time_of_the_queue(pool, wait_until):
    holder = Holder(make(max_in_flight=1, queue_s=0.1))
    first = pool.submit(holder.request, "first")
    wait_until(lambda: holder.order == ["first"])
    started = time.monotonic()

    with pytest.raises(TooManyRequestsError) as caught:
        holder.request("second")

    assert 0.09 < time.monotonic() - started < 30
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, "too_many_requests", 1)
    holder.release.set()
    first.result()


def test_another_attempt_waits_until_its_deadline(pool, wait_until):
    holder = Holder(make(max_in_flight=1, queue_s=0.0))
    first = pool.submit(holder.request, "first", is_first=False)
    wait_until(lambda: holder.order == ["first"])
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        holder.request("second", seconds=0.15, is_first=False)

    assert 0.14 < time.monotonic() - started < 30
    holder.release.set()
    first.result()


def test_whoever_gave_up_leaves_no_hole(pool, wait_until):
    holder = Holder(make(max_in_flight=1, queue_s=0.05))
    first = pool.submit(holder.request, "first")
    wait_until(lambda: holder.order == ["first"])
    with pytest.raises(TooManyRequestsError):
        holder.request("second")
    holder.release.set()
    first.result()

    holder.request("third")

    assert holder.order == ["first", "third"]


def test_a_request_too_many_is_refused_at_once():
    admission = make(max_in_flight=1, max_queue=2, queue_s=60)
    with admission.request(), admission.request(), admission.request():
        started = time.monotonic()
        with pytest.raises(TooManyRequestsError), admission.request():
            pass
        assert time.monotonic() - started < 30

    with admission.request():
        pass


def test_streams_hold_at_most_half_of_the_turns(pool, wait_until):
    holder = Holder(make(max_in_flight=4))

    tasks = [pool.submit(holder.stream, f"stream {i}") for i in range(6)]
    wait_until(lambda: len(holder.order) == 2)
    tasks += [pool.submit(holder.request, f"request {i}") for i in range(2)]
    wait_until(lambda: len(holder.order) == 4)
    time.sleep(0.05)

    assert sorted(name.split()[0] for name in holder.order) == ["request", "request", "stream", "stream"]
    holder.release.set()
    for task in tasks:
        task.result()
    assert len(holder.order) == 8


def test_requests_come_before_streams(pool, wait_until):
    admission = make(max_in_flight=1)
    holder = Holder(admission)
    tasks = [pool.submit(holder.request, "first")]
    wait_until(lambda: holder.order == ["first"])
    tasks.append(pool.submit(holder.stream, "stream"))
    wait_until(lambda: len(admission._streams) == 1)
    tasks.append(pool.submit(holder.request, "second"))
    wait_until(lambda: len(admission._requests) == 1)

    holder.release.set()

    for task in tasks:
        task.result()
    assert holder.order == ["first", "second", "stream"]


def test_a_stream_gets_its_turn_however_many_requests_there_are(pool):
    admission = make(max_in_flight=1, queue_s=0.2)
    stop = threading.Event()

    def ask_on_and_on():
        while not stop.is_set():
            with admission.turn(soon(), is_first=False):
                time.sleep(0.005)

    tasks = [pool.submit(ask_on_and_on) for _ in range(4)]
    started = time.monotonic()
    with admission.stream_turn(threading.Event()):
        waited_s = time.monotonic() - started
    stop.set()

    for task in tasks:
        task.result()
    assert waited_s < 30


def test_a_stream_that_nobody_wants_gives_up(pool, wait_until):
    holder = Holder(make(max_in_flight=1))
    first = pool.submit(holder.request, "first")
    wait_until(lambda: holder.order == ["first"])
    cancelled = threading.Event()
    stream = pool.submit(holder.stream, "stream", cancelled)

    cancelled.set()

    with pytest.raises(Cancelled):
        stream.result(60)
    holder.release.set()
    first.result()
    assert holder.order == ["first"]


def test_a_turn_is_given_back_whatever_happens():
    admission = make(max_in_flight=1)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.turn(soon(), is_first=True):
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), admission.request():
            raise ZeroDivisionError

    with admission.turn(soon(1), is_first=True):
        pass
