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

    *key* is the inference key, where TorchServe asks for keys. Asks again, until *deadline_s* seconds have passed, what
    is lost, and says so on stderr the first time. Raises RuntimeError, which says what came instead of results.
    """
    document = json.dumps({"texts": list(texts), **options}).encode()
    request = inference_pb2.PredictionsRequest(model_name=model, input={"json": document})
    metadata = [("authorization", f"Bearer {key}")] if key else []
    deadline = time.monotonic() + deadline_s
    pause_s = 0.1
    is_waiting = False
    while True:
        left_s = max(deadline - time.monotonic(), 0.001)
        try:
            answer = stub.Predictions(request, timeout=left_s, metadata=metadata)
        except grpc.RpcError as error:
            problem, is_worth_repeating = why_no_answer(error)
        else:
            reply = json.loads(answer.prediction)
            if "error" not in reply:
                return reply["results"]
            code, message = reply["error"]["code"], reply["error"]["message"]
            problem, is_worth_repeating = f"{code}: {message}", code in WORTH_REPEATING
        if not is_worth_repeating:
            raise RuntimeError(problem)
        if time.monotonic() + pause_s >= deadline:
            raise RuntimeError(f"{problem}; gave up after {deadline_s:g} s")
        if not is_waiting:
            print(f"{problem}; trying again for up to {left_s:.0f} s", file=sys.stderr)
            is_waiting = True
        time.sleep(random.uniform(0, pause_s))
        pause_s = min(2 * pause_s, 5)


def why_no_answer(error: grpc.RpcError) -> tuple[str, bool]:
    """Why TorchServe did not answer, in a line, and whether it may pass."""
    code, details = error.code(), error.details()
    if "http1.x" in details:
        return "this port speaks HTTP, not gRPC: expected the one that nerserve up prints as gRPC", False
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return f"{details}; expected NERSERVE_INFERENCE_KEY, which nerserve key prints", False
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{details}; is it gRPC's management port? Expected the one that nerserve up prints as gRPC", False
    return f"{code.name}: {details}", code in GONE and "not found" not in details.lower()


def main() -> int:
    """Print a line for each entity: label, score, offsets, text."""
    parser = argparse.ArgumentParser(description="Finds the names in texts, over gRPC.")
    parser.add_argument("--target", default=os.environ.get("NERSERVE_GRPC", "127.0.0.1:7070"))
    parser.add_argument("--model", default="en")
    parser.add_argument("--deadline", type=float, default=60.0, metavar="S", help="seconds until it gives up (60)")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    arguments = parser.parse_args()
    key = os.environ.get("NERSERVE_INFERENCE_KEY", "")
    with grpc.insecure_channel(arguments.target) as channel:
        stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
        try:
            results = predict(stub, arguments.model, arguments.texts, deadline_s=arguments.deadline, key=key)
        except RuntimeError as error:
            print(f"{arguments.target}: {error}", file=sys.stderr)
            return 1
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
