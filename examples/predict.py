"""The entities of texts, with requests: python examples/predict.py [--url URL] TEXT..."""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

import requests

WORTH_REPEATING = {429, 502, 503, 504}


def predict(url: str, texts: Sequence[str], *, deadline_s: float = 60.0, **options: Any) -> list[dict[str, Any]]:
    """One result for each of *texts*: ``{"entities": [...]}`` or ``{"error": {"code", "message"}}``.

    Asks again until *deadline_s* seconds have passed when the site says that it is worth it, or cannot be reached; the
    first time it says so on stderr. Raises RuntimeError, which says what came instead of results.
    """
    deadline = time.monotonic() + deadline_s
    longest_pause_s = 0.1
    is_waiting = False
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
            except requests.RequestException as error:
                problem, is_worth_repeating = why_no_response(url, error)
            else:
                if response.ok and (results := results_in(response)) is not None:
                    return results
                problem = what_came(response)
                is_worth_repeating = response.status_code in WORTH_REPEATING
                retry_after = response.headers.get("Retry-After", "")
                pause_s += int(retry_after) if retry_after.isdecimal() else 0  # a proxy's may be a date
            if not is_worth_repeating:
                raise RuntimeError(problem)
            if time.monotonic() + pause_s >= deadline:
                raise RuntimeError(f"{problem}; gave up after {deadline_s:g} s")
            if not is_waiting:
                print(f"{problem}; trying again for up to {left_s:.0f} s", file=sys.stderr)
                is_waiting = True
            time.sleep(pause_s)


def results_in(response: requests.Response) -> list[dict[str, Any]] | None:
    """The results in the body of a 200; None where it is not the site's."""
    try:
        return response.json()["results"]
    except (ValueError, LookupError, TypeError):
        return None


def what_came(response: requests.Response) -> str:
    """What *response* says instead of results, in a line."""
    try:
        reply = response.json()
    except ValueError:
        reply = None
    match reply:
        case {"error": {"code": code, "message": message}}:
            return f"{code}: {message} (request {response.headers.get('X-Request-Id', 'without an id')})"
        case {"code": int(), "type": str(kind)}:
            return f"{response.url} is a port of TorchServe ({kind}): expected the site's, which nerserve up prints"
    words = " ".join(re.sub(r"<[^>]*>", " ", response.text).split())[:60]
    return f"{response.url} answered {response.status_code} {response.reason}, not in the site's form: {words}"


def why_no_response(url: str, error: requests.RequestException) -> tuple[str, bool]:
    """Why nothing came from *url*, in a line, and whether it may pass."""
    if "BadStatusLine" in repr(error):
        return f"{url} does not speak HTTP: is it the gRPC port? Expected the site's, which nerserve up prints", False
    if isinstance(error, requests.ConnectionError) and not isinstance(error, requests.exceptions.SSLError):
        reason = re.search(r"\[Errno -?\d+\] ([\w ]+)", str(error))
        return f"{url} is not reachable ({reason[1] if reason else type(error).__name__})", True
    return f"{url}: {error}", isinstance(error, requests.Timeout)


def main() -> int:
    """Print a line for each entity: label, score, offsets, text."""
    parser = argparse.ArgumentParser(description="Finds the names in texts.")
    parser.add_argument("--url", default=os.environ.get("NERSERVE_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--threshold", type=float, default=0.0, help="the least score, from 0 to 1")
    parser.add_argument("--deadline", type=float, default=60.0, metavar="S", help="seconds until it gives up (60)")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    arguments = parser.parse_args()
    try:
        results = predict(arguments.url, arguments.texts, deadline_s=arguments.deadline, threshold=arguments.threshold)
    except RuntimeError as error:
        print(error, file=sys.stderr)
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
