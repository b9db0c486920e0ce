"""SIGINT (Ctrl-C) and SIGTERM while a run trains."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """A function that says which signal asked the run to stop, None as long as none did.

    Only the first signal waits for the run to ask; a second one does at once
    what it does everywhere else.  A signal that the process was told to
    ignore, as nohup and shells do for what runs in the background, stays
    ignored.
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
