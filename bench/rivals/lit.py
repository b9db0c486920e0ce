"""LitServe around our own Tagger: python -m bench.rivals.lit PORT NUM_WORKERS.

Batches of up to 32 requests, waited for 1 ms (as long as nerserve waits), as
many worker processes as nerserve has, one thread each.  LitServe reads the
annotations of what it calls, so they stand here as objects and not as the
strings of ``annotations``.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import litserve
import torch

from bench.settings import BUNDLE
from contract.entities import Entity
from handler.tagger import Tagger

MAX_BATCH_SIZE = 32
BATCH_TIMEOUT_S = 0.001


class Asked(NamedTuple):
    """The texts of one request, and whether it came as a list."""

    texts: Sequence[str]
    is_list: bool


class Answered(NamedTuple):
    """What was found in each of them."""

    entities: Sequence[Sequence[Entity]]
    is_list: bool


class TaggerApi(litserve.LitAPI):
    """What LitServe calls, in this order."""

    def setup(self, device: object) -> None:  # noqa: ARG002  (LitServe's signature)
        """Load the model in a worker."""
        torch.set_num_threads(1)
        self._tagger = Tagger.load(BUNDLE)

    def decode_request(self, request: dict[str, Any]) -> Asked:
        """The texts that *request* asks about."""
        return Asked(request["texts"], is_list=True) if "texts" in request else Asked([request["text"]], is_list=False)

    def batch(self, inputs: list[Asked]) -> list[Asked]:
        """Requests as they are: no tensors are stacked."""
        return inputs

    def predict(self, batch: list[Asked]) -> list[Answered]:
        """All texts of all requests in one call of the tagger."""
        found = iter(self._tagger.tag([text for asked in batch for text in asked.texts]))
        return [Answered([next(found) for _ in asked.texts], asked.is_list) for asked in batch]

    def unbatch(self, output: list[Answered]) -> list[Answered]:
        """One for each request already."""
        return output

    def encode_response(self, output: Answered) -> dict[str, Any]:
        """The reply, in nerserve's form."""
        results = [{"entities": [entity._asdict() for entity in entities]} for entities in output.entities]
        return {"results": results} if output.is_list else results[0]


if __name__ == "__main__":
    api = TaggerApi(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
