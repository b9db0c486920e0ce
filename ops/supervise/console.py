"""What the operator of ``nerserve up`` sees."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TextIO


class Console:
    """Progress and announcements on *out*, events with the time of day on *err*.

    What is being waited for is on a terminal one line that counts the seconds, elsewhere a line for each step.
    """

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._is_terminal = out.isatty()
        self._began_s = time.monotonic()
        self._step = ""

    def waiting_for(self, step: str) -> None:
        """Show that *step* is being waited for; call it as often as you like."""
        if self._is_terminal:
            _write(self._out, f"\r\x1b[K{step} ({self.elapsed_s:.0f} s)")
        elif step != self._step:
            _write(self._out, f"{step}\n")
        self._step = step

    def say(self, text: str) -> None:
        """Show *text* in a line of its own."""
        self.clear()
        _write(self._out, f"{text}\n")

    def report(self, event: str) -> None:
        """Show *event*, and when it happened."""
        self.clear()
        _write(self._err, f"{time.strftime('%H:%M:%S')} {event}\n")

    def clear(self) -> None:
        """Leave the terminal's line clean."""
        if self._is_terminal and self._step:
            _write(self._out, "\r\x1b[K")
        self._step = ""

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began_s


def _write(stream: TextIO, text: str) -> None:
    with suppress(OSError):  # a full disk, a terminal that is gone: nothing ends for that
        stream.write(text)
        stream.flush()
