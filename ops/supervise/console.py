"""What the operator of ``nerserve up`` sees, and finds again in ``up.log``."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from ops.errors import OpsError
from ops.process.group import LogFile


class Console:
    """Progress and announcements on *out*, events with the time of day on *err*; both are kept in the file *log*.

    What is being waited for is on a terminal one line that counts the seconds, elsewhere a line for each step.
    """

    def __init__(self, out: TextIO, err: TextIO, log: Path) -> None:
        self._out: TextIO | None = out
        self._err: TextIO | None = err
        self._log = LogFile(log)
        try:
            self._descriptor = self._log.open()
        except OSError as error:
            raise OpsError(f"{log} cannot be written: {error.strerror or error}") from error
        self._is_terminal = out.isatty()
        self._began_s = time.monotonic()
        self._step = ""

    def waiting_for(self, step: str) -> None:
        """Show that *step* is being waited for; call it as often as you like."""
        if step != self._step:
            self._keep("INFO", step)
        if self._is_terminal:
            _write(self._out, f"\r\x1b[K{step} ({self.elapsed_s:.0f} s)")
        elif step != self._step:
            _write(self._out, f"{step}\n")
        self._step = step

    def say(self, text: str) -> None:
        """Show *text* in a line of its own."""
        self.clear()
        self._keep("INFO", text)
        _write(self._out, f"{text}\n")

    def report(self, event: str, level: str = "WARN") -> None:
        """Show *event*, and when it happened."""
        self.clear()
        self._keep(level, event)
        _write(self._err, f"{time.strftime('%H:%M:%S')} {event}\n")

    def note(self, failure: OpsError) -> None:
        """Keep *failure*, which is shown elsewhere."""
        self._keep("ERROR", str(failure))

    def tell(self, event: str) -> None:
        """Report *event*, and keep the log small."""
        self.report(event)
        self._log.cap()  # not in report(), which tells what goes wrong here

    def clear(self) -> None:
        """Leave the terminal's line clean."""
        if self._is_terminal and self._step:
            _write(self._out, "\r\x1b[K")
        self._step = ""

    def leave_terminal(self) -> None:
        """Show nothing from now on; what this process prints all the same goes into the log."""
        self.clear()
        self._out = self._err = None
        self._is_terminal = False
        for descriptor in (1, 2):
            os.dup2(self._descriptor, descriptor)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began_s

    @contextmanager
    def open(self) -> Iterator[Console]:
        """Report what the modules log as well, until the log is closed."""
        handler = _Reporter(self)
        logging.getLogger().addHandler(handler)
        try:
            yield self
        finally:
            logging.getLogger().removeHandler(handler)
            os.close(self._descriptor)

    def _keep(self, level: str, message: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": at, "level": level, "message": message}, ensure_ascii=False)
        with suppress(OSError):
            os.write(self._descriptor, f"{line}\n".encode(errors="backslashreplace"))


class _Reporter(logging.Handler):
    """Hands what is logged, from any thread, to the console."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.report(f"{record.levelname.lower()}: {record.getMessage()}", record.levelname)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    with suppress(OSError):  # a full disk, a terminal that is gone: nothing ends for that
        stream.write(text)
        stream.flush()
