"""What commands print: tables for people, and JSON, to an output that may be gone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ops.errors import OpsError


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """*rows* as lines with aligned columns.

    >>> print(aligned([("MODEL", "READY"), ("en", "2")]))
    MODEL  READY
    en     2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def print_text(out: TextIO, text: str) -> None:
    """Print *text*; OpsError when it cannot be, by which time everything has been done."""
    try:
        out.write(text + "\n")
        out.flush()
    except OSError as error:
        give_up(out)
        raise OpsError(f"the command is done, but its output cannot be written: {error.strerror or error}") from error


def give_up(stream: TextIO) -> None:
    """Redirect *stream* to /dev/null: Python would exit with status 120 over what it could not flush."""
    with contextlib.suppress(OSError), Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), stream.fileno())
