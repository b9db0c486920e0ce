"""The way to TorchServe: the only module that knows its URLs and its ways of failing."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import requests

from contract.errors import (
    DeadlineExceededError,
    ModelReplyError,
    ModelTimeoutError,
    ModelUnavailableError,
    OverloadedError,
    RequestTooLargeError,
    UpstreamError,
)
from contract.options import DEFAULT, Options
from web.metrics import Metrics
from web.record import RequestRecord
from web.upstream.admission import Admission
from web.upstream.breaker import THRESHOLD, Breaker
from web.upstream.errors import (
    ModelKeyError,
    RequestRejectedError,
    WorkerDeadlineError,
    WorkerDiedError,
    WorkerOverloadedError,
)
from web.upstream.keys import KeyFile
from web.upstream.reply import RowError, TextReply, TextsReply, parse_rejection, parse_text_reply, parse_texts_reply
from web.upstream.retries import DEFAULT_POLICY, Budget, RetryPolicy
from web.upstream.transport import DeadlineSession, ReplyTooLargeError

logger = logging.getLogger(__name__)

R = TypeVar("R")

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

_LEAST_MAX_REPLY_BYTES: Final = 16 * 1_048_576
"""Far above any honest reply (about 100 bytes an entity), low enough for every turn to hold one."""

_MAX_ABANDONED_BYTES: Final = 65_536
"""A longer request may just take its time: asked for twice, it would take that of two workers."""

_PROBE_TIMEOUT_S: Final = 5.0
"""The most time for a call that is to find out whether a model is there again."""

_LEAST_ATTEMPT_S: Final = 0.02
"""With less time left, another attempt is not begun."""


@dataclass(frozen=True)
class Caller:
    """For whom a call is made.

    Attributes:
        request_id: Passed on to TorchServe, unless it is empty.
        timeout_s: The deadline of the call in seconds, or None for the client's own; never more than that.
        cancelled: None for a request, which waits for its turn for a bounded time; for a stream, which waits as long
            as it takes, the event that says that nobody is interested any more.
        record: Where attempts are counted, if anywhere.
    """

    request_id: str = ""
    timeout_s: float | None = None
    cancelled: threading.Event | None = None
    record: RequestRecord | None = None


_ANYBODY: Final = Caller()


class ModelClient:
    """Asks models by name and returns replies that keep the contract; shared by all threads of a process.

    Every call ends by its deadline, and until then repeats what was lost, as ``web.upstream.retries`` allows. It raises
    RequestRejectedError (400, 413, 415, 422: the model refused the request), ModelReplyError (502),
    ModelUnavailableError (503) or ModelTimeoutError (504); TooManyRequestsError (429) when its turn does not come, and
    RequestTooLargeError (413) when TorchServe would refuse the body unread. Options are those TorchServe knows; offsets
    come back in code points.
    """

    def __init__(
        self,
        *,
        inference_url: str,
        timeout_s: float,
        admission: Admission,
        num_attempts: int,
        num_calls: int,
        metrics: Metrics,
        max_request_bytes: int = 1_048_576,
        key_file: KeyFile | None = None,
        ca_file: Path | None = None,
        policy: RetryPolicy = DEFAULT_POLICY,
        breaker_threshold: int = THRESHOLD,
    ) -> None:
        """*timeout_s* is the deadline of a call in seconds; *num_calls* come at a time, with *num_attempts* of them.

        As many connections as attempts are kept open. *breaker_threshold* calls in a row that fail for good open the
        breaker of their model.
        """
        self._inference_url = inference_url
        self._timeout_s = timeout_s
        self._admission = admission
        self._num_attempts = num_attempts
        self._num_calls = num_calls
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._max_reply_bytes = max(_LEAST_MAX_REPLY_BYTES, 16 * max_request_bytes)
        self._key_file = key_file
        self._policy = policy
        self._breaker_threshold = breaker_threshold
        self._session = DeadlineSession(num_attempts, ca_file=ca_file)
        self._budgets: dict[str, Budget] = {}
        self._breakers: dict[str, Breaker] = {}
        self._lock = threading.Lock()

    def tag_text(self, model: str, text: str, options: Options = DEFAULT, caller: Caller = _ANYBODY) -> TextReply:
        """The entities of one text."""
        payload = {"text": text, **options.to_upstream()}
        reply = self._ask(model, payload, lambda body: parse_text_reply(body, text), caller)
        labels = (entity.label for entity in reply.entities)
        self._metrics.count_answer(model, reply.model, [len(text)], labels)
        return reply

    def tag_texts(
        self, model: str, texts: Sequence[str], options: Options = DEFAULT, caller: Caller = _ANYBODY
    ) -> TextsReply:
        """The entities of several texts, or the reason why one has none, in their order."""
        payload = {"texts": list(texts), **options.to_upstream()}
        reply = self._ask(model, payload, lambda body: parse_texts_reply(body, texts), caller)
        found = [(text, result) for text, result in zip(texts, reply.results, strict=True) if isinstance(result, list)]
        labels = (entity.label for _, result in found for entity in result)
        self._metrics.count_answer(model, reply.model, [len(text) for text, _ in found], labels)
        return reply

    def probe(self, model: str, text: str, *, timeout_s: float) -> TextReply:
        """The entities of one text at the first attempt, within *timeout_s* seconds: how the model is just now.

        It waits for no turn, so that what watches the site gets an answer when it is busiest.
        """
        body = self._body({"text": text})
        try:
            reply = parse_text_reply(self._attempt(model, body, self._key(), timeout_s, _ANYBODY), text)
        except requests.Timeout as error:
            failure = _timeout(timeout_s)
            _log(model, failure, 1, "")
            raise failure from error
        except UpstreamError as error:
            _log(model, error, 1, "")
            raise
        self._breaker(model).answered()
        return reply

    def _ask(self, model: str, payload: dict[str, object], parse: Callable[[bytes], R], caller: Caller) -> R:
        """What *parse* makes of the first reply that is one."""
        body = self._body(payload)
        breaker = self._breaker(model)
        is_probe = breaker.admit()
        is_patient = caller.timeout_s is None or caller.timeout_s >= self._timeout_s
        timeout_s = self._timeout_s if caller.timeout_s is None else min(caller.timeout_s, self._timeout_s)
        if is_probe:
            timeout_s = min(timeout_s, _PROBE_TIMEOUT_S)
        is_long = len(body) > _MAX_ABANDONED_BYTES
        call = _Call(self._policy, self._budget(model), timeout_s, is_probe=is_probe, is_long=is_long)
        began_s = time.monotonic()
        try:
            with nullcontext() if caller.cancelled else self._admission.request():
                reply = self._repeat(model, body, parse, call, caller)
        except UpstreamError as error:
            _log(model, error, call.num_attempts, caller.request_id)
            is_there = not isinstance(error, ModelUnavailableError | ModelTimeoutError)
            if is_there or isinstance(error, WorkerOverloadedError):
                breaker.answered()
            elif is_patient or isinstance(error, ModelUnavailableError):
                breaker.failed(began_s)
            raise
        breaker.answered()
        if call.num_attempts > 1:
            logger.info(
                "model %s: answered attempt %s", model, call.num_attempts, extra={"request_id": caller.request_id}
            )
        return reply

    def _repeat(self, model: str, body: bytes, parse: Callable[[bytes], R], call: _Call, caller: Caller) -> R:
        """What *parse* makes of the first reply that is one, after as many attempts as *call* allows."""
        while True:
            key = ""
            try:
                with self._turn(call, caller):
                    key = self._key()
                    timeout_s = call.begin_attempt()
                    if caller.record is not None:
                        caller.record.add_attempt()
                    with self._counted(model, call):
                        return parse(self._attempt(model, body, key, timeout_s, caller))
            except (requests.Timeout, WorkerDeadlineError) as error:
                call.after_silence(error)
            except ModelKeyError:
                if self._key_file is None or not self._key_file.has_other_than(key, call.deadline_s):
                    raise
            except RequestRejectedError:
                raise
            except UpstreamError as error:
                call.after_failure(error)
            finally:
                call.end_attempt()

    @contextmanager
    def _turn(self, call: _Call, caller: Caller) -> Iterator[None]:
        """A turn for one attempt; a stream's time begins with its first."""
        is_first = call.num_attempts == 0
        if caller.cancelled is not None:
            with self._admission.stream_turn(caller.cancelled):
                if is_first:
                    call.begin()
                yield
            return
        try:
            with self._admission.turn(call.deadline_s, is_first=is_first):
                yield
        except TimeoutError as error:
            raise call.late() from error

    @contextmanager
    def _counted(self, model: str, call: _Call) -> Iterator[None]:
        """The place of one attempt among the numbers."""
        began_s = time.monotonic()
        result = "ok"
        try:
            yield
        except requests.Timeout:
            result = ModelTimeoutError.code
            raise
        except UpstreamError as error:
            result = error.code
            raise
        finally:
            seconds = time.monotonic() - began_s
            self._metrics.count_attempt(model, result, seconds, is_retry=call.num_attempts > 1)

    def _breaker(self, model: str) -> Breaker:
        with self._lock:
            if model not in self._breakers:
                self._breakers[model] = Breaker(
                    threshold=self._breaker_threshold, on_change=lambda state: self._note_breaker(model, state)
                )
            return self._breakers[model]

    def _note_breaker(self, model: str, state: str) -> None:
        self._metrics.set_breaker(model, state)
        if state == "open":
            logger.warning("model %s: failed again and again, it is asked only every now and then", model)

    def _budget(self, model: str) -> Budget:
        with self._lock:
            if model not in self._budgets:
                self._budgets[model] = Budget(
                    self._policy,
                    timeout_s=self._timeout_s,
                    num_calls=self._num_calls,
                    num_attempts=self._num_attempts,
                )
            return self._budgets[model]

    def _key(self) -> str:
        """The key to send, empty if none is asked for."""
        if self._key_file is None:
            return ""
        key = self._key_file.key()
        if not key:
            raise ModelKeyError("There is no key for the model server yet.")
        return key

    def _attempt(self, model: str, body: bytes, key: str, timeout_s: float, caller: Caller) -> bytes:
        """The body of a 200; everything else is raised, requests.Timeout after *timeout_s* seconds."""
        url = f"{self._inference_url}/predictions/{model}"
        headers = {"X-Request-Deadline": f"{time.time() + timeout_s:.3f}"}
        if caller.request_id:
            headers["X-Request-Id"] = caller.request_id
        try:
            reply = self._session.exchange(
                url, body, key=key, headers=headers, timeout_s=timeout_s, max_bytes=self._max_reply_bytes
            )
        except requests.Timeout:
            raise
        except ReplyTooLargeError as error:
            raise ModelReplyError(f"The model's reply has more than {self._max_reply_bytes} bytes.") from error
        except requests.exceptions.SSLError as error:
            raise ModelUnavailableError("There is no connection to the model server that can be trusted.") from error
        except requests.RequestException as error:
            raise ModelUnavailableError("There is no connection to the model server.") from error
        if reply.status == 200:
            return reply.body
        raise _failure(reply.status, reply.body)

    def _body(self, payload: dict[str, object]) -> bytes:
        """*payload* on the wire; raises RequestTooLargeError.

        In UTF-8, so that no text within the limit of characters outgrows the one of bytes. Lone surrogates are escaped
        and arrive as they were sent.
        """
        body = _ENCODER.encode(payload).encode("utf-8", "backslashreplace")
        if len(body) > self._max_request_bytes:
            raise RequestTooLargeError(
                f"The request takes {len(body):,} bytes on the way to the model, "
                f"the limit is {self._max_request_bytes:,}."
            )
        return body


class _Call:
    """One request on its way through its attempts: what time it has left, and whether it may try again."""

    def __init__(self, policy: RetryPolicy, budget: Budget, timeout_s: float, *, is_probe: bool, is_long: bool) -> None:
        """*is_probe*: one attempt alone; *is_long*: no attempt is abandoned."""
        self._policy = policy
        self._budget = budget
        self._timeout_s = timeout_s
        self._is_probe = is_probe
        self._is_long = is_long
        self._pauses_s = policy.pauses_s()
        self._num_deaths = 0
        self._num_broken_replies = 0
        self._may_abandon = False  # this attempt; then it holds a token that is returned unless it is used
        self._has_abandoned = False
        self._attempt_s = timeout_s
        self._failure: UpstreamError | None = None  # the latest
        self.num_attempts = 0
        self.deadline_s = 0.0
        self.begin()
        budget.count_request()

    def begin(self) -> None:
        """Let the time of the call begin now."""
        self.deadline_s = time.monotonic() + self._timeout_s

    def late(self) -> UpstreamError:
        """What to tell when the time is over before another attempt began: the failure before it."""
        return self._failure or _timeout(self._timeout_s)

    def begin_attempt(self) -> float:
        """How many seconds the next attempt may take."""
        self.num_attempts += 1
        remaining_s = self.deadline_s - time.monotonic()
        attempt_s = self._policy.attempt_s(self._timeout_s)
        is_worth_it = not self._has_abandoned and remaining_s > 1.5 * attempt_s  # else too little is left for another
        is_worth_it = is_worth_it and not self._is_probe and not self._is_long
        self._may_abandon = is_worth_it and self._budget.abandons.take()
        self._attempt_s = attempt_s if self._may_abandon else remaining_s
        return self._attempt_s

    def end_attempt(self) -> None:
        """Return the right to abandon the attempt, if that did not happen."""
        if self._may_abandon:
            self._may_abandon = False
            self._budget.abandons.add(1)

    def after_silence(self, error: requests.Timeout | WorkerDeadlineError) -> None:
        """Return if the attempt was abandoned early enough for another, else raise ModelTimeoutError.

        A worker that got to the attempt after its deadline was as good as silent. What made most of the time pass is
        told: after a last attempt that had little time, the failure before it.
        """
        if not self._may_abandon:
            if self._failure is not None and self._attempt_s < self._timeout_s / 2:
                raise self._failure from error
            raise error if isinstance(error, WorkerDeadlineError) else _timeout(self._timeout_s) from error
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
        if self._is_probe or is_hopeless or remaining_s < _LEAST_ATTEMPT_S or not self._budget.retries.take():
            raise error
        time.sleep(min(next(self._pauses_s), remaining_s / 2))  # the last attempts are near the deadline, not after it


def _timeout(timeout_s: float) -> ModelTimeoutError:
    return ModelTimeoutError(f"The model did not answer within {timeout_s:g} seconds.")


def _failure(status: int, body: bytes) -> UpstreamError:
    """What a status other than 200 means."""
    if status == 404:  # its ModelNotFoundException; the name is on our list, so the model is not there yet
        return ModelUnavailableError("The model is not loaded on the model server.")
    if status >= 500:  # 500 and 507 are its InternalServerException "Worker died."; an error in the handler is a 503
        return _worker_failure(status, body)
    if status == 413 and not body:  # its own limit, lower than the one we know of
        return RequestRejectedError(413, RequestTooLargeError.code, "The request is too large for the model server.")
    if status == 400 and _is_key_refusal(body):
        return ModelKeyError("The model server does not accept our key.")
    if status in {400, 413, 415, 422}:
        return RequestRejectedError(status, *parse_rejection(body))
    return ModelReplyError(f"The model server answered with status {status}.")


def _worker_failure(status: int, body: bytes) -> UpstreamError:
    """What a status from 500 on means: what the worker itself says, or that there is none."""
    try:
        told: RowError | None = parse_rejection(body)
    except ModelReplyError:
        told = None
    if told is not None and (status, told.code) == (503, OverloadedError.code):
        return WorkerOverloadedError(WorkerOverloadedError.example)
    if told is not None and (status, told.code) == (504, DeadlineExceededError.code):
        return WorkerDeadlineError(WorkerDeadlineError.example)
    kind = WorkerDiedError if status in {500, 507} else ModelUnavailableError
    return kind(f"The model server answered with status {status}.")


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


def _log(model: str, error: UpstreamError, num_attempts: int, request_id: str) -> None:
    """Log the event; a rejection's message is the model's own, so only its code is known to hold no text."""
    extra = {"request_id": request_id}
    if isinstance(error, RequestRejectedError):
        logger.info("model %s refused a request: %s", model, error.code, extra=extra)
    else:
        logger.warning("model %s: %s: %s Attempts: %s", model, error.code, error, num_attempts, extra=extra)
