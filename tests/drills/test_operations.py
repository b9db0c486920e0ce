"""Steady traffic while operators scale, roll out, break and roll back: no answer may fail or be wrong.

Sends texts through the site at a steady rate (open loop), and a tenth as many to
TorchServe's own port; compares every answer with the same model's in this process.

    scripts/test tests/drills/test_operations.py     five minutes at 200 requests/s, or at half of the capacity
    scripts/test tests/drills/test_operations.py --drill-seconds 60
"""

import json
import os
import subprocess
import time

import pytest
import requests

from archive import mar
from archive.build import build_mar
from bench import ROOT
from bench.load import RIGHT, WRONG, Load, authorization, quantiles
from bench.serving import BUNDLE, NERSERVE
from tests.drills.sentences import kinds, text_requests

pytestmark = [pytest.mark.drill, pytest.mark.timeout(0)]

CALIBRATION_S = 6.0
TIMEOUT_S = 20.0

#: A release that passes every check before it is the default, and fails soon after: the worst kind.
BROKEN_ENTRY_POINT = b'''
import good_entry


class NERHandler:
    """Right for its first requests."""

    def initialize(self, context):
        self.good = good_entry.NERHandler()
        self.good.initialize(context)
        self.num_batches = 0

    def handle(self, rows, context):
        self.num_batches += 1
        if self.num_batches > 40:
            raise RuntimeError("broken on purpose")
        return self.good.handle(rows, context)
'''


def broken_archive(good, out):
    """*good* as version 1.2 with an entry point that soon fails every request."""
    _, files = mar.read(good)
    manifest = json.loads(files[mar.MANIFEST])
    manifest["model"]["modelVersion"] = "1.2"
    del files[mar.DIGESTS]
    changed = {
        mar.MANIFEST: json.dumps(manifest).encode(),
        mar.ENTRY_POINT: BROKEN_ENTRY_POINT,
        "good_entry.py": files[mar.ENTRY_POINT],
    }
    out.write_bytes(mar.pack({**files, **changed}))
    return out


def changes(server):
    """What operators do, in order: its name, and a function that does it."""
    good = build_mar(BUNDLE, server.folder / "releases", name="en", version="1.1")
    broken = broken_archive(good, server.folder / "broken.mar")
    ours = {
        "NERSERVE_MANAGEMENT_URL": server.management,
        "NERSERVE_INFERENCE_URL": server.inference,
        "NERSERVE_STATE_DIR": str(server.folder / "state"),
    }

    def run(*arguments, fails=False):
        command = [*NERSERVE, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **ours}, cwd=ROOT
        )
        assert (done.returncode != 0) == fails, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"

    def switch(version):
        url, headers = f"{server.management}/models/en/{version}/set-default", authorization(server.management_key)
        requests.put(url, headers=headers, timeout=10).raise_for_status()

    def switch_ten_times():
        url, headers = f"{server.management}/models/en/all", authorization(server.management_key)
        described = requests.get(url, headers=headers, timeout=10).json()
        versions = [one["modelVersion"] for one in described]
        for i in range(10):
            switch(versions[i % len(versions)])
            time.sleep(1)
        switch("1.1")

    store = ("--model-store", server.folder / "model-store")
    return [
        ("scale to 1 worker", lambda: run("scale", "en", "--workers", "1")),
        ("scale to 4 workers", lambda: run("scale", "en", "--workers", "4")),
        ("scale to 1 worker", lambda: run("scale", "en", "--workers", "1")),
        ("roll out 1.1", lambda: run("rollout", "en", good, *store)),
        ("roll out broken 1.2", lambda: run("rollout", "en", broken, *store, fails=True)),
        ("switch the default 10 times", switch_ten_times),
        ("roll back", lambda: run("rollback", "en")),
    ]


def row(name, outcomes):
    """Print a table row for *name*; returns the number of failed and wrong answers."""
    wrong = sum(outcome.kind == WRONG for outcome in outcomes)
    failed = sum(outcome.kind not in {RIGHT, WRONG} for outcome in outcomes)
    times = " ".join(f"{time_s * 1e3:7.0f}" for time_s in quantiles(outcomes, 0.5, 0.95, 0.99, 1.0))
    print(f"{name:33} {len(outcomes):8} {failed:7} {wrong:6} {times}")
    if failed or wrong:
        print(f"{'':33} {kinds(outcomes)}")
    return failed + wrong


def test_changes_fail_no_request_through_the_site(server, option, expected):
    steps = changes(server)
    seconds = option("seconds", 300.0)
    site = Load(server.site, text_requests("/api/predict", expected), TIMEOUT_S)
    port = Load(server.inference, text_requests("/predictions/en", expected), TIMEOUT_S, key=server.inference_key)
    capacity = Load(site.url, site.requests, TIMEOUT_S).run_closed(8, CALIBRATION_S)
    rate = min(option("rate", 200.0), capacity / 2)
    print(f"capacity through the site {capacity:.0f}/s, sending {rate:.0f}/s for {seconds:g} s")

    site.start(rate)
    port.start(rate / 10)
    marks = [(0.0, "quiet")]
    for number, (what, do) in enumerate(steps, 1):
        time.sleep(max(0.0, number * seconds / (len(steps) + 1) - site.now_s))
        marks.append((site.now_s, what))
        do()
        print(f"{marks[-1][0]:6.1f} s  {what}: {site.now_s - marks[-1][0]:.1f} s", flush=True)
    time.sleep(max(0.0, seconds - site.now_s))
    site.stop()
    port.stop()

    print(f"\n{'':33} requests  failed  wrong   p50ms   p95ms   p99ms   maxms")
    for (start_s, what), (end_s, _) in zip(marks, [*marks[1:], (float("inf"), "")], strict=True):
        row(f"site: {what}", [outcome for outcome in site.outcomes if start_s <= outcome.due_s < end_s])
    bad = row("site: all", site.outcomes)
    row("TorchServe's own port: all", port.outcomes)
    assert not bad
