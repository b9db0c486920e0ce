"""Twice the load that the site can carry: the latency of accepted requests, and what refused ones are told.

Measures the capacity (a closed loop of many clients) and the latency of a single
client; then offers twice the capacity (open loop), and measures how soon the
single client's latency is back.

    scripts/test tests/drills/test_overload.py                       two minutes of overload
    scripts/test tests/drills/test_overload.py --drill-seconds 20

The bars: the p99 of accepted requests is below twice the unloaded one plus the
queue's limit in seconds, no client hangs or loses its connection, every answer
is right, and every 429 and 503 has a Retry-After.
"""

import os
import time
from collections import Counter

import pytest

from bench.load import HUNG, LOST, REFUSED, RIGHT, WRONG, Load, quantiles
from tests.drills.sentences import text_requests

pytestmark = [pytest.mark.drill, pytest.mark.timeout(0)]

DEADLINE_S = 20.0
"""The site answers within its own deadline of 10 s, with whatever status; a client that waits this long has hung."""

FACTOR = 2.0
CALIBRATION_S = 15.0
NUM_CLIENTS = 48
IN_A_ROW = 20


def outcomes_of(server, requests, num_clients, seconds):
    """The outcomes of a closed loop, and its right answers a second."""
    load = Load(server.site, requests, DEADLINE_S)
    throughput = load.run_closed(num_clients, seconds)
    return load.outcomes, throughput


def seconds_until_normal(server, requests, normal_s):
    """Seconds until IN_A_ROW requests in a row are answered right within *normal_s*; infinite after a minute."""
    began_s = time.monotonic()
    while (start_s := time.monotonic() - began_s) < 60:
        if all(
            outcome.kind == RIGHT and outcome.latency_s < normal_s
            for _ in range(IN_A_ROW)
            for outcome in outcomes_of(server, requests[:1], 1, 0.001)[0]
        ):
            return start_s
    return float("inf")


def times_of(outcomes):
    p50_s, p99_s = quantiles(outcomes, 0.5, 0.99)
    return f"p50 {p50_s * 1e3:6.0f} ms  p99 {p99_s * 1e3:6.0f} ms"


def show(outcomes, seconds):
    """Print the outcomes of the overload by kind; returns the count of each, and of refusals without Retry-After."""
    kinds = {kind: [one for one in outcomes if one.kind == kind] for kind in sorted({one.kind for one in outcomes})}
    accepted = kinds.get(RIGHT, [])
    rates = f"{len(accepted) / seconds:.0f} right answers/s of {len(outcomes) / seconds:.0f} requests/s"
    print(f"overload, {FACTOR:g} x for {seconds:g} s    {times_of(accepted)}  {rates}")
    for kind, own in kinds.items():
        has_time = sum(outcome.has_retry_after for outcome in own)
        print(f"  {kind:28} {len(own):8}  {times_of(own)}  Retry-After in {has_time}")
    refused = [outcome for outcome in outcomes if outcome.kind.split()[0] in {"429", "503"}]
    return Counter(one.kind for one in outcomes), sum(not outcome.has_retry_after for outcome in refused)


def test_accepted_requests_stay_fast_and_refused_ones_are_told_when_to_retry(server, option, expected):
    seconds = option("seconds", 120.0)
    calibration_s = min(CALIBRATION_S, seconds)
    queue_s = float(os.environ.get("NERSERVE_QUEUE_S", "5"))
    requests = text_requests("/api/predict", expected)

    outcomes_of(server, requests, 1, 3.0)
    alone, _ = outcomes_of(server, requests, 1, calibration_s)
    full, capacity = outcomes_of(server, requests, NUM_CLIENTS, calibration_s)
    (unloaded_p99_s,) = quantiles(alone, 0.99)
    print(f"unloaded, one client          {times_of(alone)}")
    print(f"capacity, {NUM_CLIENTS} clients          {times_of(full)}  {capacity:.0f} right answers/s")
    time.sleep(2.0)
    load = Load(server.site, requests, DEADLINE_S)
    load.start(FACTOR * capacity)
    time.sleep(seconds)
    load.stop()
    normal_s = seconds_until_normal(server, requests, 2 * unloaded_p99_s)
    counts, num_untold = show(load.outcomes, seconds)
    print(f"as fast as before             {normal_s:.1f} s after the last request was answered")

    (p99_s,) = quantiles([outcome for outcome in load.outcomes if outcome.kind == RIGHT], 0.99)
    bar_s = 2 * unloaded_p99_s + queue_s
    bars = {
        f"accepted p99 {p99_s:.2f} s < {bar_s:.2f} s (2 x unloaded p99 + queue limit {queue_s:g} s)": p99_s < bar_s,
        f"hung {counts[HUNG]}, lost {counts[LOST] + counts[REFUSED]}, wrong {counts[WRONG]}": not (
            counts[HUNG] + counts[LOST] + counts[REFUSED] + counts[WRONG]
        ),
        f"429 and 503 without Retry-After: {num_untold}": not num_untold,
    }
    for bar, holds in bars.items():
        print(f"{'holds' if holds else 'FAILS'}: {bar}")
    assert all(bars.values())
