"""Requests from one thread: open loop at a steady rate, or closed loop, every one with a deadline.

In an open loop a late answer delays no other request, and latency counts from
the moment a request was due, so that a stall shows in every request it delayed.
A client that speaks this little HTTP costs a tenth of a millisecond a request,
and so leaves the processors to what is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

TEXTS: Final = [
    "Barack Obama was born in Hawaii and worked for the United Nations in New York.",
    "Angela Merkel met Emmanuel Macron in Paris on Tuesday, a spokesman said.",
    "Shares of Deutsche Bank fell in Frankfurt after the report.",
    "Nothing of the kind was found here.",
    "Kofi Annan of Ghana led the United Nations from 1997 to 2006.",
    "The Iraqi government said on Friday that troops had left Basra.",
    "She moved from London to Los Angeles to work for Warner Brothers.",
    "Mr. Smith went to Washington.",
    "The European Union and Japan signed the agreement in Tokyo.",
    "i can haz cheeseburger",
    "Toyota and Honda build cars in Ohio, Indiana and Alabama.",
    "In 2009 he flew to Oslo, where the Norwegian Nobel Committee gave him the Nobel Peace Prize.",
]

RIGHT: Final = "right"
WRONG: Final = "WRONG"
HUNG: Final = "HUNG"
LOST: Final = "connection lost"
REFUSED: Final = "connection refused"

KEPT_S: Final = 2.0
"""For so long a connection may lie idle and be used again.

The site closes one after 5 s; TorchServe closes none but after an error, and says so in its reply.
"""


class Request(NamedTuple):
    """A request, and whether a reply to it is right."""

    path: str
    body: bytes
    content_type: str = "application/json"
    is_right: Callable[[int, bytes], bool] = lambda status, _body: status == 200
    method: str = "POST"


class Outcome(NamedTuple):
    """What became of one request.

    Attributes:
        due_s: When it was due, from the beginning of the load.
        latency_s: From then to its end.
        kind: RIGHT, WRONG, HUNG, LOST (the connection broke before the whole reply was there), REFUSED, or status and
            code of a documented error, ``"503 overloaded"``.
        has_retry_after: Whether the reply said when to come back.
    """

    due_s: float
    latency_s: float
    kind: str
    has_retry_after: bool = False

    @property
    def end_s(self) -> float:
        """When it ended, from the beginning of the load."""
        return self.due_s + self.latency_s


class Reply(NamedTuple):
    """A whole reply."""

    status: int
    headers: dict[str, str]
    body: bytes


def text_requests(path: str, expected: Sequence[list[dict[str, Any]]]) -> list[Request]:
    """One request for each of TEXTS, right when exactly the *expected* entities come."""

    def judge(entities: list[dict[str, Any]]) -> Callable[[int, bytes], bool]:
        return lambda status, body: status == 200 and json.loads(body).get("entities") == entities

    bodies = [json.dumps({"text": text}).encode() for text in TEXTS]
    return [Request(path, body, is_right=judge(entities)) for body, entities in zip(bodies, expected, strict=True)]


class _Idle(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    since_s: float


@dataclass
class Load:
    """Requests to the server at *url*, taken from *requests* in turn, until told to stop; each is sent once.

    Attributes:
        url: The base URL.
        requests: What is asked.
        deadline_s: After so many seconds without its whole reply a request counts as hung.
        outcomes: What became of those that have ended.
        kept_s: How long a connection may lie idle and be used again: less than the server keeps one, so that none is
            closed while a request is on its way.
    """

    url: str
    requests: Sequence[Request]
    deadline_s: float
    outcomes: list[Outcome] = field(default_factory=list)
    kept_s: float = KEPT_S
    _idle: list[_Idle] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _began_s: float = 0.0

    @property
    def now_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began_s

    def run_closed(self, num_clients: int, seconds: float) -> float:
        """Have *num_clients* ask without pausing, each at least once; right answers a second come back."""

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
        """Begin to ask *rate* times a second, in a thread of its own."""
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._open_loop(rate)), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop asking, and wait for what is under way."""
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
        """Ask once and note what came."""
        has_retry_after = False
        try:
            async with asyncio.timeout(self.deadline_s):
                reply = await self._exchange(request)
            has_retry_after = "retry-after" in reply.headers
            kind = RIGHT if request.is_right(reply.status, reply.body) else _kind_of(reply)
        except TimeoutError:
            kind = HUNG
        except ConnectionRefusedError:
            kind = REFUSED
        except (OSError, asyncio.IncompleteReadError):
            kind = LOST
        self.outcomes.append(Outcome(due_s, self.now_s - due_s, kind, has_retry_after))

    async def _exchange(self, request: Request) -> Reply:
        """The reply, on a connection kept from before if there is one."""
        reader, writer = self._kept() or await self._new()
        is_kept = False
        try:
            head = (
                f"{request.method} {request.path} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\n"
                f"Content-Type: {request.content_type}\r\nContent-Length: {len(request.body)}\r\n\r\n"
            )
            writer.writelines([head.encode(), request.body])
            await writer.drain()
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
            headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])}
            body = await _body(reader, headers)
            is_kept = headers.get("connection", "").lower() != "close"
            return Reply(status, headers, body)
        finally:
            if is_kept:
                self._idle.append(_Idle(reader, writer, self.now_s))
            else:
                writer.close()

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The connection that was used last, if it is open and was used not long ago; others are closed."""
        while self._idle:
            reader, writer, since_s = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing() or self.now_s - since_s > self.kept_s):
                return reader, writer
            writer.close()
        return None

    async def _new(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        return await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)

    def _close(self) -> None:
        for idle in self._idle:
            idle.writer.close()
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


def _kind_of(reply: Reply) -> str:
    """WRONG for what is no error, else its status and, where it is ours, its code."""
    if reply.status < 400:
        return WRONG
    try:
        document = json.loads(reply.body)
        return f"{reply.status} {document['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return f"{reply.status}"


def quantiles(outcomes: Sequence[Outcome], *shares: float) -> list[float]:
    """Latencies in seconds below which those *shares* of *outcomes* lie; not a number when there are none."""
    latencies = sorted(outcome.latency_s for outcome in outcomes)
    if not latencies:
        return [float("nan")] * len(shares)
    return [latencies[min(len(latencies) - 1, int(len(latencies) * share))] for share in shares]


def kinds(outcomes: Sequence[Outcome]) -> str:
    """How often what was not right came, the most frequent first: ``"3 x 503 overloaded, 1 x HUNG"``."""
    counts = Counter(outcome.kind for outcome in outcomes if outcome.kind != RIGHT)
    return ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
