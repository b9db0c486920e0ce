"""What a worker says of its work: a line of JSON a batch, and numbers for Prometheus; never a text.

TorchServe reads metrics from the worker's log, a line for each, and knows only
those that its ``metrics_config`` defines (``metrics.yaml``); without that file
there are none.  A line costs the worker and the JVM about as much as a short
request, so all numbers are added up here and sent once a second.  That is why
histograms are counters to TorchServe: the buckets, the sum and the count that
Prometheus would make of one.
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

#: Seconds that numbers wait for company.
FLUSH_S = 1.0

#: Upper ends of the buckets of ``stage_seconds`` and of ``batch_requests``; one without an end comes behind them.
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
REQUESTS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

_PREFIX = "nerserve_worker_"

#: TorchServe's own gauge, milliseconds of the last batch, for which it prints a line a batch.
_LAST_BATCH = "PredictionTime"

#: In TorchServe's format for metrics these characters part its fields.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class Observer:
    """Logs and counts the batches of one worker."""

    def __init__(self, metrics: Any, model: Mapping[str, str]) -> None:
        """*metrics* is TorchServe's ``context.metrics``, or None; *model* the name, version and digest in replies."""
        caches = getattr(metrics, "cache", None) or {}
        self._metrics = {name: metric for by_name in caches.values() for name, metric in by_name.items()}
        self._held = [_Held(by_name, _LAST_BATCH) for by_name in caches.values() if _LAST_BATCH in by_name]
        self._model = model
        self._head = f'{{"event":"batch","model":{quoted(model["name"])},"version":{quoted(model["version"])}'
        self._dimensions = [_UNSAFE.sub("_", model[key]) for key in ("name", "version")]
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._histograms: dict[tuple[str, ...], _Histogram] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        logging.getLogger().addFilter(_is_wanted)

    def loaded(self) -> None:
        """Say which model this worker has."""
        logger.info("%s", to_json({"event": "model loaded", "model": self._model}))
        self._emit("model_info", 1, self._model["digest"].removeprefix("sha256:"))

    def answered(self, headers: Sequence[RequestHeaders], batch: AnsweredBatch) -> None:
        """Log and count *batch*, the answers to requests with *headers*."""
        stages = ",".join([f'"{stage}":{round(seconds * 1000, 2)}' for stage, seconds in batch.seconds.items()])
        requests = ",".join(map(_logged, headers, batch.answers))
        logger.info("%s", f'{self._head},"ms":{{{stages}}},"requests":[{requests}]}}')
        if not self._metrics:
            return
        has_explained = any(one.explain for one in headers)
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
        """Send the numbers that wait."""
        with self._lock:
            counts, self._counts, self._timer = self._counts, Counter(), None
            histograms, self._histograms = self._histograms, {}
        for (name, *dimensions), count in counts.items():
            if count:
                self._emit(name, count, *dimensions)
        for (name, *dimensions), histogram in histograms.items():
            for end, count in histogram.buckets():
                self._emit(f"{name}_bucket", count, *dimensions, end)
            self._emit(f"{name}_sum", round(histogram.sum, 6), *dimensions)
            self._emit(f"{name}_count", histogram.count, *dimensions)
        for held in self._held:
            held.send()

    def _count(self, headers: Sequence[RequestHeaders], answers: Sequence[Answer]) -> None:
        counts = self._counts
        for one, answer in zip(headers, answers, strict=True):
            counts["requests_total", "explain" if one.explain else "predict"] += 1
            for label, count in answer.labels.items():
                counts["entities_total", label] += count
            for code, count in answer.codes.items():
                counts["errors_total", code] += count
        counts["texts_total",] += sum([answer.num_texts for answer in answers])
        counts["characters_total",] += sum([answer.num_chars for answer in answers])
        counts["tokens_total",] += sum([answer.num_tokens for answer in answers])
        counts["unseen_tokens_total",] += sum([answer.num_unseen for answer in answers])

    def _observe(self, key: tuple[str, ...], ends: Sequence[float], value: float) -> None:
        histogram = self._histograms.get(key)
        if histogram is None:
            histogram = self._histograms[key] = _Histogram(ends)
        histogram.observe(value)

    def _emit(self, name: str, value: float, *dimensions: str) -> None:
        metric = self._metrics.get(_PREFIX + name)
        if metric is not None:
            metric.add_or_update(value, [*self._dimensions, *dimensions])


class _Histogram:
    """What was observed of one number since it was sent last; *ends* are those of its buckets."""

    def __init__(self, ends: Sequence[float]) -> None:
        self._ends = ends
        self._counts = [0] * (len(ends) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How often something was observed."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count *value*."""
        self._counts[bisect_left(self._ends, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, int]]:
        """Each bucket's end as Prometheus writes it, and how many values were at most that; those with none left out.

        >>> histogram = _Histogram([0.5, 1.0])
        >>> histogram.observe(1.0), histogram.observe(7.0), histogram.buckets()
        (None, None, [('1.0', 1), ('+Inf', 2)])
        """
        ends = [*map(str, self._ends), "+Inf"]
        return [(end, count) for end, count in zip(ends, accumulate(self._counts), strict=True) if count]


class _Held:
    """Takes the place of a gauge in TorchServe's cache, and keeps its last value until it is sent."""

    def __init__(self, cache: dict[str, Any], name: str) -> None:
        self._metric = cache[name]
        self._last: tuple[float, Sequence[str]] | None = None
        cache[name] = self

    def add_or_update(self, value: float, dimension_values: Sequence[str], _request_id: str = "") -> None:
        """Keep the value."""
        self._last = (value, dimension_values)

    def send(self) -> None:
        """Send what was kept last, if anything was since the last time."""
        last, self._last = self._last, None
        if last is not None:
            self._metric.add_or_update(*last)


def _is_wanted(record: logging.LogRecord) -> bool:
    """Whether a line of the root logger is worth its way: TorchServe's worker says the same for each batch."""
    return record.msg != "Backend received inference at: %d"


def _logged(headers: RequestHeaders, answer: Answer) -> str:
    """What the log says of one request."""
    path = "explanations" if headers.explain else "predictions"
    head = f'{{"id":{quoted(headers.request_id)},"path":"{path}","status":{answer.status}'
    if answer.code:
        return f'{head},"code":"{answer.code}"}}'
    errors = f',"errors":{to_json(answer.codes)}' if answer.codes else ""
    return (
        f'{head},"texts":{answer.num_texts},"chars":{answer.num_chars},"tokens":{answer.num_tokens},'
        f'"entities":{sum(answer.labels.values())}{errors}}}'
    )
