"""A worker's log, a line of JSON for each batch, and its metrics for Prometheus; neither holds any text.

TorchServe reads metrics from the worker's log, one a line, and knows only
those that its ``metrics_config`` defines (``metrics.yaml``); without that file
there are none.  A line costs the worker and the JVM about as much as a short
request, so all metrics are added up here and written once in a flush interval.
That is why histograms are counters to TorchServe: the buckets, the sum and the
count that Prometheus would make of one.
"""

from __future__ import annotations

import logging
import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from contract.strict_json import quoted, to_json
from handler.batch import Answer, AnsweredBatch
from handler.protocol.headers import RequestHeaders

logger = logging.getLogger(__name__)

#: Flush interval of the metrics, in seconds.
FLUSH_S = 1.0

#: Upper bounds of the buckets of ``stage_seconds`` and ``batch_requests``, without ``+Inf``.
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
REQUESTS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

_PREFIX = "nerserve_worker_"

#: TorchServe's own gauge, milliseconds of the last batch; it would write a line for each batch.
_LAST_BATCH = "PredictionTime"

#: Characters that may separate fields in TorchServe's metric lines.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class Observer:
    """Logs and counts the batches of one worker."""

    def __init__(self, metrics: Any, model: Mapping[str, str]) -> None:
        """*metrics* is TorchServe's ``context.metrics``, or None; *model* has name, version and digest."""
        caches = getattr(metrics, "cache", None) or {}
        self._metrics = {name: metric for by_name in caches.values() for name, metric in by_name.items()}
        self._gauges = [_DeferredGauge(by_name, _LAST_BATCH) for by_name in caches.values() if _LAST_BATCH in by_name]
        self._model = model
        self._head = f'{{"event":"batch","model":{quoted(model["name"])},"version":{quoted(model["version"])}'
        self._dimensions = [_UNSAFE.sub("_", model[key]) for key in ("name", "version")]
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._histograms: dict[tuple[str, ...], _Histogram] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        logging.getLogger().addFilter(_is_no_batch_line)

    def loaded(self) -> None:
        """Log which model this worker has."""
        logger.info("%s", to_json({"event": "model loaded", "model": self._model}))
        self._emit("model_info", 1, self._model["digest"].removeprefix("sha256:"))

    def answered(self, headers: Sequence[RequestHeaders], batch: AnsweredBatch) -> None:
        """Log *batch*, the answers to requests with *headers*, and add it to the metrics."""
        stages = ",".join([f'"{stage}":{round(seconds * 1000, 2)}' for stage, seconds in batch.seconds.items()])
        requests = ",".join(map(_logged, headers, batch.answers))
        logger.info("%s", f'{self._head},"ms":{{{stages}}},"requests":[{requests}]}}')
        if not self._metrics:
            return
        has_explained = any(of_request.explain for of_request in headers)
        with self._lock:
            self._count(headers, batch.answers)
            self._observe(("batch_requests",), REQUESTS, len(batch.answers))
            for stage, seconds in batch.seconds.items():
                if stage != "explain" or has_explained:
                    self._observe(("stage_seconds", stage), SECONDS, seconds)
            if self._timer is None:
                self._timer = threading.Timer(FLUSH_S, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write the metrics added up since the last flush."""
        with self._lock:
            counts, self._counts, self._timer = self._counts, Counter(), None
            histograms, self._histograms = self._histograms, {}
        for (name, *dimensions), count in counts.items():
            if count:
                self._emit(name, count, *dimensions)
        for (name, *dimensions), histogram in histograms.items():
            buckets = histogram.buckets()
            for bound, count in buckets:
                self._emit(f"{name}_bucket", count, *dimensions, bound)
            self._emit(f"{name}_sum", round(histogram.sum, 6), *dimensions)
            self._emit(f"{name}_count", buckets[-1][1], *dimensions)
        for gauge in self._gauges:
            gauge.send()

    def _count(self, headers: Sequence[RequestHeaders], answers: Sequence[Answer]) -> None:
        counts = self._counts
        for of_request, answer in zip(headers, answers, strict=True):
            counts["requests_total", "explain" if of_request.explain else "predict"] += 1
            for label, count in answer.labels.items():
                counts["entities_total", label] += count
            for code, count in answer.codes.items():
                counts["errors_total", code] += count
        counts["texts_total",] += sum([answer.num_texts for answer in answers])
        counts["characters_total",] += sum([answer.num_chars for answer in answers])
        counts["tokens_total",] += sum([answer.num_tokens for answer in answers])
        counts["unseen_tokens_total",] += sum([answer.num_unseen for answer in answers])

    def _observe(self, key: tuple[str, ...], bounds: Sequence[float], value: float) -> None:
        if key not in self._histograms:
            self._histograms[key] = _Histogram(bounds)
        self._histograms[key].observe(value)

    def _emit(self, name: str, value: float, *dimensions: str) -> None:
        if (metric := self._metrics.get(_PREFIX + name)) is not None:
            metric.add_or_update(value, [*self._dimensions, *dimensions])


class _Histogram:
    """The values observed since the last flush, counted in buckets with the upper *bounds*."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count *value*."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, int]]:
        """Each bucket's bound as Prometheus writes it, and the number of values up to it where there are any.

        >>> histogram = _Histogram([0.5, 1.0])
        >>> histogram.observe(1.0), histogram.observe(7.0), histogram.buckets()
        (None, None, [('1.0', 1), ('+Inf', 2)])
        """
        bounds = [*map(str, self._bounds), "+Inf"]
        return [(bound, count) for bound, count in zip(bounds, accumulate(self._counts), strict=True) if count]


class _DeferredGauge:
    """Replaces the gauge *name* in TorchServe's *cache*; sends its last value when told to."""

    def __init__(self, cache: dict[str, Any], name: str) -> None:
        self._gauge = cache[name]
        self._last: tuple[float, Sequence[str]] | None = None
        cache[name] = self

    def add_or_update(self, value: float, dimension_values: Sequence[str], _request_id: str = "") -> None:
        """Keep *value* in the place of the one before."""
        self._last = (value, dimension_values)

    def send(self) -> None:
        """Send the last value, unless it was sent already."""
        last, self._last = self._last, None
        if last is not None:
            self._gauge.add_or_update(*last)


def _is_no_batch_line(record: logging.LogRecord) -> bool:
    """False for the line that TorchServe's worker logs for each batch."""
    return record.msg != "Backend received inference at: %d"


def _logged(headers: RequestHeaders, answer: Answer) -> str:
    """A request's part of the log line, as JSON."""
    path = "explanations" if headers.explain else "predictions"
    head = f'{{"id":{quoted(headers.request_id)},"path":"{path}","status":{answer.status}'
    if answer.code:
        return f'{head},"code":"{answer.code}"}}'
    errors = f',"errors":{to_json(answer.codes)}' if answer.codes else ""
    return (
        f'{head},"texts":{answer.num_texts},"chars":{answer.num_chars},"tokens":{answer.num_tokens},'
        f'"entities":{sum(answer.labels.values())}{errors}}}'
    )
