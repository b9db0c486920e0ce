"""A small process of its own that outlives ``nerserve up`` by a moment, to end what a ``kill -9`` of it leaves.

It reads the process groups to watch from its standard input, ``+PGID`` and
``-PGID``, one a line.  Only ``nerserve up`` holds the other end, so the end of
input means that it is gone, whatever ended it; what is still watched is killed.

The kernel could send a signal at a parent's death too (PR_SET_PDEATHSIG), but
only to our direct children: a TorchServe worker that is still importing torch
when its JVM dies waits for half a minute more, and a stopped one for ever.

The file runs by its path under ``python -I -S``, so it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def watched_at_the_end(lines: Iterable[str]) -> set[int]:
    """The process groups that are still watched once *lines* end.

    >>> watched_at_the_end(["+17", "+19", "-17", "garbage"])
    {19}
    """
    groups: set[int] = set()
    for line in lines:
        sign, number = line[:1], line[1:].strip()
        if number.isdigit() and sign == "+":
            groups.add(int(number))
        elif number.isdigit() and sign == "-":
            groups.discard(int(number))
    return groups


def main() -> None:
    """Wait for the end of input, then kill every group that is still watched."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in watched_at_the_end(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
