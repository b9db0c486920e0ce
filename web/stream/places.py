"""The places for NDJSON streams of one process: a stream that stands still gives its place to one that waits."""

from __future__ import annotations

import time
from threading import Condition
from typing import Final, Protocol

STILL_S: Final = 10.0
"""How long nothing may move in a stream, in either direction, before it loses its place to one that waits."""

_STEP_S: Final = 0.1


class Stream(Protocol):
    """What holds a place."""

    def still_s(self) -> float:
        """For how many seconds the client has neither sent nor taken anything that the stream waited for."""

    def give_way(self) -> None:
        """End soon; the place is gone."""


class Places:
    """As many places as there may be streams; as many streams again may wait for one."""

    def __init__(self, num_places: int, wait_s: float) -> None:
        """A stream waits for *wait_s* seconds at most."""
        self._num_places = num_places
        self._wait_s = wait_s
        self._streams: set[Stream] = set()
        self._num_waiting = 0
        self._is_changed = Condition()

    def take(self, stream: Stream) -> bool:
        """Give *stream* a place, perhaps after a wait; False if there is none."""
        until_s = time.monotonic() + self._wait_s
        with self._is_changed:
            is_full = len(self._streams) >= self._num_places
            if is_full and self._num_waiting >= self._num_places:
                return False
            self._num_waiting += 1
            try:
                while len(self._streams) >= self._num_places and not self._evict():
                    if time.monotonic() > until_s:
                        return False
                    self._is_changed.wait(_STEP_S)
                self._streams.add(stream)
                return True
            finally:
                self._num_waiting -= 1

    def leave(self, stream: Stream) -> None:
        """Give back the place of *stream*, if it still has one."""
        with self._is_changed:
            self._streams.discard(stream)
            self._is_changed.notify()

    def _evict(self) -> bool:
        """Take the place of the stream that has stood still for longest, if that is long enough."""
        stream = max(self._streams, key=lambda stream: stream.still_s())
        if stream.still_s() < STILL_S:
            return False
        self._streams.remove(stream)
        stream.give_way()
        return True
