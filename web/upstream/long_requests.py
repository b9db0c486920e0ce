"""A limit for the long requests that TorchServe works on at a time, over all processes of the site.

A worker that has a long text is busy for seconds; with fewer such requests than workers, short ones pass. The
processes of a site share nothing but the directory of their metrics, so a place is a lock on a file there, which the
kernel gives back when a process dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from web.metrics import MULTIPROC_DIR
from web.upstream.admission import Cancelled

_STEP_S: Final = 0.02
"""How often the first in line looks for a place: the others are in other processes, which cannot call it."""


class LongRequests:
    """Places for long requests of one model; shared by requests, and by processes that have the same directory."""

    def __init__(self, model: str, num_places: int) -> None:
        """A single process, one without a directory for its metrics, has its places for itself."""
        if folder := os.environ.get(MULTIPROC_DIR):
            self._files = [Path(folder) / f"{model}.long-{i}.lock" for i in range(num_places)]
        else:
            descriptors = [os.memfd_create(model) for _ in range(num_places)]
            self._files = [Path(f"/proc/self/fd/{descriptor}") for descriptor in descriptors]
            for descriptor in descriptors:
                weakref.finalize(self, os.close, descriptor)
        self._first = threading.Lock()

    @contextmanager
    def place(self, until_s: float, cancelled: threading.Event | None = None) -> Iterator[None]:
        """Hold a place; it must come before *until_s*, a monotonic time, else TimeoutError.

        Raises Cancelled once *cancelled* is set.
        """
        while not self._first.acquire(timeout=_STEP_S):
            _check(until_s, cancelled)
        try:
            while (file := self._take()) is None:
                _check(until_s, cancelled)
                time.sleep(_STEP_S)
        finally:
            self._first.release()
        with file:  # closing it gives the lock back
            yield

    def _take(self) -> IO[bytes] | None:
        for path in self._files:
            file = path.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                return file
        return None


def _check(until_s: float, cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise Cancelled
    if time.monotonic() >= until_s:
        raise TimeoutError("no place in time")
