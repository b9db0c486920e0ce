"""A command that goes on in the background once it is ready."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_detached(run: Callable[[Callable[[], None]], int]) -> int:
    """Have *run* go on in a process of its own, with a session of its own and nothing on stdin.

    *run* is given a function to call once it is ready; then this process returns 0, and the other goes on.  Until then
    signals that would end this process are handed on to it, and its end is this one's: the exit status is returned.
    In the new process the function returns what *run* returns, or raises what it raises.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # none is lost between fork and handlers
    child = os.fork()
    if child == 0:
        os.setsid()
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        _close_inherited()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return run(lambda: _say_ready(writer))
    os.close(writer)

    def hand_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)  # it cannot be another's before it is waited for below

    before = {number: signal.getsignal(number) for number in _STOPS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    is_ready = os.read(reader, 1) != b""  # the end of the pipe is the end of the process
    os.close(reader)
    for number, handler in before.items():
        signal.signal(number, handler)
    if is_ready:
        return 0
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _close_inherited() -> None:
    """Close what the shell opened for the command, a pipe to a waiting program perhaps; all but stdin and outputs."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # the listing's own
            if descriptor > 2 and os.get_inheritable(descriptor):  # Python's own are not
                os.close(descriptor)


def _say_ready(writer: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits any more
        os.write(writer, b"1")
    os.close(writer)
