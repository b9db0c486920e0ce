"""What the shell sees when a command ends: one status for one cause, whichever command meets it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Self


class ExitStatus(IntEnum):
    """The exit statuses of ``nerserve``; ``meaning`` is what ``--help`` says of one."""

    meaning: str

    DONE = 0, "done"
    FAILED = 1, "any other failure; the last line on stderr says which"
    UNUSABLE = 2, "wrong usage, or a file, setting or option that cannot be used"
    BUSY = 3, "a port, state directory or run folder is in use by another process"
    NO_JAVA = 4, "no Java 17 or newer"
    BAD_MODEL = 5, "a model, archive or bundle, is missing or broken"
    UNKNOWN_MODEL = 6, "no such model, version or archive on the server"
    REFUSED = 7, "refused by the server or because it would hurt, or no nerserve up runs there"
    ROLLED_BACK = 8, "a change did not hold and was taken back; the old state is served"
    NOT_IN_TIME = 9, "what was waited for did not happen in time"
    NO_REPLY = 10, "no reply from the server"
    NOT_RESTORED = 11, "a change could not be taken back; the message says what is left to do"
    GAVE_UP = 12, "with --no-restart: TorchServe, a model or the site ended or hung after everything was up"

    def __new__(cls, value: int, meaning: str) -> Self:
        """A member with both."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class NerserveError(Exception):
    """Any failure that the project can name; a command reports it in one line and ends with ``exit_status``.

    A message says what was expected and what came.  ``details`` are lines to print before it, such as those of a log.
    """

    exit_status: int = ExitStatus.FAILED
    details: Sequence[str] = ()


def exit_status_help(*statuses: ExitStatus) -> str:
    """The part of a command's help on *statuses*; 0, 2 and stops by a signal are every command's.

    >>> print(exit_status_help(ExitStatus.NO_REPLY))
    exit status:
      0        done
      1        any other failure; the last line on stderr says which
      2        wrong usage, or a file, setting or option that cannot be used
      10       no reply from the server
      128 + N  stopped by signal N; 130 by Ctrl-C
    """
    always = (ExitStatus.DONE, ExitStatus.FAILED, ExitStatus.UNUSABLE)
    rows = [f"  {status:<7}  {status.meaning}" for status in sorted({*always, *statuses})]
    return "\n".join(["exit status:", *rows, "  128 + N  stopped by signal N; 130 by Ctrl-C"])
