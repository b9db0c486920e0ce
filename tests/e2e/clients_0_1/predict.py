"""The entities of texts, with requests: python examples/predict.py [--url URL] TEXT..."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import requests

WORTH_REPEATING = {429, 502, 503, 504}


def predict(url: str, texts: Sequence[str], *, deadline_s: float = 60.0, **options: Any) -> list[dict[str, Any]]:
    """One result for each of *texts*: ``{"entities": [...]}`` or ``{"error": {"code", "message"}}``.

    Asks again until *deadline_s* seconds have passed when the site says that it is worth it, or cannot be reached.
    Raises requests.RequestException when there is no answer, RuntimeError when the request is wrong.
    """
    deadline = time.monotonic() + deadline_s
    longest_pause_s = 0.1
    with requests.Session() as session:
        while True:
            left_s = max(deadline - time.monotonic(), 0.001)
            pause_s = random.uniform(0, longest_pause_s)  # so that not everybody comes back at once
            longest_pause_s = min(2 * longest_pause_s, 5)
            try:
                response = session.post(
                    f"{url}/api/predict",
                    json={"texts": list(texts), **options},
                    headers={"X-Request-Timeout": f"{left_s:.3f}"},
                    timeout=(min(5, left_s), left_s),
                )
            except requests.ConnectionError:
                if time.monotonic() + pause_s >= deadline:
                    raise
            else:
                if response.ok:
                    return response.json()["results"]
                pause_s += float(response.headers.get("Retry-After", 0))
                if response.status_code not in WORTH_REPEATING or time.monotonic() + pause_s >= deadline:
                    error = response.json()["error"]
                    request_id = response.headers["X-Request-Id"]
                    raise RuntimeError(f"{error['code']}: {error['message']} (request {request_id})")
            time.sleep(pause_s)


def main() -> int:
    """Print a line for each entity: label, score, offsets, text."""
    parser = argparse.ArgumentParser(description="Finds the names in texts.")
    parser.add_argument("--url", default=os.environ.get("NERSERVE_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--threshold", type=float, default=0.0, help="the least score, from 0 to 1")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    arguments = parser.parse_args()
    for text, result in zip(
        arguments.texts, predict(arguments.url, arguments.texts, threshold=arguments.threshold), strict=True
    ):
        if "error" in result:
            print(f"{result['error']['code']}: {result['error']['message']}", file=sys.stderr)
            continue
        for entity in result["entities"]:
            start, end = entity["start"], entity["end"]
            print(f"{entity['label']}\t{entity['score']:.3f}\t{start}-{end}\t{text[start:end]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
