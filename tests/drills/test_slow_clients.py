"""2,250 clients that stop in the middle, all at once, and what the others notice of them; then a stop under load.

    scripts/test tests/drills/test_slow_clients.py                      half a minute of it
    scripts/test tests/drills/test_slow_clients.py --drill-seconds 120

The bars: no ``/livez`` takes 0.2 s and no prediction 1 s, no answer is wrong,
each line of a stream that comes later is answered, and a stop loses nothing.
"""

import contextlib
import http.client
import json
import signal
import socket
import time
from collections import Counter
from urllib.parse import urlsplit

import pytest

from bench.load import HUNG, LOST, RIGHT, WRONG, Load, Request, quantiles
from tests.drills.sentences import TEXTS, kinds, text_requests

pytestmark = [pytest.mark.drill, pytest.mark.timeout(0)]

POST = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
STREAM = POST + b"application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "silent": (1_000, b""),
    "half heads": (500, b"GET /livez HTTP/1.1\r\nHost: "),
    "half bodies": (500, POST + b"text/plain\r\nContent-Length: 1000\r\n\r\nBarack Obama"),
    "slow readers": (200, b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8),
    "idle streams": (50, STREAM),
}
"""How many of each kind, and what they send; slow readers ask for 1 MB and take none of it."""

DEADLINE_S = 30.0
LIVE_RATE, TEXT_RATE = 20.0, 20.0
SETTLE_S = 5.0
PATIENCE_S = 30.0


def begin(site, first_bytes, *, is_reader=False):
    """A connection on which *first_bytes* were sent, as far as the site takes them."""
    connection = socket.socket()
    if is_reader:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(DEADLINE_S)
    connection.connect((site.hostname, site.port))
    connection.setblocking(False)
    if first_bytes:
        with contextlib.suppress(BlockingIOError):
            connection.send(first_bytes)
    return connection


def stream_steadily(site, seconds, expected):
    """Ask for a stream until there is a place, then send a line ten times a second: counts of what came back."""
    counts = Counter()
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        with socket.create_connection((site.hostname, site.port), timeout=DEADLINE_S) as connection:
            connection.sendall(STREAM)
            number = 0
            while number < 10 * seconds:
                line = json.dumps({"text": TEXTS[number % len(TEXTS)]}).encode() + b"\n"
                with contextlib.suppress(OSError):
                    connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
                if number == 0:
                    reply = http.client.HTTPResponse(connection, method="POST")
                    reply.begin()
                    if reply.status != 200:
                        counts[f"asked in vain: {reply.status}"] += 1
                        break
                answer = json.loads(reply.readline())
                counts[RIGHT if answer.get("entities") == expected[number % len(TEXTS)] else WRONG] += 1
                number += 1
                time.sleep(0.1)
            else:
                return counts
        time.sleep(1)
    return counts


def show(name, outcomes):
    p50_s, p99_s = quantiles(outcomes, 0.5, 0.99)
    slowest_s = max(outcome.latency_s for outcome in outcomes)
    others = kinds(outcomes) or "all right"
    print(f"  {name:24} {len(outcomes):6}  p50 {p50_s:.3f} s  p99 {p99_s:.3f} s  slowest {slowest_s:.3f} s  {others}")
    return slowest_s


def test_slow_clients_cost_the_others_nothing(server, option, expected):
    seconds = option("seconds", 30.0)
    site = urlsplit(server.site)
    texts = text_requests("/api/predict", expected)
    live = [Request("/livez", b"", method="GET")]
    for requests in (texts, live):
        Load(server.site, requests, DEADLINE_S).run_closed(2, 2.0)
    with contextlib.ExitStack() as stack:
        began_s = time.monotonic()
        for name, (count, first_bytes) in SLOW.items():
            for _ in range(count):
                stack.enter_context(begin(site, first_bytes, is_reader=name == "slow readers"))
        print(f"{sum(count for count, _ in SLOW.values())} slow clients after {time.monotonic() - began_s:.1f} s")
        time.sleep(SETTLE_S)
        loads = {name: Load(server.site, asked, DEADLINE_S) for name, asked in (("/livez", live), ("text", texts))}
        loads["/livez"].start(LIVE_RATE)
        loads["text"].start(TEXT_RATE)
        lines = stream_steadily(site, seconds, expected)
        for load in loads.values():
            load.stop()
        slowest_s = {name: show(name, load.outcomes) for name, load in loads.items()}
        print(f"  {'lines of a stream':24} {dict(lines)}")

        for name, (count, first_bytes) in SLOW.items():  # as many again: many have been hung up on
            for _ in range(count):
                stack.enter_context(begin(site, first_bytes, is_reader=name == "slow readers"))
        last = Load(server.site, texts, DEADLINE_S)
        last.start(TEXT_RATE)
        time.sleep(2)
        began_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(120)
        stopped_s = time.monotonic() - began_s
        last.stop()
        show(f"a stop in {stopped_s:.1f} s", last.outcomes)

    during = [outcome for load in loads.values() for outcome in load.outcomes]
    num_right = sum(outcome.kind == RIGHT for outcome in during)
    at_stop = Counter(outcome.kind for outcome in last.outcomes)
    bars = {
        f"slowest /livez {slowest_s['/livez']:.3f} s < 0.2 s": slowest_s["/livez"] < 0.2,
        f"slowest prediction {slowest_s['text']:.3f} s < 1 s": slowest_s["text"] < 1.0,
        f"right {num_right} of {len(during)}": num_right == len(during),
        f"lines of the stream right {lines[RIGHT]}, wrong {lines[WRONG]}": lines[RIGHT] >= 10 * seconds
        and not lines[WRONG],
        f"at the stop lost {at_stop[LOST]}, hung {at_stop[HUNG]}, wrong {at_stop[WRONG]}": not (
            at_stop[LOST] + at_stop[HUNG] + at_stop[WRONG]
        ),
    }
    for bar, holds in bars.items():
        print(f"{'holds' if holds else 'FAILS'}: {bar}")
    assert all(bars.values())
