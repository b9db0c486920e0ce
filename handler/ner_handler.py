"""The TorchServe adapter and the archive's entry point: rows in, replies out.

TorchServe imports this file as a top-level module and takes its one class; a
module-level function named ``handle`` would be taken instead.  No request
changes another's reply, and no user text is logged.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from contract.entities import CANARY_TEXT
from contract.limits import RequestLimits
from handler.batch import BatchWorker
from handler.observation import Observer
from handler.protocol.headers import read_headers
from handler.tagger import Tagger


class NERHandler:
    """Answers batches of requests with the entities of their texts."""

    def initialize(self, context: Any) -> None:
        """Load the bundle in the unpacked archive, and tag a sentence so that the first request finds everything warm.

        Raises:
            BundleError: the bundle is inconsistent; the worker does not start.
            SettingError: ``NERSERVE_MAX_CHARS`` is wrong; the worker does not start.
        """
        limits = RequestLimits.from_environment(os.environ)
        torch.set_num_threads(1)  # cores are used by more workers
        tagger = Tagger.load(Path(context.system_properties["model_dir"]) / "bundle")
        tagger.tag([CANARY_TEXT])
        model = {
            "name": context.model_name,
            "version": context.manifest["model"]["modelVersion"],
            "digest": tagger.digest,
        }
        timeout_s = (getattr(context, "model_yaml_config", None) or {}).get("responseTimeout", math.inf)
        self._worker = BatchWorker(tagger, model, limits, work_s=limits.work_s(timeout_s))
        self._observer = Observer(context.metrics, model)
        self._observer.loaded()
        gc.freeze()  # so that full collections skip torch and the model, which stay loaded

    def handle(self, rows: Sequence[Mapping[str, object]], context: Any) -> list[str]:
        """One JSON reply for each of *rows*, in order; a bad row gets its own status."""
        headers = [read_headers(context.get_all_request_header(i), context.get_request_id(i)) for i in range(len(rows))]
        batch = self._worker.answer(list(zip(rows, headers, strict=True)))
        for i, answer in enumerate(batch.answers):
            context.set_response_content_type(i, "application/json")
            if headers[i].is_grpc:  # without it StreamPredictions ends the worker; REST must not have it
                context.set_response_header(i, "ts_stream_next", "false")
            if answer.code:
                context.set_response_status(answer.status, answer.code, i)
            if answer.retry_after_s is not None:
                context.set_response_header(i, "Retry-After", str(answer.retry_after_s))
        self._observer.answered(headers, batch)
        return [answer.body for answer in batch.answers]
