"""One computation for all who ask for it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

R = TypeVar("R")


class SingleFlight(Generic[R]):
    """Runs a function for the first who asks; those who ask before it is done get the same result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flight: Future[R] | None = None

    def run(self, compute: Callable[[], R]) -> R:
        """What *compute* returns, here or in the thread that asked first; its exceptions reach everybody."""
        with self._lock:
            flight = self._flight
            is_mine = flight is None
            if flight is None:
                flight = self._flight = Future()
        if is_mine:
            try:
                flight.set_result(compute())
            except BaseException as error:  # noqa: BLE001  (whoever waits must hear of it, and result() raises it here)
                flight.set_exception(error)
            finally:
                with self._lock:
                    self._flight = None
        return flight.result()
