"""The way to TorchServe: the only module that knows its URLs and its ways of failing."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Final

import requests

from web.config import TORCHSERVE_MAX_BYTES
from web.errors import (
    ModelReplyError,
    ModelTimeoutError,
    ModelUnavailableError,
    RequestRejectedError,
    RequestTooLargeError,
    UpstreamError,
)
from web.reply import TextReply, TextsReply, parse_rejection, parse_text_reply, parse_texts_reply
from web.transport import DeadlineSession, ReplyTooLargeError

logger = logging.getLogger(__name__)

_MAX_REPLY_BYTES: Final = 16 * 1_048_576
"""Far above any honest reply (about 100 bytes an entity), low enough for every thread to hold one."""


class ModelClient:
    """Asks models by name and returns replies that keep the contract; shared by all threads of a process.

    Every call ends by its deadline. A call raises RequestRejectedError (400, 413: the model refused the request),
    ModelReplyError (502), ModelUnavailableError (503) or ModelTimeoutError (504); RequestTooLargeError (413) when
    TorchServe would refuse the body unread.
    """

    def __init__(self, *, inference_url: str, timeout_s: float, num_connections: int) -> None:
        """*timeout_s* is the deadline of a call in seconds, *num_connections* how many are kept open."""
        self._inference_url = inference_url
        self._timeout_s = timeout_s
        self._session = DeadlineSession(num_connections)

    def tag_text(self, model: str, text: str, *, timeout_s: float | None = None) -> TextReply:
        """The entities of one text; *timeout_s* replaces the usual deadline."""
        try:
            return parse_text_reply(self._predict(model, {"text": text}, timeout_s), text)
        except UpstreamError as error:
            _log(model, error)
            raise

    def tag_texts(self, model: str, texts: Sequence[object]) -> TextsReply:
        """The entities of several texts, or the reason why one has none, in their order; not each need be a string."""
        try:
            return parse_texts_reply(self._predict(model, {"texts": list(texts)}, None), texts)
        except UpstreamError as error:
            _log(model, error)
            raise

    def _predict(self, model: str, payload: dict[str, object], timeout_s: float | None) -> bytes:
        """The body of a 200; everything else is raised."""
        body = json.dumps(payload).encode("ascii")  # escaped, so that lone surrogates arrive as they were sent
        if len(body) >= TORCHSERVE_MAX_BYTES:
            raise RequestTooLargeError(
                f"The texts take {len(body)} bytes on the way to the model, the limit is {TORCHSERVE_MAX_BYTES}."
            )
        url = f"{self._inference_url}/predictions/{model}"
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            reply = self._session.exchange(url, body, timeout_s=timeout_s, max_bytes=_MAX_REPLY_BYTES)
        except requests.Timeout as error:
            raise ModelTimeoutError(f"The model did not answer within {timeout_s:g} seconds.") from error
        except ReplyTooLargeError as error:
            raise ModelReplyError(f"The model's reply has more than {_MAX_REPLY_BYTES} bytes.") from error
        except requests.RequestException as error:
            raise ModelUnavailableError("There is no connection to the model server.") from error
        if reply.status != 200:
            raise _failure(reply.status, reply.body)
        return reply.body


def _failure(status: int, body: bytes) -> UpstreamError:
    """What a status other than 200 means."""
    if status == 404:  # its ModelNotFoundException; the name is on our list, so the model is not there yet
        return ModelUnavailableError("The model is not loaded on the model server.")
    if status >= 500:
        return ModelUnavailableError(f"The model server answered with status {status}.")
    if status == 413 and not body:  # its own limit, lower than the one we know of
        return RequestRejectedError(413, RequestTooLargeError.code, "The request is too large for the model server.")
    if status in {400, 413}:
        return RequestRejectedError(status, *parse_rejection(body))
    return ModelReplyError(f"The model server answered with status {status}.")


def _log(model: str, error: UpstreamError) -> None:
    """Log the event; a rejection's message is the model's own, so only its code is known to hold no text."""
    if isinstance(error, RequestRejectedError):
        logger.info("model %s refused a request: %s", model, error.code)
    else:
        logger.warning("model %s: %s: %s", model, error.code, error)
