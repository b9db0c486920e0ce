"""Load in a closed loop from wrk, a program fast enough to be no part of what is measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.needs import require_program

_SCRIPT: Final = Path(__file__).with_name("rotate.lua")
_MARK: Final = "RESULT "
_TIMEOUT_S: Final = 30


class Measured(NamedTuple):
    """What one run of wrk saw.

    Attributes:
        requests: Replies, whatever their status.
        seconds: How long it ran.
        refused: Replies with a status of 400 or more.
        broken: Requests that got no reply: connection refused or lost, or no reply in time.
        p50_ms: Half of the replies came within this time; so for the others.
    """

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second that were answered with a status below 400."""
        return (self.requests - self.refused) / self.seconds


def write_requests(file: Path, requests: Sequence[tuple[str, bytes]]) -> None:
    """Put *requests*, paths with JSON bodies, into *file* for :func:`run`."""
    file.write_bytes(b"".join(path.encode() + b"\t" + body + b"\n" for path, body in requests))


def run(url: str, file: Path, *, connections: int, seconds: float, first: int = 0) -> Measured:
    """Ask *url* from so many *connections* what *file* holds, from its line *first* on.

    Raises:
        SystemExit: wrk is missing, or failed.
    """
    require_program("wrk", "wrk")
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={_TIMEOUT_S}s"),
        *("-s", str(_SCRIPT), url, "--", str(file), str(first)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse(done.stdout, done.stderr)


def parse(output: str, errors: str = "") -> Measured:
    """What wrk with our script printed as *output*; SystemExit, with its *errors*, when that is no result.

    >>> parse('RESULT {"requests": 9, "seconds": 2, "refused": 1, "broken": 0, "p50_ms": 1, "p95_ms": 2, "p99_ms": 3}')
    Measured(requests=9, seconds=2, refused=1, broken=0, p50_ms=1, p95_ms=2, p99_ms=3)
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            return Measured(**json.loads(line.removeprefix(_MARK)))
    raise SystemExit(f"nerserve bench: wrk failed: {(errors or output).strip()}")
