"""Signals that ask a command to stop; light enough for every command to import."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequests:
    """The SIGINT, SIGTERM and SIGHUP that came while installed; the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Note the signal *number*; this is the signal handler."""
        self.signals.append(number)

    @property
    def should_stop(self) -> bool:
        """Whether there was any."""
        return bool(self.signals)

    @property
    def should_hurry(self) -> bool:
        """Whether there was more than one."""
        return len(self.signals) > 1

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals here for a while; one that is ignored stays so, as nohup wants it."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
