"""Mixed load for minutes, and the memory of every process meanwhile: whether anything grows.

Starts a nerserve of its own, with models/en; sends what users send (short and
long texts, lists of texts, streams of NDJSON, wrong requests, pages) through the
site and to TorchServe's own port; samples the resident memory of every process.

    python -m bench.soak                                   ten minutes
    python -m bench.soak --minutes 3 --plot soak.png

The table has each process's memory after the first minute and at the end, and
the slope of a straight line through all samples, through those after the first
minute and through those of the second half, in percent of the mean a minute.
Exit status 1 when a process grew by more than --bar percent a minute in the
second half (before that the JVM's heap and the pools of threads fill up to their
limits), or an answer was wrong, hung or lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from matplotlib.figure import Figure

from bench.load import HUNG, LOST, REFUSED, TEXTS, WRONG, Load, Request, kinds, text_requests
from bench.serving import Server, entities_of, running

DEADLINE_S: Final = 30.0
FIRST_S: Final = 60.0
"""Memory that is still being filled: caches, pools of threads and buffers, the JVM's heap."""


def mixed(api: str, *, is_site: bool) -> list[Request]:
    """What users send, half of it single sentences; each is right with its own status and number of results."""
    expected = entities_of(TEXTS)
    single = text_requests(api, expected)
    long_text = " ".join(TEXTS * 8)

    def refused(body: bytes, status: int, content_type: str = "application/json") -> Request:
        return Request(api, body, content_type, lambda got, _: got == status)

    others = [
        Request(
            api,
            json.dumps({"texts": TEXTS}).encode(),
            is_right=lambda status, body: (
                status == 200 and [row["entities"] for row in json.loads(body)["results"]] == expected
            ),
        ),
        Request(api, long_text.encode(), "text/plain"),
        Request(api, json.dumps({"text": TEXTS[0], "labels": ["PER"], "offsets": "utf16"}).encode()),
        refused(b"{", 400),
        refused(json.dumps({"text": TEXTS[0], "threshold": 2}).encode(), 422),
        refused(b"a" * 100_001, 413, "text/plain"),
        refused(b"<text/>", 415, "application/xml"),
    ]
    if is_site:
        lines = "".join(f"{json.dumps({'text': text})}\n" for text in TEXTS * 4).encode()
        others += [
            Request(
                api,
                lines,
                "application/x-ndjson",
                lambda status, body: (
                    status == 200
                    and [json.loads(line)["entities"] for line in body.decode().splitlines()] == expected * 4
                ),
            ),
            Request("/", b"", is_right=lambda status, body: status == 200 and b"<form" in body, method="GET"),
            Request("/metrics", b"", method="GET"),
        ]
    return [request for i, other in enumerate(others) for request in (single[i % len(single)], other)]


def sample(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Resident memory of each process in MB, not a number for one that is gone."""
    sizes = {}
    for name, process in processes.items():
        sizes[name] = float("nan")
        with contextlib.suppress(psutil.Error):
            sizes[name] = process.memory_info().rss / 1e6
    return sizes


def slope(times_s: Sequence[float], sizes_mb: Sequence[float]) -> float:
    """Percent of the mean a minute, by least squares.

    >>> round(slope([0.0, 60.0, 120.0], [99.0, 100.0, 101.0]), 3)
    1.0
    """
    if len(times_s) < 2:
        return float("nan")
    return float(np.polyfit(np.array(times_s) / 60, np.array(sizes_mb), 1)[0] / np.mean(sizes_mb) * 100)


def plot(times_s: Sequence[float], samples: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the memory of every process over time."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name in samples[0]:
        axes.plot(np.array(times_s) / 60, [one[name] for one in samples], label=name)
    axes.set(xlabel="minutes", ylabel="resident memory, MB", title="Memory under mixed load", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, fontsize="small")
    figure.savefig(path, dpi=120)


def table(times_s: Sequence[float], samples: Sequence[Mapping[str, float]], bar: float) -> bool:
    """Print a row for every process; whether none grew by more than *bar* percent a minute in the second half."""
    later = [i for i, time_s in enumerate(times_s) if time_s >= FIRST_S]
    print(f"{'resident memory, slopes':41} whole run   after 1 min   second half")
    is_steady = True
    for name in samples[0]:
        sizes = [one[name] for one in samples]
        whole = slope(times_s, sizes)
        rest = slope([times_s[i] for i in later], [sizes[i] for i in later])
        half = slope(times_s[len(times_s) // 2 :], sizes[len(sizes) // 2 :])
        is_steady = is_steady and half <= bar
        print(
            f"{name:14} {sizes[later[0] if later else 0]:5.0f} MB then {sizes[-1]:5.0f} MB {whole:+7.2f} %/min "
            f"{rest:+7.2f} %/min {half:+7.2f} %/min{'' if half <= bar else '  GROWS'}"
        )
    return is_steady


def watch(server: Server, seconds: float, every_s: float) -> tuple[list[float], list[dict[str, float]]]:
    """Times in seconds and samples, until *seconds* are over."""
    processes = server.processes()
    began_s = time.monotonic()
    times_s: list[float] = []
    samples = []
    while (now_s := time.monotonic() - began_s) < seconds:
        times_s.append(now_s)
        samples.append(sample(processes))
        time.sleep(every_s)
    return times_s, samples


def main() -> int:
    """Run it, print the table and draw the plot; 0 when nothing grows and nothing failed that should not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (%(default)g)")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second to the site (%(default)g)")
    parser.add_argument("--bare-rate", type=float, default=10.0, help="and to TorchServe's own port (%(default)g)")
    parser.add_argument("--every", type=float, default=2.0, metavar="S", help="seconds between samples (%(default)g)")
    parser.add_argument("--bar", type=float, default=0.5, help="percent a minute that is no growth yet (%(default)g)")
    parser.add_argument("--plot", type=Path, default=Path("soak.png"), help="the plot's file (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as server:
        loads = {
            "site": Load(server.site, mixed("/api/predict", is_site=True), DEADLINE_S),
            "TorchServe's own port": Load(server.inference, mixed("/predictions/en", is_site=False), DEADLINE_S),
        }
        loads["site"].start(arguments.rate)
        loads["TorchServe's own port"].start(arguments.bare_rate)
        times_s, samples = watch(server, arguments.minutes * 60, arguments.every)
        for load in loads.values():
            load.stop()
    is_fine = table(times_s, samples, arguments.bar)
    for where, load in loads.items():
        bad = [outcome for outcome in load.outcomes if outcome.kind in {WRONG, HUNG, LOST, REFUSED}]
        print(f"{where}: {len(load.outcomes)} requests; not as they should be: {kinds(load.outcomes) or 'none'}")
        is_fine = is_fine and not bad
    plot(times_s, samples, arguments.plot)
    print(f"plot in {arguments.plot}")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
