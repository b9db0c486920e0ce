"""What a request's log line and metrics say, collected while it is handled."""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any, Final, cast

ENVIRON_KEY: Final = "nerserve.record"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass
class RequestRecord:
    """One request so far; the threads that work for it share it.

    Attributes:
        request_id: The client's, or one of ours.
        endpoint: The view that answers, empty if there is none.
        model: The model that was asked, empty if none was.
        num_texts: Texts that were sent.
        num_chars: Code points of them.
        num_attempts: How often TorchServe was asked.
        code: The code of the error that was answered, empty if none was.
    """

    request_id: str
    endpoint: str = ""
    model: str = ""
    num_texts: int = 0
    num_chars: int = 0
    num_attempts: int = 0
    code: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_texts(self, num_texts: int, num_chars: int) -> None:
        """Count texts that a client has sent."""
        with self._lock:
            self.num_texts += num_texts
            self.num_chars += num_chars

    def add_attempt(self) -> None:
        """Count an attempt to ask TorchServe."""
        with self._lock:
            self.num_attempts += 1


def request_id_of(sent: str | None) -> str:
    """*sent* if it is a good request id, else a new one: 32 hexadecimal digits.

    >>> request_id_of("order-17.a"), len(request_id_of("two words"))
    ('order-17.a', 32)
    """
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)


def record_of(environ: dict[str, Any]) -> RequestRecord:
    """The record of the request in the WSGI *environ*."""
    return cast(RequestRecord, environ[ENVIRON_KEY])
