"""What the access log and the metrics need to know of a request when it ends."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final, cast

ENVIRON_KEY: Final = "nerserve.record"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass
class RequestRecord:
    """One request; shared by the greenlets that work for it.

    Attributes:
        request_id: The client's, or a new one.
        endpoint: Name of the view that answers, empty if there is none.
        model: The model that was asked, empty if there was none.
        num_texts: Texts in the request.
        num_chars: Code points in them.
        num_attempts: Attempts to ask TorchServe.
        code: The error's code, empty if there was none.
    """

    request_id: str
    endpoint: str = ""
    model: str = ""
    num_texts: int = 0
    num_chars: int = 0
    num_attempts: int = 0
    code: str = ""

    def add_texts(self, num_texts: int, num_chars: int) -> None:
        """Count texts of the client."""
        self.num_texts += num_texts
        self.num_chars += num_chars

    def add_attempt(self) -> None:
        """Count an attempt to ask TorchServe."""
        self.num_attempts += 1


def request_id_of(sent: str | None) -> str:
    """*sent* if it is a valid request id, else a new one of 32 hexadecimal digits.

    >>> request_id_of("order-17.a"), len(request_id_of("two words"))
    ('order-17.a', 32)
    """
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)


def record_of(environ: dict[str, Any]) -> RequestRecord:
    """The record of the request in the WSGI *environ*."""
    return cast(RequestRecord, environ[ENVIRON_KEY])
