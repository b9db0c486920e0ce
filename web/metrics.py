"""The site's metrics for Prometheus, summed over the processes of gunicorn.

``prometheus_client`` keeps the metrics of each process in memory-mapped files below ``PROMETHEUS_MULTIPROC_DIR``, which
``gunicorn_conf`` makes before the first worker starts; without that variable (one process, as in a test) they are kept
in memory. A file begins with 64 KiB and doubles when it is full; a process has one for counters, one for histograms and
one for each kind of gauge, and those of a process that died stay until the site ends, as its sums still count.

No metric is made from a text, and no client can add label values: an unknown value is counted as ``other``.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from contract.entities import ModelInfo
from contract.errors import documented

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
"""Upper ends of the histograms' buckets."""

CODES: Final = frozenset({error.code for error in documented("site")} | {"http_error", "client_disconnected"})
"""Error codes that are counted under their own name."""

MAX_LABELS: Final = 64
"""Entity labels that a process counts under their own names."""

MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"

M = TypeVar("M", Counter, Histogram)

BREAKER_STATES: Final = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """All metrics of one site; shared by all its requests."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._labels: set[str] = set()
        self._models: dict[str, ModelInfo] = {}
        counter = partial(Counter, namespace="nerserve", registry=self._registry)
        gauge = partial(Gauge, namespace="nerserve", registry=self._registry)
        histogram = partial(Histogram, namespace="nerserve", registry=self._registry, buckets=SECONDS)
        request_s = histogram("request_seconds", "Requests by endpoint and class of status.", ["endpoint", "status"])
        attempt_s = histogram("upstream_attempt_seconds", "Attempts to ask TorchServe.", ["model", "result"])
        queue_s = histogram("queue_wait_seconds", "Waiting for a turn to ask TorchServe.", ["kind"])
        self._request_s, self._attempt_s, self._queue_s = map(_remembered, (request_s, attempt_s, queue_s))
        self._retries = counter("upstream_retries", "Attempts after a request's first.", ["model"])
        self._rejected = counter("rejected", "Requests refused because there are too many.", ["reason"])
        self._texts = _remembered(counter("texts", "Texts that were tagged.", ["model"]))
        self._chars = _remembered(counter("characters", "Code points of texts that were tagged.", ["model"]))
        self._entities = _remembered(counter("entities", "Entities that were found.", ["model", "label"]))
        self._errors = counter("errors", "Requests, and lines of streams, that got an error.", ["code"])
        self._lines = counter("stream_lines", "Lines of NDJSON streams.", ["result"])
        live = partial(gauge, multiprocess_mode="livesum")
        self.in_flight = live("upstream_in_flight", "Requests TorchServe works on.")
        self.queued = live("queued", "Requests that wait for their turn to ask TorchServe.")
        self.streams = live("streams", "NDJSON streams being served.")
        self._breaker = gauge("breaker_state", "0 closed, 1 half open, 2 open.", ["model"], multiprocess_mode="livemax")
        self._info = gauge(
            "model_info",
            "1 for the version that answered last.",
            ["model", "version", "digest"],
            multiprocess_mode="livemostrecent",
        )

    def render(self) -> bytes:
        """The metrics of all processes in Prometheus' text format."""
        if MULTIPROC_DIR not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def count_request(self, endpoint: str, status: int, seconds: float, code: str) -> None:
        """Count a request; *code* is its error's, empty if it has none."""
        self._request_s(endpoint, f"{status // 100}xx").observe(seconds)
        if code:
            self.count_error(code)

    def count_error(self, code: str) -> None:
        """Count an error response, or an error line of a stream."""
        self._errors.labels(code if code in CODES else "other").inc()

    def count_attempt(self, model: str, result: str, seconds: float, *, is_retry: bool) -> None:
        """Count an attempt to ask *model*; *result* is ``ok`` or the error's code."""
        self._attempt_s(model, result if result == "ok" or result in CODES else "other").observe(seconds)
        if is_retry:
            self._retries.labels(model).inc()

    def count_wait(self, kind: str, seconds: float) -> None:
        """Count the wait for a turn; *kind* is ``request`` or ``stream``."""
        self._queue_s(kind).observe(seconds)

    def count_rejection(self, reason: str) -> None:
        """Count a request that was refused because there are too many."""
        self._rejected.labels(reason).inc()

    def count_line(self, result: str) -> None:
        """Count a line of a stream; *result* is ``ok`` or ``error``."""
        self._lines.labels(result).inc()

    def count_answer(self, model: str, info: ModelInfo, num_chars: Iterable[int], labels: Iterable[str]) -> None:
        """Count tagged texts: *num_chars* of each, *labels* of all their entities."""
        lengths = list(num_chars)
        self._texts(model).inc(len(lengths))
        self._chars(model).inc(sum(lengths))
        for label, count in Tally(labels).items():
            if len(self._labels) < MAX_LABELS:
                self._labels.add(label)
            name = label.encode("utf-8", "replace").decode() if label in self._labels else "other"
            self._entities(model, name).inc(count)
        known = self._models.get(model)
        if known != info:
            self._models[model] = info
            if known is not None:
                self._info.labels(model, *_printable(known)).set(0)
            self._info.labels(model, *_printable(info)).set(1)

    def set_breaker(self, model: str, state: str) -> None:
        """Set the state of a model's circuit breaker, one of ``BREAKER_STATES``."""
        self._breaker.labels(model).set(BREAKER_STATES[state])


def _remembered(metric: M) -> Callable[..., M]:
    """The metric with the given labels, found without the lock and the checks of ``labels``; there are few values."""
    return lru_cache(maxsize=1_024)(metric.labels)


def _printable(info: ModelInfo) -> tuple[str, str]:
    """Version and digest as label values of at most 100 characters."""
    version, digest = (value.encode("utf-8", "replace").decode()[:100] for value in (info.version, info.digest))
    return version, digest
