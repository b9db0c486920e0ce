"""SIGINT (Ctrl-C) and SIGTERM during a training run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """A function that returns the signal received within the block, or None.

    Only the first signal is caught; a second one has its default effect.  A signal that is ignored, as under nohup or
    in a shell's background job, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    received: list[int] = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        restore()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield lambda: received[0] if received else None
    finally:
        restore()
