"""Steady traffic while operators scale, roll out, break and roll back: how many answers fail, how many are wrong.

Starts a nerserve of its own, with models/en, on ports of its own; sends texts
through the site at a steady rate (open loop: a late answer delays no other
request, and latency counts from the moment a request was due) and a few to
TorchServe's own port; compares every answer with what the same model says in
this process.

    python -m bench.operations                  five minutes at 200 requests/s, or at half of what the machine can do
    python -m bench.operations --seconds 60
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from archive import mar
from archive.build import build_mar
from bench import ROOT
from bench.load import RIGHT, TEXTS, WRONG, Load, Outcome, kinds, quantiles, text_requests
from bench.serving import NERSERVE, Server, entities_of, running

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


def broken_archive(good: Path, out: Path) -> Path:
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


def changes(server: Server, folder: Path) -> list[tuple[str, Callable[[], object]]]:
    """What operators do meanwhile, in order."""
    good = build_mar(ROOT / "models" / "en", folder / "releases", name="en", version="1.1")
    broken = broken_archive(good, folder / "broken.mar")

    def run(*arguments: str | Path, fails: bool = False) -> None:
        command = [*NERSERVE, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=server.environment(), cwd=ROOT)
        if (done.returncode != 0) != fails:
            raise SystemExit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def switch_ten_times() -> None:
        names = [described["modelVersion"] for described in server.versions()]
        for i in range(10):
            server.switch(names[i % len(names)])
            time.sleep(1)
        server.switch("1.1")

    store = ("--model-store", server.model_store)
    return [
        ("scale to 1 worker", lambda: run("scale", "en", "--workers", "1")),
        ("scale to 4 workers", lambda: run("scale", "en", "--workers", "4")),
        ("scale to 1 worker", lambda: run("scale", "en", "--workers", "1")),
        ("roll out 1.1", lambda: run("rollout", "en", good, *store)),
        ("roll out broken 1.2", lambda: run("rollout", "en", broken, *store, fails=True)),
        ("switch the default 10 times", switch_ten_times),
        ("roll back", lambda: run("rollback", "en")),
    ]


def report(name: str, outcomes: Sequence[Outcome]) -> int:
    """Print a table row for *name*; failed and wrong answers come back."""
    wrong = sum(outcome.kind == WRONG for outcome in outcomes)
    failed = sum(outcome.kind not in {RIGHT, WRONG} for outcome in outcomes)
    p50_s, p95_s, p99_s, max_s = quantiles(outcomes, 0.5, 0.95, 0.99, 1.0)
    print(
        f"{name:33} {len(outcomes):8} {failed:7} {wrong:6} "
        f"{p50_s * 1e3:7.0f} {p95_s * 1e3:7.0f} {p99_s * 1e3:7.0f} {max_s * 1e3:7.0f}"
    )
    if failed or wrong:
        print(f"{'':33} {kinds(outcomes)}")
    return failed + wrong


def main() -> int:
    """Run it and print the table; 0 when no answer through the site failed or was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (%(default)g)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second, at most (%(default)g)")
    arguments = parser.parse_args()
    expected = entities_of(TEXTS)
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as server:
        steps = changes(server, Path(name))
        site = Load(server.site, text_requests("/api/predict", expected), TIMEOUT_S)
        bare = Load(server.inference, text_requests("/predictions/en", expected), TIMEOUT_S)
        most = Load(site.url, site.requests, TIMEOUT_S).run_closed(8, CALIBRATION_S)
        rate = min(arguments.rate, most / 2)
        print(f"capacity through the site {most:.0f}/s, sending {rate:.0f}/s for {arguments.seconds:g} s")
        began_s = time.monotonic()
        site.start(rate)
        bare.start(rate / 10)
        marks: list[tuple[float, str]] = [(0.0, "quiet")]
        pause_s = arguments.seconds / (len(steps) + 1)
        for number, (what, do) in enumerate(steps, 1):
            time.sleep(max(0.0, began_s + number * pause_s - time.monotonic()))
            marks.append((time.monotonic() - began_s, what))
            do()
            print(f"{marks[-1][0]:6.1f} s  {what}: {time.monotonic() - began_s - marks[-1][0]:.1f} s", flush=True)
        time.sleep(max(0.0, began_s + arguments.seconds - time.monotonic()))
        site.stop()
        bare.stop()
    print(f"\n{'':33} requests  failed  wrong   p50ms   p95ms   p99ms   maxms")
    for (start, what), end in zip(marks, [*(mark for mark, _ in marks[1:]), float("inf")], strict=True):
        phase = [outcome for outcome in site.outcomes if start <= outcome.due_s < end]
        if phase:
            report(f"site: {what}", phase)
    bad = report("site: all", site.outcomes)
    report("TorchServe's own port: all", bare.outcomes)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
