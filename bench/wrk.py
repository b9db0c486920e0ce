"""Closed-loop load from wrk, which is fast enough not to disturb the measurement."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.errors import BenchError

_SCRIPT: Final = Path(__file__).with_name("rotate.lua")
_MARK: Final = "RESULT "
_TIMEOUT_S: Final = 30


class Measured(NamedTuple):
    """The result of one run of wrk.

    Attributes:
        requests: Replies, whatever their status.
        seconds: How long it ran.
        refused: Replies with a status of 400 or more.
        broken: Requests without a reply: connection refused or lost, or timed out.
        p50_ms: Latency percentiles of all replies.
        cpu_ms: CPU time of the server a request, where it was measured.
    """

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float = 0.0

    @property
    def rate(self) -> float:
        """Throughput: requests a second answered with a status below 400."""
        return (self.requests - self.refused) / self.seconds


def bodies(texts: Sequence[str], num_texts: int) -> list[bytes]:
    """Request bodies in JSON with *num_texts* of *texts* each.

    >>> bodies(["a", "b"], 1), bodies(["a", "b", "c"], 2)
    ([b'{"text": "a"}', b'{"text": "b"}'], [b'{"texts": ["a", "b"]}', b'{"texts": ["c"]}'])
    """
    groups = (texts[i : i + num_texts] for i in range(0, len(texts), num_texts))
    return [json.dumps({"texts": group} if num_texts > 1 else {"text": group[0]}).encode() for group in groups]


def write_requests(file: Path, requests: Sequence[tuple[str, bytes]]) -> None:
    """Write *requests*, paths with JSON bodies, to *file* for :func:`run`."""
    file.write_bytes(b"".join(path.encode() + b"\t" + body + b"\n" for path, body in requests))


def run(
    url: str, file: Path, headers: Mapping[str, str], *, connections: int, seconds: float, first: int = 0
) -> Measured:
    """Send the requests of *file* to *url*, from its line *first* on, over *connections*; BenchError if wrk fails.

    An Authorization in *headers* reaches wrk by its environment, which, unlike a command line, others cannot read.
    """
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={_TIMEOUT_S}s"),
        *("-s", str(_SCRIPT), url, "--", str(file), str(first)),
    ]
    environ = os.environ | {"WRK_AUTHORIZATION": headers.get("Authorization", "")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return parse(done.stdout, done.stderr)


def parse(output: str, errors: str = "") -> Measured:
    """The result in *output* of wrk with our script; BenchError, with its *errors*, if there is none.

    >>> parse('RESULT {"requests": 9, "seconds": 2, "refused": 1, "broken": 0, "p50_ms": 1, "p95_ms": 2, "p99_ms": 3}')
    Measured(requests=9, seconds=2, refused=1, broken=0, p50_ms=1, p95_ms=2, p99_ms=3, cpu_ms=0.0)
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            return Measured(**json.loads(line.removeprefix(_MARK)))
    raise BenchError(f"wrk failed: {(errors or output).strip()}")
