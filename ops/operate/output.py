"""What commands print, to an output that may be gone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TextIO

from ops.errors import OpsError


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
