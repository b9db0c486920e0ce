"""One computation shared by all callers that ask for it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

R = TypeVar("R")


class SingleFlight(Generic[R]):
    """Runs a function for the first caller; those that come before it returns share its result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flight: Future[R] | None = None

    def run(self, compute: Callable[[], R]) -> R:
        """What *compute* returns or raises, in this greenlet or in the one that came first."""
        with self._lock:
            is_first = self._flight is None
            flight = self._flight = self._flight or Future()
        if is_first:
            try:
                flight.set_result(compute())
            except BaseException as error:  # noqa: BLE001  (for the others, too: result() raises it)
                flight.set_exception(error)
            finally:
                with self._lock:
                    self._flight = None
        return flight.result()
