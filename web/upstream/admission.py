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

from contract.errors import TooManyRequestsError
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

    @property
    def is_full(self) -> bool:
        """Whether ``request`` would refuse another just now."""
        return self._num_requests >= self._max_requests

    @staticmethod
    def refusal() -> TooManyRequestsError:
        """What a request is told that comes when there are enough."""
        return TooManyRequestsError("There are too many requests just now. Please try again in a moment.")

    def count_refusal(self) -> None:
        """Count a request that got it."""
        self._metrics.count_rejection("queue_full")

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request from its first attempt to its last; raises TooManyRequestsError when there are enough."""
        with self._lock:
            is_full = self._num_requests >= self._max_requests
            self._num_requests += not is_full
        if is_full:
            self.count_refusal()
            raise self.refusal()
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
        since_s = time.monotonic()
        if not self._takes_a_free_turn():
            self._wait(min(until_s, since_s + self._queue_s) if is_first else until_s, is_first=is_first)
        self._begin("request", since_s)
        try:
            yield
        finally:
            self._end(is_stream=False)

    @contextmanager
    def stream_turn(self, cancelled: threading.Event) -> Iterator[None]:
        """A stream's turn, however long it takes to come; raises Cancelled once *cancelled* is set."""
        waiter = self._join(self._streams)
        while not waiter.turn.wait(_STEP_S):
            if cancelled.is_set() and not self._leave(self._streams, waiter):
                raise Cancelled
            with self._lock:
                self._grant()  # it may have waited for so long that it comes first now
        self._begin("stream", waiter.since_s)
        try:
            yield
        finally:
            self._end(is_stream=True)

    def _takes_a_free_turn(self) -> bool:
        """Take a turn without waiting, as most requests do; whether there was one.

        While one is free and no request waits, only streams can wait that may have no more turns.
        """
        with self._lock:
            is_free = self._num_turns < self._max_in_flight and not self._requests
            self._num_turns += is_free
            return is_free

    def _wait(self, until_s: float, *, is_first: bool) -> None:
        waiter = self._join(self._requests)
        if waiter.turn.wait(max(0.0, until_s - time.monotonic())) or self._leave(self._requests, waiter):
            return
        if not is_first:
            raise TimeoutError("no turn in time")
        self._metrics.count_rejection("queue_timeout")
        raise TooManyRequestsError("There are too many requests just now: this one waited for its turn in vain.")

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

    def _begin(self, kind: str, since_s: float) -> None:
        """Count a turn that came after waiting since the monotonic time *since_s*."""
        self._metrics.count_wait(kind, time.monotonic() - since_s)
        self._metrics.in_flight.inc()

    def _end(self, *, is_stream: bool) -> None:
        """Give the turn back."""
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
