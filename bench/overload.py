"""Twice the load that the site can carry: what those get who are let in, and how the others are told to come back.

Starts a nerserve of its own, with models/en; measures how much it can carry (a
closed loop of many clients) and how fast it is when nobody else asks; then sends
twice as much as it can carry (open loop) and looks how soon all is as before.

    python -m bench.overload                     two minutes of overload
    python -m bench.overload --seconds 20

Exit status 1 when the bar does not hold: the 99th percentile of accepted
requests is below twice the unloaded one plus the queue's limit in seconds, no
client hangs, every answer is right, and every 429 and 503 names a time to retry.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.load import HUNG, LOST, REFUSED, RIGHT, TEXTS, WRONG, Load, Outcome, Request, quantiles, text_requests
from bench.serving import Server, entities_of, running

DEADLINE_S: Final = 20.0
"""The site answers within its own deadline of 10 s, whatever the answer is; a client that waits this long has hung."""

NUM_CLIENTS: Final = 48
IN_A_ROW: Final = 20


def unloaded(server: Server, requests: Sequence[Request], seconds: float) -> list[Outcome]:
    """One client, one request after the other."""
    load = Load(server.site, requests, DEADLINE_S)
    load.run_closed(1, seconds)
    return load.outcomes


def seconds_until_normal(server: Server, requests: Sequence[Request], usual_s: float) -> float:
    """Seconds until IN_A_ROW requests in a row are answered right within *usual_s*; infinite after a minute."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < 60:
        start_s = time.monotonic() - began_s
        if all(
            outcome.kind == RIGHT and outcome.latency_s < usual_s
            for _ in range(IN_A_ROW)
            for outcome in unloaded(server, requests[:1], 0.001)
        ):
            return start_s
    return float("inf")


def main() -> int:
    """Run it and print what came; 0 when the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long the overload lasts (%(default)g)")
    parser.add_argument("--factor", type=float, default=2.0, help="times what it can carry (%(default)g)")
    parser.add_argument(
        "--calibrate", type=float, default=15.0, help="seconds for each measurement before (%(default)g)"
    )
    arguments = parser.parse_args()
    queue_s = float(os.environ.get("NERSERVE_QUEUE_S", "5"))
    expected: list[list[dict[str, Any]]] = entities_of(TEXTS)
    requests = text_requests("/api/predict", expected)
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as server:
        unloaded(server, requests, 3.0)
        alone = unloaded(server, requests, arguments.calibrate)
        closed = Load(server.site, requests, DEADLINE_S)
        capacity = closed.run_closed(NUM_CLIENTS, arguments.calibrate)
        alone_p50_s, alone_p99_s = quantiles(alone, 0.5, 0.99)
        full_p50_s, full_p99_s = quantiles(closed.outcomes, 0.5, 0.99)
        print(f"unloaded, one client          p50 {alone_p50_s * 1e3:6.0f} ms  p99 {alone_p99_s * 1e3:6.0f} ms")
        print(
            f"capacity, {NUM_CLIENTS} clients          p50 {full_p50_s * 1e3:6.0f} ms  p99 {full_p99_s * 1e3:6.0f} ms  "
            f"{capacity:.0f} right answers/s"
        )
        time.sleep(2.0)
        load = Load(server.site, requests, DEADLINE_S)
        load.start(arguments.factor * capacity)
        time.sleep(arguments.seconds)
        load.stop()
        normal_s = seconds_until_normal(server, requests, 2 * alone_p99_s)
    counts = Counter(outcome.kind for outcome in load.outcomes)
    accepted = [outcome for outcome in load.outcomes if outcome.kind == RIGHT]
    p50_s, p99_s = quantiles(accepted, 0.5, 0.99)
    rejected = [outcome for outcome in load.outcomes if outcome.kind not in {RIGHT, WRONG, HUNG, LOST, REFUSED}]
    print(
        f"overload, {arguments.factor:g} x for {arguments.seconds:g} s    p50 {p50_s * 1e3:6.0f} ms  "
        f"p99 {p99_s * 1e3:6.0f} ms  {len(accepted) / arguments.seconds:.0f} right answers/s of "
        f"{len(load.outcomes) / arguments.seconds:.0f} requests/s"
    )
    for kind, count in sorted(counts.items()):
        times = [outcome for outcome in load.outcomes if outcome.kind == kind]
        median_s, high_s = quantiles(times, 0.5, 0.99)
        has_time = sum(outcome.has_retry_after for outcome in times)
        print(
            f"  {kind:28} {count:8}  p50 {median_s * 1e3:6.0f} ms  p99 {high_s * 1e3:6.0f} ms  "
            f"Retry-After in {has_time}"
        )
    print(f"as fast as before             {normal_s:.1f} s after the last request was answered")
    untold = sum(not outcome.has_retry_after for outcome in rejected if outcome.kind.split()[0] in {"429", "503"})
    bar_s = 2 * alone_p99_s + queue_s
    bars = {
        f"accepted p99 {p99_s:.2f} s < {bar_s:.2f} s (2 x unloaded p99 + queue limit {queue_s:g} s)": p99_s < bar_s,
        f"hung {counts[HUNG]}, lost {counts[LOST] + counts[REFUSED]}, wrong {counts[WRONG]}": not (
            counts[HUNG] + counts[LOST] + counts[REFUSED] + counts[WRONG]
        ),
        f"429 and 503 without Retry-After: {untold}": not untold,
    }
    for bar, holds in bars.items():
        print(f"{'holds' if holds else 'FAILS'}: {bar}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
