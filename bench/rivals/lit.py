"""LitServe around our own Tagger.

Batches of up to 32 requests, 1 ms of batch timeout (nerserve's own delay), as
many worker processes as nerserve has, one thread each.  LitServe reads the
annotations of what it calls, so they are objects here, not the strings of
``annotations``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import litserve
import torch

from bench.serving import BUNDLE
from handler.tagger import Tagger

MAX_BATCH_SIZE = 32
BATCH_TIMEOUT_S = 0.001


class Asked(NamedTuple):
    """The texts of one request, and whether it came as a list."""

    texts: Sequence[str]
    is_list: bool


class TaggerApi(litserve.LitAPI):
    """What LitServe calls, in this order."""

    def setup(self, device: object) -> None:  # noqa: ARG002  (LitServe's signature)
        """Load the model in a worker."""
        torch.set_num_threads(1)
        self._tagger = Tagger.load(BUNDLE)

    def decode_request(self, request: dict[str, Any]) -> Asked:
        """The texts of *request*."""
        return Asked(request["texts"], is_list=True) if "texts" in request else Asked([request["text"]], is_list=False)

    def batch(self, inputs: list[Asked]) -> list[Asked]:
        """Requests as they are: no tensors are stacked."""
        return inputs

    def predict(self, batch: list[Asked]) -> list[dict[str, Any]]:
        """The replies to all requests, in nerserve's form, from one call of the tagger."""
        found = iter(self._tagger.tag([text for asked in batch for text in asked.texts]))
        replies = []
        for asked in batch:
            results = [{"entities": [entity._asdict() for entity in next(found)]} for _ in asked.texts]
            replies.append({"results": results} if asked.is_list else results[0])
        return replies

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One for each request already."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The reply as it is."""
        return output


def serve(port: int, num_workers: int) -> None:
    """Serve on *port* of the loopback address until the process is stopped."""
    api = TaggerApi(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=num_workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")
