"""A load generator in one thread: open loop at a fixed rate, or closed loop; every request has a deadline.

In an open loop a late answer delays no other request, and latency counts from
the moment a request was due, so that a stall shows in every request it delayed.
This minimal HTTP client takes 0.1 ms a request, and so leaves the processors to
the server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

RIGHT: Final = "right"
WRONG: Final = "WRONG"
HUNG: Final = "HUNG"
LOST: Final = "connection lost"
REFUSED: Final = "connection refused"

KEPT_S: Final = 2.0
"""How long a connection may be idle and still be reused.

The site closes one after 5 s; TorchServe closes one only after an error, and says so in its reply.
"""


def authorization(key: Path | None) -> dict[str, str]:
    """The header with the key that the file *key* holds now; none without a file."""
    return {} if key is None else {"Authorization": f"Bearer {key.read_text('ascii')}"}


class Request(NamedTuple):
    """A request, and a check of its reply."""

    path: str
    body: bytes
    content_type: str = "application/json"
    is_right: Callable[[int, bytes], bool] = lambda status, _body: status == 200
    method: str = "POST"


class Outcome(NamedTuple):
    """The result of one request.

    Attributes:
        due_s: When it was due, in seconds from the start of the load.
        latency_s: From then to its end.
        kind: RIGHT, WRONG, HUNG, LOST (the connection broke before the whole reply), REFUSED (no connection), or status
            and code of a documented error, ``"503 overloaded"``.
        has_retry_after: Whether the reply had a Retry-After header.
    """

    due_s: float
    latency_s: float
    kind: str
    has_retry_after: bool = False


@dataclass
class Load:
    """Requests to the server at *url*, taken from *requests* in turn, until :meth:`stop`; each is sent once.

    Attributes:
        url: The base URL.
        requests: The requests, which are repeated.
        deadline_s: A request without its whole reply after this many seconds counts as hung.
        outcomes: The results of the requests that have ended.
        kept_s: How long a connection may be idle and still be reused: less than the server keeps one, so that none is
            closed while a request is on its way.
        key: The file with the key that the server asks for, if it does.
    """

    url: str
    requests: Sequence[Request]
    deadline_s: float
    outcomes: list[Outcome] = field(default_factory=list)
    kept_s: float = KEPT_S
    key: Path | None = None
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _began_s: float = 0.0

    @property
    def now_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began_s

    def run_closed(self, num_clients: int, seconds: float) -> float:
        """Closed loop: *num_clients* clients without a pause, each at least once; returns right answers a second."""

        async def client(number: int) -> None:
            for turn in itertools.count(number, num_clients):
                await self._ask(self.requests[turn % len(self.requests)], self.now_s)
                if self.now_s >= seconds:
                    return

        async def clients() -> None:
            await asyncio.gather(*map(client, range(num_clients)))
            self._close()

        self._began_s = time.monotonic()
        asyncio.run(clients())
        return sum(outcome.kind == RIGHT for outcome in self.outcomes) / self.now_s

    def start(self, rate: float) -> None:
        """Open loop: begin to send *rate* requests a second, in a thread of its own."""
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._open_loop(rate)), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for the replies that are due."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    async def _open_loop(self, rate: float) -> None:
        under_way: set[asyncio.Task[None]] = set()
        turn = 0
        while not self._stop.is_set():
            due_s = turn / rate
            await asyncio.sleep(max(0.0, min(0.5, due_s - self.now_s)))
            if self.now_s < due_s:
                continue
            task = asyncio.create_task(self._ask(self.requests[turn % len(self.requests)], due_s))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            turn += 1
        await asyncio.gather(*under_way)
        self._close()

    async def _ask(self, request: Request, due_s: float) -> None:
        """Send *request* once and record the outcome."""
        has_retry_after = False
        try:
            async with asyncio.timeout(self.deadline_s):
                status, headers, body = await self._exchange(request)
            has_retry_after = "retry-after" in headers
            kind = RIGHT if request.is_right(status, body) else _kind_of(status, body)
        except TimeoutError:
            kind = HUNG
        except ConnectionRefusedError:
            kind = REFUSED
        except (OSError, asyncio.IncompleteReadError):
            kind = LOST
        self.outcomes.append(Outcome(due_s, self.now_s - due_s, kind, has_retry_after))

    async def _exchange(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the reply to *request*, on an idle connection if there is one."""
        parts = urlsplit(self.url)
        reader, writer = self._kept() or await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)
        is_kept = False
        try:
            own = "".join(f"{name}: {value}\r\n" for name, value in authorization(self.key).items())
            head = (
                f"{request.method} {request.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{own}"
                f"Content-Type: {request.content_type}\r\nContent-Length: {len(request.body)}\r\n\r\n"
            )
            writer.writelines([head.encode(), request.body])
            await writer.drain()
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
            headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])}
            body = await _body(reader, headers)
            is_kept = headers.get("connection", "").lower() != "close"
            return status, headers, body
        finally:
            if is_kept:
                self._idle.append((reader, writer, self.now_s))
            else:
                writer.close()

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The connection used last, if it is open and was idle for at most kept_s; others are closed."""
        while self._idle:
            reader, writer, since_s = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing() or self.now_s - since_s > self.kept_s):
                return reader, writer
            writer.close()
        return None

    def _close(self) -> None:
        for _, writer, _ in self._idle:
            writer.close()
        self._idle.clear()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


def _kind_of(status: int, body: bytes) -> str:
    """WRONG for a status below 400, else the status with the code of our errors."""
    if status < 400:
        return WRONG
    try:
        return f"{status} {json.loads(body)['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return f"{status}"


def quantiles(outcomes: Sequence[Outcome], *shares: float) -> list[float]:
    """Latency quantiles of *outcomes* in seconds; not a number if there is none."""
    latencies = sorted(outcome.latency_s for outcome in outcomes)
    if not latencies:
        return [float("nan")] * len(shares)
    return [latencies[min(len(latencies) - 1, int(len(latencies) * share))] for share in shares]
