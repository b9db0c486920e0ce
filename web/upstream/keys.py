"""TorchServe's inference key, read from a file in which another process renews it.

TorchServe accepts one inference key at a time: a new key invalidates the old one at once, and is written
to the file a moment later. So after a refusal it pays to wait a moment for another key.
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
"""How long a refused key may stay in the file: far longer than publishing takes, even after TorchServe restarts."""

_STEP_S: Final = 0.02

_MAX_BYTES: Final = 4_096

_KEY: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""A bearer token (RFC 6750); TorchServe's are eight letters and digits."""


class KeyReader:
    """Reads the key in the only line of a file, again whenever the file changes; shared by all requests.

    The key is in no message, no log line and no ``repr``. A file that is missing, empty or malformed means that there
    is no key yet.
    """

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        """Reads nothing yet; *patience_s* is how many seconds a refused key may stay in the file."""
        self._path = path
        self._patience_s = patience_s
        self._stamp: tuple[int, int, int] | None = None
        self._key = ""
        self._state = "not read yet"
        self._refusal: tuple[str, float] | None = None  # the refused key, and when it was first refused
        self._lock = threading.Lock()

    def key(self) -> str:
        """The key, empty if there is none; costs one ``stat`` while the file is unchanged."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError:
            stamp = None
        if stamp is None or stamp != self._stamp:
            with self._lock:
                self._read(stamp)
        return self._key

    def wait_for_other(self, refused: str, deadline_s: float) -> bool:
        """Wait for another key than *refused* (empty: for any); whether it came before *deadline_s*, a monotonic time.

        The patience counts from the first refusal of a key, not from each request, so that a key that is never renewed
        delays few requests.
        """
        while True:
            with self._lock:
                self._read(None)  # whatever its stamp: two writes within one tick of the file system's clock share it
                if self._key not in {"", refused}:
                    return True
                if self._refusal is None or self._refusal[0] != refused:
                    self._refusal = (refused, time.monotonic())
                until_s = min(deadline_s, self._refusal[1] + self._patience_s)
            if time.monotonic() + _STEP_S > until_s:
                return False
            time.sleep(_STEP_S)

    def _read(self, stamp: tuple[int, int, int] | None) -> None:
        """Read the file; *stamp* was taken before, so that a change in between is seen the next time."""
        key, state = self._content()
        if key and self._refusal is not None and key != self._refusal[0]:
            self._refusal = None
        if (state, key) != (self._state, self._key):
            logger.log(logging.INFO if key else logging.WARNING, "key file %s: %s", self._path, state)
        self._key, self._state, self._stamp = key, state, stamp

    def _content(self) -> tuple[str, str]:
        """The key, empty if there is none, and the state of the file in words."""
        try:
            with self._path.open("rb") as file:
                key = file.read(_MAX_BYTES).decode("latin-1").strip()
        except OSError as error:
            return "", error.strerror or type(error).__name__
        if not key:
            return "", "it is empty"
        if _KEY.fullmatch(key) is None:
            return "", "expected nothing but a key in one line, got something else"
        return key, "there is a key in it"
