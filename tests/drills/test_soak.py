"""Mixed load for minutes, and the memory of every process meanwhile: nothing may grow.

Sends what users send (short and long texts, lists of texts, NDJSON streams,
wrong requests, pages) through the site and to TorchServe's own port.

    scripts/test tests/drills/test_soak.py                                       ten minutes
    scripts/test tests/drills/test_soak.py --drill-seconds 180 --drill-plot soak.png

The table has each process's resident memory after the first minute and at the
end, and the slope of a straight line through all samples, through those after
the first minute and through those of the second half, in percent of the mean a
minute.  The verdict is on the second half: before that the JVM's heap and the
thread pools fill up to their limits.  A run of a minute or two only shows that
everything is answered; it needs a larger --drill-growth.
"""

import json
import time
from math import nan

import numpy as np
import pytest
from matplotlib.figure import Figure

from bench.load import HUNG, LOST, REFUSED, WRONG, Load, Request
from bench.memory import watched
from tests.drills.sentences import TEXTS, kinds, text_requests

pytestmark = [pytest.mark.drill, pytest.mark.timeout(0)]

DEADLINE_S = 30.0
FIRST_S = 60.0
"""Memory still fills up until then: caches, pools of threads and buffers, the JVM's heap."""

PORT_SHARE = 1 / 4
"""Of the site's rate, what is sent to TorchServe's own port."""

SAMPLE_S = 2.0


def mixed(api, expected, *, is_site):
    """Requests as users send them, half of them single sentences; each is right with its own status and results."""

    def with_status(body, status, content_type="application/json"):
        return Request(api, body, content_type, lambda got, _: got == status)

    def has_results(status, body):
        return status == 200 and [row["entities"] for row in json.loads(body)["results"]] == expected

    def has_lines(status, body):
        return status == 200 and [json.loads(line)["entities"] for line in body.splitlines()] == expected * 4

    others = [
        Request(api, json.dumps({"texts": TEXTS}).encode(), is_right=has_results),
        Request(api, " ".join(TEXTS * 8).encode(), "text/plain"),
        Request(api, json.dumps({"text": TEXTS[0], "labels": ["PER"], "offsets": "utf16"}).encode()),
        with_status(b"{", 400),
        with_status(json.dumps({"text": TEXTS[0], "threshold": 2}).encode(), 422),
        with_status(b"a" * 100_001, 413, "text/plain"),
        with_status(b"<text/>", 415, "application/xml"),
    ]
    if is_site:
        lines = "".join(f"{json.dumps({'text': text})}\n" for text in TEXTS * 4).encode()
        others += [
            Request(api, lines, "application/x-ndjson", has_lines),
            Request("/", b"", is_right=lambda status, body: status == 200 and b"<form" in body, method="GET"),
            Request("/metrics", b"", method="GET"),
        ]
    single = text_requests(api, expected)
    return [request for i, other in enumerate(others) for request in (single[i % len(single)], other)]


def slope(times_s, sizes_mb):
    """Percent of the mean a minute, by least squares; not a number for fewer than two samples."""
    if len(times_s) < 2:
        return nan
    return float(np.polyfit(np.array(times_s) / 60, np.array(sizes_mb), 1)[0] / np.mean(sizes_mb) * 100)


def plot(memory, path):
    """Draw the memory of every process over time."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name, sizes_mb in memory.sizes_mb.items():
        axes.plot(np.array(memory.times_s) / 60, sizes_mb, label=name)
    axes.set(xlabel="minutes", ylabel="resident memory, MB", title="Memory under mixed load", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, fontsize="small")
    figure.savefig(path, dpi=120)


def growing(memory, bar):
    """Print a row for every process; returns those that grew by more than *bar* percent a minute in the second half."""
    times_s = memory.times_s
    later = next((i for i, time_s in enumerate(times_s) if time_s >= FIRST_S), len(times_s))
    print(f"{'resident memory, slopes':41} whole run   after 1 min   second half")
    grown = []
    for name, sizes_mb in memory.sizes_mb.items():
        whole, rest, half = (slope(times_s[i:], sizes_mb[i:]) for i in (0, later, len(times_s) // 2))
        is_steady = half <= bar  # and a number: the process is still there
        grown += [] if is_steady else [name]
        print(
            f"{name:14} {(sizes_mb[later:] or sizes_mb)[0]:5.0f} MB then {sizes_mb[-1]:5.0f} MB {whole:+7.2f} %/min "
            f"{rest:+7.2f} %/min {half:+7.2f} %/min{'' if is_steady else '  GROWS'}"
        )
    return grown


def test_no_process_grows_under_mixed_load(server, option, expected):
    rate = option("rate", 40.0)
    loads = {
        "site": Load(server.site, mixed("/api/predict", expected, is_site=True), DEADLINE_S),
        "TorchServe's own port": Load(
            server.inference, mixed("/predictions/en", expected, is_site=False), DEADLINE_S, key=server.inference_key
        ),
    }

    loads["site"].start(rate)
    loads["TorchServe's own port"].start(rate * PORT_SHARE)
    with watched(server.processes(), SAMPLE_S) as memory:
        time.sleep(option("seconds", 600.0))
    for load in loads.values():
        load.stop()

    grown = growing(memory, option("growth", 0.5))
    for where, load in loads.items():
        print(f"{where}: {len(load.outcomes)} requests; not as they should be: {kinds(load.outcomes) or 'none'}")
    if path := option("plot", None):
        plot(memory, path)
    bad = {WRONG, HUNG, LOST, REFUSED}
    assert not [outcome for load in loads.values() for outcome in load.outcomes if outcome.kind in bad]
    assert not grown
