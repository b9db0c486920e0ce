"""A client's connection that is given up when nothing moves, or when a request or an answer takes too long."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import random
import sys
import termios
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gevent import sleep, socket

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LEAST_BYTES_PER_S: Final = 50_000
"""How slowly a client may send a request or take an answer, once its time without any haste is over."""


_MOST_PATIENCE: Final = 1.2
"""By how much a client's time may be longer: the time of hundreds that came at once must not end at once."""


_MAX_UNSENT_BYTES: Final = 64 * 1_048_576
"""What a process keeps at most of long answers whose clients do not take them, beside the first 256 KB of each."""


class ClientSocket(socket.socket):
    """A connection whose waits end: reading raises TimeoutError, writing BrokenPipeError, as if the client had gone.

    The time of a request begins with its first byte; that of an answer follows from its length. A stream, which sets a
    time for each wait, has no other.

    Attributes:
        idle_s: How many seconds a client may send, or take, nothing.
        request_s: How many seconds a request may take to come.
        waits_since_s: The monotonic time since when nothing comes that is waited for; infinite while nobody waits.
    """

    idle_s = 30.0
    request_s = 60.0
    waits_since_s = math.inf
    _unsent: ClassVar[dict[ClientSocket, int]] = {}
    _until_s = math.inf
    _is_stream = False
    _awaits_request = False
    _is_head_due = False
    _head = b""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.idle_s *= random.uniform(1, _MOST_PATIENCE)  # noqa: S311  (it guards nothing)

    def expect_request(self, wait_s: float) -> None:
        """From now on what comes is a request, whose first byte may take *wait_s* seconds."""
        super().settimeout(wait_s)
        self._until_s = time.monotonic() + wait_s + self.request_s
        self._awaits_request = True
        self._is_stream = False
        self._is_head_due = True

    def settimeout(self, howlong: float | None) -> None:
        """From now on each single wait may take *howlong* seconds, however many there are."""
        super().settimeout(howlong)
        self._until_s = math.inf
        self._awaits_request = False
        self._is_stream = True

    def recv(self, *arguments: Any) -> bytes:
        """As of any socket; TimeoutError once the time of the request is over."""
        self.waits_since_s = now_s = time.monotonic()
        if now_s > self._until_s:
            raise TimeoutError("the client sends too slowly")
        try:
            data: bytes = super().recv(*arguments)
        except TimeoutError:
            sleep(0)  # the time of hundreds may be over at once: others have a turn between any two
            raise
        self.waits_since_s = math.inf
        if self._awaits_request:
            self._awaits_request = False
            super().settimeout(self.idle_s)
            self._until_s = time.monotonic() + self.request_s
        return data

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """As of any socket, but each wait has its own time; a client that takes nothing, or too little, has gone.

        That it takes nothing is known after the second wait at the latest: something may be on its way in the first.
        """
        if self._is_head_due:  # what gunicorn sends first of an answer; it leaves with the body
            self._is_head_due = False
            self._head = bytes(data)
            return
        view = memoryview(self._head + data if self._head else data).cast("B")
        self._head = b""
        until_s = math.inf
        if not self._is_stream:
            super().settimeout(self.idle_s)
            until_s = time.monotonic() + self.idle_s + len(view) / LEAST_BYTES_PER_S
        with contextlib.suppress(BlockingIOError):
            view = view[self.send(view, flags, 0.0) :]  # type: ignore[call-arg]  # gevent's: how long to wait
        if view:
            with self._waiting(len(view)):
                self._send_slowly(view, flags, until_s)

    @contextlib.contextmanager
    def _waiting(self, num_bytes: int) -> Iterator[None]:
        """Count what a client has not taken yet; where it is too much in all, whoever began first is given up."""
        self._unsent[self] = num_bytes
        while sum(self._unsent.values()) > _MAX_UNSENT_BYTES and (first := next(iter(self._unsent))) is not self:
            del self._unsent[first]
            with contextlib.suppress(OSError):
                first.shutdown(socket.SHUT_RDWR)
        try:
            yield
        finally:
            self._unsent.pop(self, None)

    def _send_slowly(self, view: memoryview, flags: int, until_s: float) -> None:
        while view:
            if time.monotonic() > until_s:
                raise BrokenPipeError(errno.EPIPE, "the client reads too slowly")
            num_waiting = self.num_waiting_bytes()
            try:
                view = view[self.send(view, flags) :]
            except TimeoutError as error:
                if self.num_waiting_bytes() == num_waiting:
                    raise BrokenPipeError(errno.EPIPE, "the client does not read") from error

    def end_answer(self) -> None:
        """Send the head of an answer that has no body."""
        self._is_head_due = False
        if self._head:
            self.sendall(b"")

    def num_waiting_bytes(self) -> int:
        """What the system holds for the client; a megabyte may go before it wakes us up. 0 where it does not say."""
        try:
            return int.from_bytes(fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0
