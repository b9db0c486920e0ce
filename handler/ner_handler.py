"""The TorchServe adapter, the archive's entry point: rows in, replies out.

TorchServe imports this file as a top-level module and takes the one class
that it defines; a function named ``handle`` here would win over it.  Nothing
is kept on ``self`` between calls, no request header steers what is answered,
and no user text is logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handler.errors import RequestError
from handler.requests import TextRequest, read_request
from handler.tagger import Entity, Tagger

logger = logging.getLogger(__name__)

_WARM_UP = "Barack Obama was born in Hawaii and worked for the United Nations in New York."


class NERHandler:
    """Answers batches of requests with the entities of their texts."""

    def initialize(self, context: Any) -> None:
        """Load the bundle that lies in the unpacked archive and tag a sentence, so that no request waits for it.

        Raises:
            BundleError: the bundle does not fit together; the worker does not start.
        """
        torch.set_num_threads(1)  # one thread a worker: more workers use more cores
        self._tagger = Tagger.load(Path(context.system_properties["model_dir"]) / "bundle")
        self._tagger.tag([_WARM_UP])
        self._max_chars = self._tagger.config.model.max_chars
        self._model = {
            "name": context.model_name,
            "version": context.manifest["model"]["modelVersion"],
            "digest": self._tagger.digest,
        }
        logger.info("model %(name)s %(version)s %(digest)s", self._model)

    def handle(self, rows: Sequence[Mapping[str, object]], context: Any) -> list[str]:
        """One JSON reply for each of *rows*, in order; a bad row gets its own status and spoils no other."""
        requests: dict[int, TextRequest] = {}
        replies: dict[int, dict[str, object]] = {}
        for i, row in enumerate(rows):
            try:
                requests[i] = read_request(row, _content_type(context, i), self._max_chars)
            except RequestError as error:
                context.set_response_status(error.status, error.code, i)
                replies[i] = _error_reply(error)
        found = iter(self._tagger.tag([text for request in requests.values() for text in request.texts]))
        for i, request in requests.items():
            results = [_text_reply(next(found), request.errors.get(n)) for n in range(len(request.texts))]
            replies[i] = {"model": self._model, **(results[0] if request.is_single else {"results": results})}
        for i in replies:
            context.set_response_content_type(i, "application/json")
        return [json.dumps(replies[i], separators=(",", ":")) for i in range(len(rows))]


def _content_type(context: Any, i: int) -> str:
    """The Content-Type header of request *i* as the client sent it; names are compared without case."""
    headers = context.get_all_request_header(i)
    return next(
        (value for name, value in headers.items() if name.lower() == "content-type" and isinstance(value, str)), ""
    )


def _text_reply(entities: Sequence[Entity], error: RequestError | None) -> dict[str, object]:
    return _error_reply(error) if error else {"entities": [entity._asdict() for entity in entities]}


def _error_reply(error: RequestError) -> dict[str, object]:
    return {"error": {"code": error.code, "message": str(error)}}
