"""The headers of a request that the worker heeds; names are compared without case, but for TorchServe's own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_LENGTH = re.compile(r"[0-9]{1,15}")

_NEVER = float("inf")


class RequestHeaders(NamedTuple):
    """Headers of one request.

    Attributes:
        content_type: As the client sent it, or empty.
        content_encoding: As the client sent it, or empty.
        content_length: Bytes of the body; None where there is no such number.
        request_id: The client's, if it is one, else TorchServe's.
        deadline: Unix time in seconds; infinite where the client named none.
        explain: True on the paths for explanations.
        is_grpc: True for a gRPC call, which has no headers at all.
    """

    content_type: str = ""
    content_encoding: str = ""
    content_length: int | None = None
    request_id: str = ""
    deadline: float = _NEVER
    explain: bool = False
    is_grpc: bool = False


def read_headers(headers: Mapping[str, object], server_id: str) -> RequestHeaders:
    """The headers in TorchServe's dictionary of them, which also holds an entry that is no string for each part."""
    sent = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    request_id = sent.get("x-request-id", "")
    length = sent.get("content-length", "")
    return RequestHeaders(
        content_type=sent.get("content-type", ""),
        content_encoding=sent.get("content-encoding", ""),
        content_length=int(length) if _LENGTH.fullmatch(length) else None,
        request_id=request_id if request_id and _REQUEST_ID.fullmatch(request_id) else server_id,
        deadline=_seconds(sent["x-request-deadline"]) if "x-request-deadline" in sent else _NEVER,
        # TorchServe adds exactly this name behind all that the client sent: False on /predictions, whatever they say.
        explain=headers.get("explain") == "True",
        is_grpc=not sent,
    )


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return _NEVER
    return _NEVER if math.isnan(seconds) else seconds
