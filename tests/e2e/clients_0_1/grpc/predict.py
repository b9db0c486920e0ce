"""The entities of texts over gRPC: PYTHONPATH=FOLDER python examples/grpc/predict.py [--target HOST:PORT] TEXT...

FOLDER is where examples/grpc/generate.sh has put the generated client. Needs the PyPI packages grpcio and protobuf.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import grpc
import inference_pb2
import inference_pb2_grpc

WORTH_REPEATING = {"overloaded", "deadline_exceeded"}
"""Codes in an answer: TorchServe sends a worker's failures with the status OK."""

GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}
"""No connection; or a worker that died, no worker, a full queue, an unknown name: all these are INTERNAL."""


def predict(
    stub: inference_pb2_grpc.InferenceAPIsServiceStub,
    model: str,
    texts: Sequence[str],
    *,
    deadline_s: float = 60.0,
    key: str = "",
    **options: Any,
) -> list[dict[str, Any]]:
    """One result for each of *texts*: ``{"entities": [...]}`` or ``{"error": {"code", "message"}}``.

    *key* is the inference key, where TorchServe asks for keys. Raises grpc.RpcError when there is no answer,
    RuntimeError when the request is wrong.
    """
    document = json.dumps({"texts": list(texts), **options}).encode()
    request = inference_pb2.PredictionsRequest(model_name=model, input={"json": document})
    metadata = [("authorization", f"Bearer {key}")] if key else []
    deadline = time.monotonic() + deadline_s
    pause_s = 0.1
    while True:
        is_last = time.monotonic() + pause_s >= deadline
        try:
            answer = stub.Predictions(request, timeout=max(deadline - time.monotonic(), 0.001), metadata=metadata)
        except grpc.RpcError as error:
            if is_last or error.code() not in GONE or "not found" in error.details().lower():
                raise
        else:
            reply = json.loads(answer.prediction)
            if "error" not in reply:
                return reply["results"]
            code, message = reply["error"]["code"], reply["error"]["message"]
            if is_last or code not in WORTH_REPEATING:
                raise RuntimeError(f"{code}: {message}")
        time.sleep(random.uniform(0, pause_s))
        pause_s = min(2 * pause_s, 5)


def main() -> int:
    """Print a line for each entity: label, score, offsets, text."""
    parser = argparse.ArgumentParser(description="Finds the names in texts, over gRPC.")
    parser.add_argument("--target", default=os.environ.get("NERSERVE_GRPC", "127.0.0.1:7070"))
    parser.add_argument("--model", default="en")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    arguments = parser.parse_args()
    with grpc.insecure_channel(arguments.target) as channel:
        stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
        results = predict(stub, arguments.model, arguments.texts, key=os.environ.get("NERSERVE_INFERENCE_KEY", ""))
    for text, result in zip(arguments.texts, results, strict=True):
        if "error" in result:
            print(f"{result['error']['code']}: {result['error']['message']}", file=sys.stderr)
            continue
        for entity in result["entities"]:
            start, end = entity["start"], entity["end"]
            print(f"{entity['label']}\t{entity['score']:.3f}\t{start}-{end}\t{text[start:end]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
