"""Who may ask TorchServe now: a bounded number at a time, the others in a queue that is bounded in length and in time.

Requests of people and programs that wait come first, in their order. NDJSON streams wait without a limit of time, hold
at most half of the turns, and get one at the latest when they have waited for as long as a request may; so neither can
starve the other. What waits for another attempt after a failure holds no turn but counts as waiting, so that an outage
never takes more threads than an overload.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from web.errors import TooManyRequestsError
from web.metrics import Metrics

_STEP_S: Final = 0.5
"""How often a waiting stream looks whether it is still wanted."""


class Cancelled(Exception):  # noqa: N818  (it is no error)
    """Whoever waited is not interested any more."""


class _Waiter:
    def __init__(self) -> None:
        self.turn = threading.Event()
        self.since_s = time.monotonic()


class Admission:
    """The turns of one process; shared by threads."""

    def __init__(self, *, max_in_flight: int, max_queue: int, queue_s: float, metrics: Metrics) -> None:
        """*max_in_flight* turns at a time; *max_queue* requests wait, each *queue_s* seconds for its first turn."""
        self._max_in_flight = max_in_flight
        self._max_stream_turns = max(1, max_in_flight // 2)
        self._max_requests = max_in_flight + max_queue
        self._queue_s = queue_s
        self._metrics = metrics
        self._num_requests = 0
        self._num_turns = 0
        self._num_stream_turns = 0
        self._requests: deque[_Waiter] = deque()
        self._streams: deque[_Waiter] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request from its first attempt to its last; raises TooManyRequestsError when there are enough."""
        with self._lock:
            is_full = self._num_requests >= self._max_requests
            self._num_requests += not is_full
        if is_full:
            self._metrics.count_rejection("queue_full")
            raise TooManyRequestsError("There are too many requests just now. Please try again in a moment.")
        try:
            yield
        finally:
            with self._lock:
                self._num_requests -= 1

    @contextmanager
    def turn(self, until_s: float, *, is_first: bool) -> Iterator[None]:
        """A request's turn, which must come before *until_s*, a monotonic time.

        The first must also come within the seconds of the queue. Raises TooManyRequestsError, or TimeoutError for
        a later turn.
        """
        waiter = self._join(self._requests)
        if is_first:
            until_s = min(until_s, waiter.since_s + self._queue_s)
        if not waiter.turn.wait(max(0.0, until_s - time.monotonic())) and not self._leave(self._requests, waiter):
            if not is_first:
                raise TimeoutError("no turn in time")
            self._metrics.count_rejection("queue_timeout")
            raise TooManyRequestsError("There are too many requests just now: this one waited for its turn in vain.")
        with self._held(waiter, is_stream=False):
            yield

    @contextmanager
    def stream_turn(self, cancelled: threading.Event) -> Iterator[None]:
        """A stream's turn, however long it takes to come; raises Cancelled once *cancelled* is set."""
        waiter = self._join(self._streams)
        while not waiter.turn.wait(_STEP_S):
            if cancelled.is_set() and not self._leave(self._streams, waiter):
                raise Cancelled
            with self._lock:
                self._grant()  # it may have waited for so long that it comes first now
        with self._held(waiter, is_stream=True):
            yield

    def _join(self, queue: deque[_Waiter]) -> _Waiter:
        waiter = _Waiter()
        with self._lock:
            queue.append(waiter)
            self._metrics.queued.inc()
            self._grant()
        return waiter

    def _leave(self, queue: deque[_Waiter], waiter: _Waiter) -> bool:
        """Give up waiting; whether the turn came in this very moment."""
        with self._lock:
            if waiter.turn.is_set():
                return True
            queue.remove(waiter)
            self._metrics.queued.dec()
            return False

    @contextmanager
    def _held(self, waiter: _Waiter, *, is_stream: bool) -> Iterator[None]:
        self._metrics.count_wait("stream" if is_stream else "request", time.monotonic() - waiter.since_s)
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._metrics.in_flight.dec()
            with self._lock:
                self._num_turns -= 1
                self._num_stream_turns -= is_stream
                self._grant()

    def _grant(self) -> None:
        """Give the turns that are free to those who are next; the lock is held."""
        while self._num_turns < self._max_in_flight:
            queue = self._next_queue()
            if queue is None:
                return
            self._num_turns += 1
            self._num_stream_turns += queue is self._streams
            self._metrics.queued.dec()
            queue.popleft().turn.set()

    def _next_queue(self) -> deque[_Waiter] | None:
        is_stream_possible = bool(self._streams) and self._num_stream_turns < self._max_stream_turns
        if is_stream_possible and self._num_stream_turns == 0:
            is_overdue = time.monotonic() - self._streams[0].since_s >= self._queue_s
            if is_overdue:
                return self._streams
        if self._requests:
            return self._requests
        return self._streams if is_stream_possible else None
