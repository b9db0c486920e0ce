"""What a worker says of its work: a line of JSON a batch, and numbers for Prometheus; never a text.

TorchServe reads metrics from the worker's log, a line for each, and knows only
those that its ``metrics_config`` defines (``metrics.yaml``); without that file
there are none.  Counters are therefore added up here and sent once a second;
an observation for a histogram is always a line of its own.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from handler.batch import Answer, AnsweredBatch
from handler.request_headers import RequestHeaders

logger = logging.getLogger(__name__)

#: Seconds that counters wait for company.
FLUSH_S = 1.0

_PREFIX = "nerserve_worker_"

#: In TorchServe's format for metrics these characters part its fields.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class Observer:
    """Logs and counts the batches of one worker."""

    def __init__(self, metrics: Any, model: Mapping[str, str]) -> None:
        """*metrics* is TorchServe's ``context.metrics``, or None; *model* the name, version and digest in replies."""
        caches = getattr(metrics, "cache", None) or {}
        self._metrics = {name: metric for by_name in caches.values() for name, metric in by_name.items()}
        self._model = model
        self._dimensions = [_UNSAFE.sub("_", model[key]) for key in ("name", "version")]
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def loaded(self) -> None:
        """Say which model this worker has."""
        logger.info("%s", json.dumps({"event": "model loaded", "model": self._model}))
        self._emit("model_info", 1, self._model["digest"].removeprefix("sha256:"))

    def answered(self, headers: Sequence[RequestHeaders], batch: AnsweredBatch) -> None:
        """Log and count *batch*, the answers to requests with *headers*."""
        line = {
            "event": "batch",
            "model": self._model["name"],
            "version": self._model["version"],
            "ms": {stage: round(seconds * 1000, 2) for stage, seconds in batch.seconds.items()},
            "requests": [_logged(*pair) for pair in zip(headers, batch.answers, strict=True)],
        }
        logger.info("%s", json.dumps(line, separators=(",", ":")))
        if not self._metrics:
            return
        counts: Counter[tuple[str, ...]] = Counter()
        for one, answer in zip(headers, batch.answers, strict=True):
            counts["requests_total", "explain" if one.explain else "predict"] += 1
            counts["texts_total",] += answer.num_texts
            counts["characters_total",] += answer.num_chars
            counts["tokens_total",] += answer.num_tokens
            counts["unseen_tokens_total",] += answer.num_unseen
            for label, count in answer.labels.items():
                counts["entities_total", label] += count
            for code, count in answer.codes.items():
                counts["errors_total", code] += count
        with self._lock:
            self._counts.update(counts)
            if self._timer is None:
                self._timer = threading.Timer(FLUSH_S, self.flush)
                self._timer.daemon = True
                self._timer.start()
        self._emit("batch_requests", len(batch.answers))
        for stage, seconds in batch.seconds.items():
            if stage != "explain" or any(one.explain for one in headers):
                self._emit("stage_seconds", round(seconds, 6), stage)

    def flush(self) -> None:
        """Send the counters that wait."""
        with self._lock:
            counts, self._counts, self._timer = self._counts, Counter(), None
        for (name, *dimensions), count in counts.items():
            if count:
                self._emit(name, count, *dimensions)

    def _emit(self, name: str, value: float, *dimensions: str) -> None:
        metric = self._metrics.get(_PREFIX + name)
        if metric is not None:
            metric.add_or_update(value, [*self._dimensions, *dimensions])


def _logged(headers: RequestHeaders, answer: Answer) -> dict[str, object]:
    """What the log says of one request."""
    document: dict[str, object] = {
        "id": headers.request_id,
        "path": "explanations" if headers.explain else "predictions",
        "status": answer.status,
    }
    if answer.code:
        return {**document, "code": answer.code}
    return {
        **document,
        "texts": answer.num_texts,
        "chars": answer.num_chars,
        "tokens": answer.num_tokens,
        "entities": sum(answer.labels.values()),
        **({"errors": dict(answer.codes)} if answer.codes else {}),
    }
