"""Scans every TCP port of each host and prints the open ones as JSON: ``python scan.py HOST...``."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Final

NUM_AT_ONCE: Final = 4000
TIMEOUT_S: Final = 1.0
"""For hosts that drop packets; all others on one machine answer in microseconds."""


async def open_ports(host: str) -> list[int]:
    """Every open port of *host*, in order."""
    slots = asyncio.Semaphore(min(NUM_AT_ONCE, raise_file_limit() // 2))
    found = []

    async def look(port: int) -> None:
        async with slots:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), TIMEOUT_S)
            except (TimeoutError, OSError):
                return
            found.append(port)
            writer.close()

    await asyncio.gather(*(look(port) for port in range(1, 65_536)))
    return sorted(found)


def raise_file_limit() -> int:
    """Raise and return the number of files, and so of connections, that this process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * NUM_AT_ONCE if hard == resource.RLIM_INFINITY else min(hard, 2 * NUM_AT_ONCE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


async def main(hosts: list[str]) -> None:
    """Scan *hosts* one after the other, and print."""
    json.dump({host: await open_ports(host) for host in hosts}, sys.stdout)


asyncio.run(main(sys.argv[1:]))
