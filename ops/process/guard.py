"""A small process of its own that outlives ``nerserve up`` by a moment, to end what a ``kill -9`` of it leaves.

It reads the process groups to watch from its standard input, ``+PGID`` and ``-PGID``, one a line, and files or empty
directories to remove, ``/PATH``.  Only ``nerserve up`` holds the other end, so the end of input means that it is gone;
then the groups that are still watched are killed, and the files (keys of that TorchServe) removed.

The kernel could send a signal at a parent's death too (PR_SET_PDEATHSIG), but only to our direct children: a TorchServe
worker that is still importing torch when its JVM dies waits for half a minute more, and a stopped one for ever.

The file runs by its path under ``python -I -S``, so it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path


def watched_at_the_end(lines: Iterable[str]) -> tuple[set[int], set[str]]:
    """The process groups that are still watched once *lines* end, and the files to remove.

    >>> watched_at_the_end(["+17", "+19", "-17", "garbage", "/run/key"])
    ({19}, {'/run/key'})
    """
    groups: set[int] = set()
    files: set[str] = set()
    for line in lines:
        sign, number = line[:1], line[1:].strip()
        if number.isdigit() and sign == "+":
            groups.add(int(number))
        elif number.isdigit() and sign == "-":
            groups.discard(int(number))
        elif sign == "/":
            files.add(line.rstrip("\n"))
    return groups, files


def main() -> None:
    """Wait for the end of input, then kill every group that is still watched, and remove the files."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(sys.stdin.fileno(), encoding="utf-8", errors="surrogateescape", closefd=False) as lines:
        groups, files = watched_at_the_end(lines)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for file in sorted(files, reverse=True):  # what is in a directory before the directory
        with contextlib.suppress(OSError):
            try:
                Path(file).unlink()
            except IsADirectoryError:
                Path(file).rmdir()


if __name__ == "__main__":
    main()
