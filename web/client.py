"""The way to TorchServe: the only module that knows its URLs and its ways of failing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import requests

from web.config import TORCHSERVE_MAX_BYTES
from web.errors import (
    ModelKeyError,
    ModelReplyError,
    ModelTimeoutError,
    ModelUnavailableError,
    RequestRejectedError,
    RequestTooLargeError,
    UpstreamError,
    WorkerDiedError,
)
from web.keys import KeyFile
from web.reply import TextReply, TextsReply, parse_rejection, parse_text_reply, parse_texts_reply
from web.retries import DEFAULT_POLICY, Budget, RetryPolicy
from web.transport import DeadlineSession, ReplyTooLargeError

logger = logging.getLogger(__name__)

R = TypeVar("R")

_MAX_REPLY_BYTES: Final = 16 * 1_048_576
"""Far above any honest reply (about 100 bytes an entity), low enough for every thread to hold one."""

_LEAST_ATTEMPT_S: Final = 0.02
"""With less time left, another attempt is not begun."""


class ModelClient:
    """Asks models by name and returns replies that keep the contract; shared by all threads of a process.

    Every call ends by its deadline, and until then repeats what was lost, as ``web.retries`` allows. A call raises
    RequestRejectedError (400, 413: the model refused the request), ModelReplyError (502), ModelUnavailableError (503)
    or ModelTimeoutError (504); RequestTooLargeError (413) when TorchServe would refuse the body unread.
    """

    def __init__(
        self,
        *,
        inference_url: str,
        timeout_s: float,
        num_connections: int,
        key_file: KeyFile | None = None,
        ca_file: Path | None = None,
        policy: RetryPolicy = DEFAULT_POLICY,
    ) -> None:
        """*timeout_s* is the deadline of a call in seconds, *num_connections* how many are kept open."""
        self._inference_url = inference_url
        self._timeout_s = timeout_s
        self._num_connections = num_connections
        self._key_file = key_file
        self._policy = policy
        self._session = DeadlineSession(num_connections, ca_file=ca_file)
        self._budgets: dict[str, Budget] = {}

    def tag_text(self, model: str, text: str) -> TextReply:
        """The entities of one text."""
        return self._ask(model, {"text": text}, lambda body: parse_text_reply(body, text))

    def tag_texts(self, model: str, texts: Sequence[object]) -> TextsReply:
        """The entities of several texts, or the reason why one has none, in their order; not each need be a string."""
        return self._ask(model, {"texts": list(texts)}, lambda body: parse_texts_reply(body, texts))

    def probe(self, model: str, text: str, *, timeout_s: float) -> TextReply:
        """The entities of one text at the first attempt, within *timeout_s* seconds: how the model is just now."""
        body = _body({"text": text})
        try:
            return parse_text_reply(self._attempt(model, body, self._key(), timeout_s), text)
        except requests.Timeout as error:
            failure = _timeout(timeout_s)
            _log(model, failure, 1)
            raise failure from error
        except UpstreamError as error:
            _log(model, error, 1)
            raise

    def _ask(self, model: str, payload: dict[str, object], parse: Callable[[bytes], R]) -> R:
        """What *parse* makes of the first reply that is one."""
        body = _body(payload)
        call = _Call(self._policy, self._budget(model), self._timeout_s)
        try:
            while True:
                key = ""
                try:
                    key = self._key()
                    reply = parse(self._attempt(model, body, key, call.begin_attempt()))
                except requests.Timeout as error:
                    call.after_silence(error)
                except ModelKeyError:
                    if self._key_file is None or not self._key_file.has_other_than(key, call.deadline_s):
                        raise
                except RequestRejectedError:
                    raise
                except UpstreamError as error:
                    call.after_failure(error)
                else:
                    if call.num_attempts > 1:
                        logger.info("model %s: answered attempt %s", model, call.num_attempts)
                    return reply
                finally:
                    call.end_attempt()
        except UpstreamError as error:
            _log(model, error, call.num_attempts)
            raise

    def _budget(self, model: str) -> Budget:
        budget = self._budgets.get(model)
        if budget is None:
            budget = Budget(self._policy, timeout_s=self._timeout_s, num_threads=self._num_connections)
            budget = self._budgets.setdefault(model, budget)  # another thread may have been faster
        return budget

    def _key(self) -> str:
        """The key to send, empty if none is asked for."""
        if self._key_file is None:
            return ""
        key = self._key_file.key()
        if not key:
            raise ModelKeyError("There is no key for the model server yet.")
        return key

    def _attempt(self, model: str, body: bytes, key: str, timeout_s: float) -> bytes:
        """The body of a 200; everything else is raised, requests.Timeout after *timeout_s* seconds."""
        url = f"{self._inference_url}/predictions/{model}"
        try:
            reply = self._session.exchange(url, body, key=key, timeout_s=timeout_s, max_bytes=_MAX_REPLY_BYTES)
        except requests.Timeout:
            raise
        except ReplyTooLargeError as error:
            raise ModelReplyError(f"The model's reply has more than {_MAX_REPLY_BYTES} bytes.") from error
        except requests.exceptions.SSLError as error:
            raise ModelUnavailableError("There is no connection to the model server that can be trusted.") from error
        except requests.RequestException as error:
            raise ModelUnavailableError("There is no connection to the model server.") from error
        if reply.status != 200:
            raise _failure(reply.status, reply.body)
        return reply.body


class _Call:
    """One request on its way through its attempts: what time it has left, and whether it may try again."""

    def __init__(self, policy: RetryPolicy, budget: Budget, timeout_s: float) -> None:
        self._policy = policy
        self._budget = budget
        self._timeout_s = timeout_s
        self._pauses_s = policy.pauses_s()
        self._num_deaths = 0
        self._num_broken_replies = 0
        self._may_abandon = False  # this attempt; then it holds a token that is returned unless it is used
        self._has_abandoned = False
        self._attempt_s = timeout_s
        self._failure: UpstreamError | None = None  # the latest
        self.num_attempts = 0
        self.deadline_s = time.monotonic() + timeout_s
        budget.count_request()

    def begin_attempt(self) -> float:
        """How many seconds the next attempt may take."""
        self.num_attempts += 1
        remaining_s = self.deadline_s - time.monotonic()
        attempt_s = self._policy.attempt_s(self._timeout_s)
        is_worth_it = not self._has_abandoned and remaining_s > 1.5 * attempt_s  # else too little is left for another
        self._may_abandon = is_worth_it and self._budget.abandons.take()
        self._attempt_s = attempt_s if self._may_abandon else remaining_s
        return self._attempt_s

    def end_attempt(self) -> None:
        """Return the right to abandon the attempt, if that did not happen."""
        if self._may_abandon:
            self._may_abandon = False
            self._budget.abandons.add(1)

    def after_silence(self, error: requests.Timeout) -> None:
        """Return if the attempt was abandoned early enough for another, else raise ModelTimeoutError.

        What made most of the time pass is told: after a last attempt that had little time, the failure before it.
        """
        if not self._may_abandon:
            if self._failure is not None and self._attempt_s < self._timeout_s / 2:
                raise self._failure from error
            raise _timeout(self._timeout_s) from error
        self._may_abandon = False
        self._has_abandoned = True

    def after_failure(self, error: UpstreamError) -> None:
        """Return after a pause if another attempt is allowed, else raise *error*."""
        self._failure = error
        self._num_deaths += isinstance(error, WorkerDiedError)
        self._num_broken_replies += isinstance(error, ModelReplyError)
        is_hopeless = (
            self._num_deaths > self._policy.max_deaths or self._num_broken_replies > self._policy.max_broken_replies
        )
        remaining_s = self.deadline_s - time.monotonic()
        if is_hopeless or remaining_s < _LEAST_ATTEMPT_S or not self._budget.retries.take():
            raise error
        time.sleep(min(next(self._pauses_s), remaining_s / 2))  # the last attempts are near the deadline, not after it


def _body(payload: dict[str, object]) -> bytes:
    """*payload* on the wire; raises RequestTooLargeError."""
    body = json.dumps(payload).encode("ascii")  # escaped, so that lone surrogates arrive as they were sent
    if len(body) >= TORCHSERVE_MAX_BYTES:
        raise RequestTooLargeError(
            f"The texts take {len(body)} bytes on the way to the model, the limit is {TORCHSERVE_MAX_BYTES}."
        )
    return body


def _timeout(timeout_s: float) -> ModelTimeoutError:
    return ModelTimeoutError(f"The model did not answer within {timeout_s:g} seconds.")


def _failure(status: int, body: bytes) -> UpstreamError:
    """What a status other than 200 means."""
    if status == 404:  # its ModelNotFoundException; the name is on our list, so the model is not there yet
        return ModelUnavailableError("The model is not loaded on the model server.")
    if status >= 500:  # 500 and 507 are its InternalServerException "Worker died."; an error in the handler is a 503
        kind = WorkerDiedError if status in {500, 507} else ModelUnavailableError
        return kind(f"The model server answered with status {status}.")
    if status == 413 and not body:  # its own limit, lower than the one we know of
        return RequestRejectedError(413, RequestTooLargeError.code, "The request is too large for the model server.")
    if status == 400 and _is_key_refusal(body):
        return ModelKeyError("The model server does not accept our key.")
    if status in {400, 413}:
        return RequestRejectedError(status, *parse_rejection(body))
    return ModelReplyError(f"The model server answered with status {status}.")


def _is_key_refusal(body: bytes) -> bool:
    """Whether this is TorchServe's own 400 for a key that is missing, wrong or too old.

    >>> _is_key_refusal(b'{"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."}')
    True
    """
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(reply, dict) and reply.get("type") == "InvalidKeyException"


def _log(model: str, error: UpstreamError, num_attempts: int) -> None:
    """Log the event; a rejection's message is the model's own, so only its code is known to hold no text."""
    if isinstance(error, RequestRejectedError):
        logger.info("model %s refused a request: %s", model, error.code)
    else:
        logger.warning("model %s: %s: %s Attempts: %s", model, error.code, error, num_attempts)
