"""Scans every TCP port of each host and prints the open ones as JSON: ``python scan.py HOST...``."""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import select
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Final

NUM_AT_ONCE: Final = 4000
QUIET_MS: Final = 1000
"""After so long without any answer the rest is taken for dropped; an answer that waits here to be read does count."""


def open_ports(host: str) -> list[int]:
    """Every open port of *host*, in order."""
    at_once = min(NUM_AT_ONCE, raise_file_limit() // 2)
    return [port for first in range(1, 65_536, at_once) for port in open_among(host, range(first, first + at_once))]


def open_among(host: str, ports: Sequence[int]) -> Iterator[int]:
    """Those of *ports* that are open."""
    poll = select.poll()
    with contextlib.ExitStack() as stack:
        waiting = {}
        for port in ports:
            if port > 65_535:
                break
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            status = connection.connect_ex((host, port))
            if status == 0:
                yield port
            elif status == errno.EINPROGRESS:
                waiting[connection.fileno()] = (port, connection)
                poll.register(connection, select.POLLOUT)
        while waiting and (events := poll.poll(QUIET_MS)):
            for descriptor, _ in events:
                poll.unregister(descriptor)
                port, connection = waiting.pop(descriptor)
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    yield port


def raise_file_limit() -> int:
    """Raise and return the number of files, and so of connections, that this process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * NUM_AT_ONCE if hard == resource.RLIM_INFINITY else min(hard, 2 * NUM_AT_ONCE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


json.dump({host: sorted(open_ports(host)) for host in sys.argv[1:]}, sys.stdout)
