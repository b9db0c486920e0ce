"""The TorchServe adapter and the archive's entry point: rows in, replies out.

TorchServe imports this file as a top-level module and takes its one class; a
module-level function named ``handle`` would be taken instead.  No request
changes another's reply, and no user text is logged.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handler.batch import BatchWorker
from handler.limits import Limits
from handler.observation import Observer
from handler.protocol.headers import read_headers
from handler.tagger import Tagger

_WARM_UP = "Barack Obama was born in Hawaii and worked for the United Nations in New York."

#: Retry-After of a 503, in seconds.
_RETRY_AFTER_S = "1"


class NERHandler:
    """Answers batches of requests with the entities of their texts."""

    def initialize(self, context: Any) -> None:
        """Load the bundle in the unpacked archive, and tag a sentence so that the first request finds everything warm.

        Raises:
            BundleError: the bundle is inconsistent; the worker does not start.
            ConfigError: ``NERSERVE_MAX_CHARS`` is wrong; the worker does not start.
        """
        limits = Limits.from_environment(os.environ)
        torch.set_num_threads(1)  # cores are used by more workers
        tagger = Tagger.load(Path(context.system_properties["model_dir"]) / "bundle")
        tagger.tag([_WARM_UP])
        model = {
            "name": context.model_name,
            "version": context.manifest["model"]["modelVersion"],
            "digest": tagger.digest,
        }
        self._worker = BatchWorker(tagger, model, limits)
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
            if answer.status == 503:
                context.set_response_header(i, "Retry-After", _RETRY_AFTER_S)
        self._observer.answered(headers, batch)
        return [answer.body for answer in batch.answers]
