"""Concurrency limit with a bounded queue in front of TorchServe.

Requests come before NDJSON streams, in the order of their arrival, and wait for a bounded time. Streams wait without a
limit, hold at most half of the turns, and get one at the latest when they have waited for as long as a request may; so
neither can starve the other. A request that waits for another attempt after a failure holds no turn but counts against
the queue, so that an outage keeps no more requests than an overload.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from contract.errors import TooManyRequestsError
from web.metrics import Metrics

_STEP_S: Final = 0.5
"""How often a waiting stream checks whether it is cancelled."""


class Cancelled(Exception):  # noqa: N818  (not an error)
    """The stream was cancelled while it waited for a turn."""


class _Waiter:
    def __init__(self) -> None:
        self.turn = threading.Event()
        self.since_s = time.monotonic()


class Admission:
    """The turns of one process, each the right to one exchange with TorchServe; shared by all requests.

    Attributes:
        max_in_flight: Turns at a time.
        max_requests: Requests at a time, those that wait included.
        queue_s: Seconds that a request waits for its first turn at most.
    """

    def __init__(self, *, max_in_flight: int, max_queue: int, queue_s: float, metrics: Metrics) -> None:
        """Up to *max_queue* requests wait."""
        self.max_in_flight = max_in_flight
        self.max_requests = max_in_flight + max_queue
        self._max_stream_turns = max(1, max_in_flight // 2)
        self.queue_s = queue_s
        self._metrics = metrics
        self._num_requests = 0
        self._num_turns = 0
        self._num_stream_turns = 0
        self._requests: deque[_Waiter] = deque()
        self._streams: deque[_Waiter] = deque()
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether ``request`` would refuse another one now."""
        return self._num_requests >= self.max_requests

    def count_refusal(self) -> None:
        """Count a request that was refused because the queue is full."""
        self._metrics.count_rejection("queue_full")

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request from its first attempt to its last; raises TooManyRequestsError if the queue is full."""
        with self._lock:
            is_full = self.is_full
            self._num_requests += not is_full
        if is_full:
            self.count_refusal()
            raise TooManyRequestsError
        try:
            yield
        finally:
            with self._lock:
                self._num_requests -= 1

    @contextmanager
    def turn(self, until_s: float, *, is_first: bool) -> Iterator[None]:
        """Hold a turn for one attempt of a request; it must come before *until_s*, a monotonic time.

        The first turn of a request must also come within ``queue_s``. Raises TooManyRequestsError for the first turn,
        TimeoutError for a later one.
        """
        since_s = time.monotonic()
        with self._lock:  # streams that wait while a turn is free already hold all the turns they may have
            is_free = self._num_turns < self.max_in_flight and not self._requests
            self._num_turns += is_free
        if not is_free:
            self._wait(min(until_s, since_s + self.queue_s) if is_first else until_s, is_first=is_first)
        with self._held("request", since_s):
            yield

    @contextmanager
    def stream_turn(self, cancelled: threading.Event) -> Iterator[None]:
        """Hold a turn of a stream, however long it takes to come; raises Cancelled once *cancelled* is set."""
        waiter = self._join(self._streams)
        while not waiter.turn.wait(_STEP_S):
            if cancelled.is_set() and not self._leave(self._streams, waiter):
                raise Cancelled
            with self._lock:
                self._grant()  # it may be overdue now
        with self._held("stream", waiter.since_s):
            yield

    @contextmanager
    def _held(self, kind: str, since_s: float) -> Iterator[None]:
        """Hold a turn that was waited for since the monotonic time *since_s*."""
        self._metrics.count_wait(kind, time.monotonic() - since_s)
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._metrics.in_flight.dec()
            with self._lock:
                self._num_turns -= 1
                self._num_stream_turns -= kind == "stream"
                self._grant()

    def _wait(self, until_s: float, *, is_first: bool) -> None:
        waiter = self._join(self._requests)
        if waiter.turn.wait(until_s - time.monotonic()) or self._leave(self._requests, waiter):
            return
        if not is_first:
            raise TimeoutError("no turn in time")
        self._metrics.count_rejection("queue_timeout")
        raise TooManyRequestsError("There are too many requests just now: this one waited in the queue for too long.")

    def _join(self, queue: deque[_Waiter]) -> _Waiter:
        waiter = _Waiter()
        with self._lock:
            queue.append(waiter)
            self._metrics.queued.inc()
            self._grant()
        return waiter

    def _leave(self, queue: deque[_Waiter], waiter: _Waiter) -> bool:
        """Leave the queue; True if the turn was granted meanwhile."""
        with self._lock:
            if waiter.turn.is_set():
                return True
            queue.remove(waiter)
            self._metrics.queued.dec()
            return False

    def _grant(self) -> None:
        """Grant the free turns to those who are next; the lock is held."""
        while self._num_turns < self.max_in_flight and (queue := self._next_queue()):
            self._num_turns += 1
            self._num_stream_turns += queue is self._streams
            self._metrics.queued.dec()
            queue.popleft().turn.set()

    def _next_queue(self) -> deque[_Waiter]:
        """The queue whose first waiter is next; an empty one if none may have a turn."""
        if self._streams and self._num_stream_turns < self._max_stream_turns:
            is_overdue = time.monotonic() - self._streams[0].since_s >= self.queue_s
            if not self._requests or (is_overdue and self._num_stream_turns == 0):
                return self._streams
        return self._requests
