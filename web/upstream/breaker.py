"""A circuit breaker for a model that keeps failing: calls fail at once, apart from a probe every few seconds.

Closed, it lets every call through. After a number of calls in a row that failed in spite of their retries it opens, and
lets one call through every few seconds as a probe; any answer closes it. A probe that hangs does not delay the next,
so a model that recovers is noticed within seconds, however long it was silent.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from web.upstream.errors import CircuitOpenError

THRESHOLD: Final = 5
"""Failed calls in a row, each after its retries, that open the breaker."""

PROBE_EVERY_S: Final = 2.0


class Breaker:
    """The breaker of one model in one process; shared by all requests.

    ``state`` is ``closed``, ``open``, or ``half_open`` while the last probe may still be answered.
    """

    def __init__(
        self,
        *,
        threshold: int = THRESHOLD,
        probe_every_s: float = PROBE_EVERY_S,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        """*on_change* is called with each new state, the first one included."""
        self._threshold = threshold
        self._probe_every_s = probe_every_s
        self._on_change = on_change
        self._num_failures = 0
        self._answered_at_s = -math.inf
        self._next_probe_s = 0.0
        self.state = "closed"
        self._lock = threading.Lock()
        on_change(self.state)

    def admit(self) -> bool:
        """Let a call through, and say whether it is a probe; raises CircuitOpenError if it must fail at once."""
        with self._lock:
            if self.state == "closed":
                return False
            wait_s = self._next_probe_s - time.monotonic()
            if wait_s > 0:
                error = CircuitOpenError(
                    "The model keeps failing, so only one request every few seconds is sent to it."
                )
                error.retry_after_s = max(1, math.ceil(wait_s))
                raise error
            self._next_probe_s = time.monotonic() + self._probe_every_s
            self._change("half_open")
            return True

    def answered(self) -> None:
        """Note an answer of any kind."""
        with self._lock:
            self._num_failures = 0
            self._answered_at_s = time.monotonic()
            if self.state != "closed":
                self._change("closed")

    def failed(self, began_s: float) -> None:
        """Note the failure of a call that began at the monotonic time *began_s*.

        It does not count if the model has answered another call since then.
        """
        with self._lock:
            if began_s < self._answered_at_s:
                return
            self._num_failures += 1
            if self.state == "closed" and self._num_failures >= self._threshold:
                self._next_probe_s = time.monotonic() + self._probe_every_s
                self._change("open")
            elif self.state == "half_open":
                self._change("open")

    def _change(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._on_change(state)
