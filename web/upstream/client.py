"""Calls of models by name: each ends by its deadline, and until then repeats what was lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from contract.errors import ModelTimeoutError, ModelUnavailableError, TooManyRequestsError, UpstreamError
from contract.limits import LONG_CHARS
from contract.options import DEFAULT, Options
from web.metrics import Metrics
from web.off_loop import off_loop
from web.record import RequestRecord
from web.upstream.admission import Admission
from web.upstream.attempts import Attempts
from web.upstream.breaker import THRESHOLD, Breaker
from web.upstream.errors import ModelKeyError, RequestRejectedError, WorkerOverloadedError
from web.upstream.long_requests import LongRequests
from web.upstream.reply import TextReply, TextsReply, parse_text_reply, parse_texts_reply
from web.upstream.retries import DEFAULT_POLICY, Budget, RetryPolicy
from web.upstream.torchserve import InferenceAPI

logger = logging.getLogger(__name__)

R = TypeVar("R")

_MAX_ABANDONED_BYTES: Final = 65_536
"""Longer requests are never abandoned: one that merely takes long would occupy two workers."""

_PROBE_TIMEOUT_S: Final = 5.0
"""The longest a call may take that is let through an open circuit breaker."""


@dataclass(frozen=True)
class Caller:
    """Who makes a call.

    Attributes:
        request_id: Passed on to TorchServe, unless it is empty.
        timeout_s: The call's deadline in seconds, at most the client's own, which None stands for.
        cancelled: None for a request, which waits in the queue for a bounded time; for a stream, which waits without
            a limit, the event that cancels it.
        record: Where attempts are counted, if anywhere.
    """

    request_id: str = ""
    timeout_s: float | None = None
    cancelled: threading.Event | None = None
    record: RequestRecord | None = None


_ANONYMOUS: Final = Caller()


class ModelClient:
    """Asks models by name and returns replies that keep the contract; shared by all requests of a process.

    Its methods raise RequestRejectedError (400, 413, 415, 422: the model refused the request), ModelReplyError (502),
    ModelUnavailableError (503), ModelTimeoutError (504), TooManyRequestsError (429: the queue is full, or the request
    waited in it for too long), or RequestTooLargeError (413: TorchServe would refuse the body unread). Offsets in
    replies are code points, whatever ``Options.offsets`` says.
    """

    def __init__(
        self,
        api: InferenceAPI,
        admission: Admission,
        metrics: Metrics,
        *,
        timeout_s: float,
        max_long_requests: int = 1,
        policy: RetryPolicy = DEFAULT_POLICY,
        breaker_threshold: int = THRESHOLD,
    ) -> None:
        """*timeout_s* is a call's deadline; *breaker_threshold* failed calls in a row open a model's breaker.

        *max_long_requests* long requests a model are with TorchServe at a time, from all processes of the site.
        """
        self._api = api
        self._admission = admission
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._max_long_requests = max_long_requests
        self._policy = policy
        self._breaker_threshold = breaker_threshold
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()

    def tag_text(self, model: str, text: str, options: Options = DEFAULT, caller: Caller = _ANONYMOUS) -> TextReply:
        """The entities of one text."""
        body = self._api.encode({"text": text, **options.to_upstream()})
        reply = self._model(model).ask(body, lambda reply: parse_text_reply(reply, text), caller, len(text))
        labels = (entity.label for entity in reply.entities)
        self._metrics.count_answer(model, reply.model, [len(text)], labels)
        return reply

    def tag_texts(
        self, model: str, texts: Sequence[str], options: Options = DEFAULT, caller: Caller = _ANONYMOUS
    ) -> TextsReply:
        """The entities of each text, or the reason why it has none, in the order of *texts*."""
        body = self._api.encode({"texts": list(texts), **options.to_upstream()})
        num_chars = sum(map(len, texts))
        reply = self._model(model).ask(body, lambda reply: parse_texts_reply(reply, texts), caller, num_chars)
        found = [(text, result) for text, result in zip(texts, reply.results, strict=True) if isinstance(result, list)]
        labels = (entity.label for _, result in found for entity in result)
        self._metrics.count_answer(model, reply.model, [len(text) for text, _ in found], labels)
        return reply

    def probe(self, model: str, text: str, *, timeout_s: float) -> TextReply:
        """The entities of one text, from one attempt within *timeout_s* seconds that waits in no queue.

        So health checks are answered when the site is busiest.
        """
        body = self._api.encode({"text": text})
        return self._model(model).probe(body, lambda reply: parse_text_reply(reply, text), timeout_s)

    def _model(self, name: str) -> _Model:
        with self._lock:
            model = self._models.get(name)
            if model is None:
                admission, metrics = self._admission, self._metrics
                num_calls, num_attempts = admission.max_requests, admission.max_in_flight
                budget = Budget(self._policy, timeout_s=self._timeout_s, num_calls=num_calls, num_attempts=num_attempts)
                breaker = Breaker(threshold=self._breaker_threshold, on_change=partial(_note_breaker, metrics, name))
                long_requests = LongRequests(name, self._max_long_requests)
                model = _Model(name, self._api, admission, metrics, self._timeout_s, budget, breaker, long_requests)
                self._models[name] = model
            return model


@dataclass(frozen=True)
class _Model:
    """One model as this process sees it, and the calls to it."""

    name: str
    api: InferenceAPI
    admission: Admission
    metrics: Metrics
    timeout_s: float
    budget: Budget
    breaker: Breaker
    long_requests: LongRequests

    def ask(self, body: bytes, parse: Callable[[bytes], R], caller: Caller, num_chars: int) -> R:
        """What *parse* makes of the first reply that keeps the contract, to a request of *num_chars* characters."""
        is_probe = self.breaker.admit()
        asked_s = self.timeout_s if caller.timeout_s is None else caller.timeout_s
        timeout_s = min(asked_s, self.timeout_s, _PROBE_TIMEOUT_S if is_probe else math.inf)
        is_short = len(body) <= _MAX_ABANDONED_BYTES
        attempts = Attempts(self.budget, timeout_s, is_single=is_probe, may_abandon=is_short)
        began_s = time.monotonic()
        try:
            with (
                nullcontext() if caller.cancelled else self.admission.request(),
                self._place(attempts, caller) if num_chars > LONG_CHARS else nullcontext(),
            ):
                reply = self._repeat(body, parse, attempts, caller)
        except UpstreamError as error:
            self._log(error, attempts.num_attempts, caller.request_id)
            is_down = isinstance(error, ModelUnavailableError) and not isinstance(error, WorkerOverloadedError)
            if not is_down and not isinstance(error, ModelTimeoutError):
                self.breaker.answered()
            elif is_down or asked_s >= self.timeout_s:  # else the caller was less patient than the model may be slow
                self.breaker.failed(began_s)
            raise
        self.breaker.answered()
        if attempts.num_attempts > 1:
            extra = {"request_id": caller.request_id}
            logger.info("model %s: answered attempt %s", self.name, attempts.num_attempts, extra=extra)
        return reply

    def probe(self, body: bytes, parse: Callable[[bytes], R], timeout_s: float) -> R:
        """What *parse* makes of the reply to one attempt outside of the queue."""
        try:
            reply = parse(self.api.predict(self.name, body, key=self.api.key(), timeout_s=timeout_s))
        except UpstreamError as error:
            self._log(error, 1, "")
            raise
        self.breaker.answered()
        return reply

    def _repeat(self, body: bytes, parse: Callable[[bytes], R], attempts: Attempts, caller: Caller) -> R:
        """What *parse* makes of the first reply that keeps the contract, after as many attempts as are allowed."""
        while True:
            key = ""
            try:
                with self._turn(attempts, caller):
                    key = self.api.key()
                    timeout_s = attempts.begin()
                    if caller.record is not None:
                        caller.record.add_attempt()
                    with self._counted(is_retry=attempts.num_attempts > 1):
                        reply = self.api.predict(
                            self.name, body, key=key, timeout_s=timeout_s, request_id=caller.request_id
                        )
                        return off_loop(parse, reply, size=len(reply))
            except ModelKeyError:
                if not self.api.wait_for_other_key(key, attempts.deadline_s):
                    raise
            except UpstreamError as error:
                attempts.failed(error)
            finally:
                attempts.end()

    @contextmanager
    def _place(self, attempts: Attempts, caller: Caller) -> Iterator[None]:
        """A place for a long request; like its first turn, that of a stream takes as long as it takes."""
        until_s = math.inf
        if caller.cancelled is None:
            until_s = min(attempts.deadline_s, time.monotonic() + self.admission.queue_s)
        with ExitStack() as held:
            try:
                held.enter_context(self.long_requests.place(until_s, caller.cancelled))
            except TimeoutError as error:
                self.metrics.count_rejection("queue_timeout")
                raise TooManyRequestsError(
                    "There are too many long texts just now: this one waited too long."
                ) from error
            yield

    @contextmanager
    def _turn(self, attempts: Attempts, caller: Caller) -> Iterator[None]:
        """A turn for one attempt; a stream's time begins with its first."""
        is_first = attempts.num_attempts == 0
        if caller.cancelled is not None:
            with self.admission.stream_turn(caller.cancelled):
                if is_first:
                    attempts.start_clock()
                yield
            return
        try:
            with self.admission.turn(attempts.deadline_s, is_first=is_first):
                yield
        except TimeoutError as error:
            raise attempts.deadline_error() from error

    @contextmanager
    def _counted(self, *, is_retry: bool) -> Iterator[None]:
        """Count one attempt in the metrics."""
        began_s = time.monotonic()
        result = "ok"
        try:
            yield
        except UpstreamError as error:
            result = error.code
            raise
        finally:
            self.metrics.count_attempt(self.name, result, time.monotonic() - began_s, is_retry=is_retry)

    def _log(self, error: UpstreamError, num_attempts: int, request_id: str) -> None:
        """Log the failure; of a rejection only the code, as its message is the model's own and might quote a text."""
        extra = {"request_id": request_id}
        if isinstance(error, RequestRejectedError):
            logger.info("model %s refused a request: %s", self.name, error.code, extra=extra)
        else:
            logger.warning("model %s: %s: %s Attempts: %s", self.name, error.code, error, num_attempts, extra=extra)


def _note_breaker(metrics: Metrics, model: str, state: str) -> None:
    metrics.set_breaker(model, state)
    if state == "open":
        logger.warning("model %s: keeps failing, its circuit breaker is open", model)
