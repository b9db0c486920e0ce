"""One exchange with TorchServe's inference API: URL, headers, key, and the error that each failure means."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from contract.errors import ModelReplyError, ModelUnavailableError, RequestTooLargeError, UpstreamError
from contract.strict_json import to_json
from web.upstream.errors import (
    ModelKeyError,
    RequestRejectedError,
    WorkerDeadlineError,
    WorkerDiedError,
    WorkerOverloadedError,
)
from web.upstream.keys import KeyReader
from web.upstream.reply import parse_rejection
from web.upstream.transport import DeadlineTransport

_MIN_MAX_REPLY_BYTES: Final = 16 * 1_048_576
"""Far above any reply (about 100 bytes an entity), low enough to hold one for each request in flight."""


class InferenceAPI:
    """TorchServe's predictions, one attempt a call; the only class that knows its URLs. Shared by all requests."""

    def __init__(
        self,
        url: str,
        *,
        num_connections: int,
        max_request_bytes: int,
        key_reader: KeyReader | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """*url* has no trailing slash; *num_connections* are kept open; without *key_reader* no key is sent."""
        self._url = url
        self._max_request_bytes = max_request_bytes
        self._max_reply_bytes = max(_MIN_MAX_REPLY_BYTES, 16 * max_request_bytes)
        self._key_reader = key_reader
        self._transport = DeadlineTransport(num_connections, ca_file=ca_file)

    def encode(self, payload: dict[str, object]) -> bytes:
        """*payload* as a request's body; raises RequestTooLargeError if TorchServe would refuse it unread.

        In UTF-8, so that a text within the limit of characters is within that of bytes.
        """
        body = to_json(payload).encode()
        if len(body) > self._max_request_bytes:
            raise RequestTooLargeError(
                f"The request takes {len(body):,} bytes on the way to the model, "
                f"the limit is {self._max_request_bytes:,}."
            )
        return body

    def key(self) -> str:
        """The key to send, empty if TorchServe asks for none; raises ModelKeyError if there is none yet."""
        if self._key_reader is None:
            return ""
        key = self._key_reader.key()
        if not key:
            raise ModelKeyError("There is no key for the model server yet.")
        return key

    def wait_for_other_key(self, refused: str, deadline_s: float) -> bool:
        """Wait a moment for another key than *refused*; whether it came before *deadline_s*, a monotonic time."""
        return self._key_reader is not None and self._key_reader.wait_for_other(refused, deadline_s)

    def predict(self, model: str, body: bytes, *, key: str, timeout_s: float, request_id: str = "") -> bytes:
        """The body of TorchServe's 200; any other outcome raises an UpstreamError.

        ModelTimeoutError means that *timeout_s* seconds passed.
        """
        headers = {"X-Request-Deadline": f"{time.time() + timeout_s:.3f}"}
        if request_id:
            headers["X-Request-Id"] = request_id
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self._url}/predictions/{model}"
        reply = self._transport.exchange(
            url, body, headers=headers, timeout_s=timeout_s, max_bytes=self._max_reply_bytes
        )
        if reply.status == 200:
            return reply.body
        raise _error_of(reply.status, reply.body)


def _error_of(status: int, body: bytes) -> UpstreamError:
    """The error that a status other than 200 means."""
    if status == 404:  # ModelNotFoundException; the name is on the allow-list, so the model is not loaded yet
        return ModelUnavailableError("The model is not loaded on the model server.")
    if status >= 500:
        return _worker_error(status, body)
    if status == 413 and not body:  # TorchServe's own limit, lower than ours
        return RequestRejectedError(413, RequestTooLargeError.code, "The request is too large for the model server.")
    if status == 400 and _is_key_refusal(body):
        return ModelKeyError("The model server does not accept our key.")
    if status in {400, 413, 415, 422}:
        return RequestRejectedError(status, *parse_rejection(body))
    return ModelReplyError(f"The model server answered with status {status}.")


def _worker_error(status: int, body: bytes) -> UpstreamError:
    """The error that a status from 500 on means: the worker's own, or that there is no worker."""
    with suppress(ModelReplyError):  # where TorchServe answers itself
        code = parse_rejection(body).code
        if (status, code) == (503, WorkerOverloadedError.code):
            return WorkerOverloadedError()
        if (status, code) == (504, WorkerDeadlineError.code):
            return WorkerDeadlineError()
    # 500 and 507 are InternalServerException "Worker died."; an error in the handler is a 503
    kind = WorkerDiedError if status in {500, 507} else ModelUnavailableError
    return kind(f"The model server answered with status {status}.")


def _is_key_refusal(body: bytes) -> bool:
    """Whether this is TorchServe's own 400 for a key that is missing, wrong or expired.

    >>> _is_key_refusal(b'{"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."}')
    True
    """
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(reply, dict) and reply.get("type") == "InvalidKeyException"
