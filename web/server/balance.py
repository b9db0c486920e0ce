"""How many connections each process of the site has, in memory that they share, so that none takes nearly all.

All of them wait for the same listener, and the first to wake would have each of a burst: the system gives a loop that
runs already no pause in which another process could begin to run.
"""

from __future__ import annotations

import mmap
from typing import Final

_NUM_SLOTS: Final = 128  # twice the most processes: one that begins has another slot than the one that it replaces

_COUNTS: Final = memoryview(mmap.mmap(-1, 4 * _NUM_SLOTS)).cast("I")  # made by the master, before it forks
"""For each process the number of its connections and 1 more; 0 where there is no process."""


def note(age: int, num_connections: int) -> None:
    """Note how many connections the process has that gunicorn started as its *age*-th."""
    _COUNTS[age % _NUM_SLOTS] = num_connections + 1


def forget(age: int) -> None:
    """Forget a process that has ended."""
    _COUNTS[age % _NUM_SLOTS] = 0


def is_ahead(age: int) -> bool:
    """Whether another process has clearly fewer connections.

    >>> note(1, 8), note(2, 5), is_ahead(1), is_ahead(2), note(1, 7), is_ahead(1), forget(2), forget(1)
    (None, None, True, False, None, False, None, None)
    """
    least = min(filter(None, _COUNTS), default=0)
    return _COUNTS[age % _NUM_SLOTS] > least + 1 + least // 4
