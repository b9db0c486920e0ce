"""The key that TorchServe asks for, from a file in which somebody else renews it.

TorchServe's token mode accepts one inference key at a time: a new one ends the old one at once, and its file is
written a moment later. So a key that was refused is worth a short wait for another.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""How long a refused key may stay in the file: far more than publishing takes, even after a restart of TorchServe."""

STEP_S: Final = 0.02

_MAX_BYTES: Final = 4_096

_KEY: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""What a bearer token may be made of (RFC 6750); TorchServe's are eight letters and digits."""


class KeyFile:
    """A file with one key in its only line, read again whenever it changes; shared by threads.

    The key is in no message, no log line and no ``repr``. A file that is missing, empty or holds something else is no
    error: it may be there in a moment.
    """

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        """Nothing is read yet; *patience_s* is how many seconds a refused key may stay."""
        self._path = path
        self._patience_s = patience_s
        self._stamp: tuple[int, int, int] | None = None
        self._key = ""
        self._state = "not read yet"
        self._trouble: tuple[str, float] | None = None  # the key that was refused, and when that was first seen
        self._lock = threading.Lock()

    def key(self) -> str:
        """The key, empty if there is none; costs a look at the file's time and size."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError:
            stamp = None
        if stamp is None or stamp != self._stamp:
            with self._lock:
                self._read(stamp)
        return self._key

    def has_other_than(self, refused: str, deadline_s: float) -> bool:
        """Wait for another key than *refused* (empty: for any); whether it came before *deadline_s*, a monotonic time.

        The patience begins when the trouble does, not with each request: a key that nobody renews holds nobody up.
        """
        while True:
            with self._lock:
                self._read(None)  # whatever its stamp: two writes in one tick of the file system's clock have the same
                if self._key not in {"", refused}:
                    return True
                if self._trouble is None or self._trouble[0] != refused:
                    self._trouble = (refused, time.monotonic())
                until_s = min(deadline_s, self._trouble[1] + self._patience_s)
            if time.monotonic() + STEP_S > until_s:
                return False
            time.sleep(STEP_S)

    def _read(self, stamp: tuple[int, int, int] | None) -> None:
        """Read the file as it is now; *stamp* is from before, so that a change in between is seen the next time."""
        before = self._key
        self._key, state = self._content()
        self._stamp = stamp
        if self._key and self._trouble is not None and self._key != self._trouble[0]:
            self._trouble = None
        if (state, self._key) != (self._state, before):
            self._state = state
            level = logging.INFO if self._key else logging.WARNING
            logger.log(level, "key file %s: %s", self._path, state)

    def _content(self) -> tuple[str, str]:
        """The key and what to say about the file."""
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES)
        except OSError as error:
            return "", error.strerror or type(error).__name__
        key = content.decode("latin-1").strip()
        if not key:
            return "", "it is empty"
        if _KEY.fullmatch(key) is None:
            return "", "expected nothing but a key in one line, got something else"
        return key, "there is a key in it"
