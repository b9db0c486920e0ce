"""What breaks under steady load, through the site and beside it on TorchServe's own port: what clients get meanwhile.

Starts a nerserve of its own, with models/en, and hurts it: workers, the JVM and
the site's workers are killed and stopped, TorchServe is restarted, and the disk
with the logs is filled.  Every answer is compared with what the same model says
in this process; every request must be answered before its deadline, whatever the
answer is.

    python -m bench.chaos                        every fault, about two minutes
    python -m bench.chaos --faults "JVM kill -9" "JVM SIGSTOP" --rate 40

The logs lie on a small tmpfs of their own, so that a full one fills nothing
else: mounted by root, else in a user namespace that the benchmark enters by
itself (``unshare -rm``).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import HUNG, LOST, REFUSED, RIGHT, TEXTS, WRONG, Load, Outcome, text_requests
from bench.serving import Server, entities_of, running

SITE_DEADLINE_S: Final = 12.0
"""The site's own deadline of 10 s, and some time to hear of it."""

BARE_DEADLINE_S: Final = 30.0
"""TorchServe has no deadline of its own; a client of its port must have one."""

SLOW_S: Final = 1.0
"""A right answer that took longer is counted as not recovered yet."""

CALM_S: Final = 4.0
LONGEST_S: Final = 90.0
LOGS_BYTES: Final = 48 * 2**20
IN_NAMESPACE: Final = "NERSERVE_CHAOS_IN_NAMESPACE"


@dataclass(frozen=True)
class Fault:
    """Something to go wrong.

    Attributes:
        name: What the table calls it.
        strike: Does it.
        heal: Undoes what does not go away by itself, after *lasts_s*.
        lasts_s: Seconds between the two.
    """

    name: str
    strike: Callable[[Server], object]
    heal: Callable[[Server], object] = lambda _server: None
    lasts_s: float = 0.0


def _fill_logs(server: Server) -> None:
    """Leave no byte on the disk with the logs, then have a worker replaced, which is when most is logged."""
    with (server.state_dir / "logs" / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    if shutil.disk_usage(server.state_dir / "logs").free:
        raise SystemExit("the disk with the logs is not full")
    server.workers()[0].kill()


FAULTS: Final = [
    Fault("worker kill -9", lambda server: server.workers()[0].kill()),
    Fault("worker SIGSTOP", lambda server: server.workers()[0].suspend()),
    Fault("JVM kill -9", lambda server: server.java().kill()),
    Fault("JVM SIGSTOP", lambda server: server.java().suspend()),
    Fault("TorchServe restart (SIGTERM)", lambda server: server.java().send_signal(signal.SIGTERM)),
    Fault(
        "logs' disk full, worker kill -9",
        _fill_logs,
        lambda server: (server.state_dir / "logs" / "filler").unlink(),
        lasts_s=20.0,
    ),
    Fault("site worker kill -9", lambda server: server.site_workers()[0].kill()),
    Fault("site worker SIGSTOP", lambda server: server.site_workers()[0].suspend()),
]


@dataclass(frozen=True)
class Span:
    """From one fault to the next, in seconds of the load's clock.

    ``whole_after_s``: from its start until every process was back; None when not all were after LONGEST_S.
    """

    name: str
    start_s: float
    whole_after_s: float | None
    end_s: float


def mounted_logs(folder: Path) -> str:
    """Put a tmpfs of a few megabytes where the logs will be; returns what was done, SystemExit when nothing works."""
    logs = folder / "state" / "logs"
    logs.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LOGS_BYTES},mode=0700", "tmpfs", str(logs)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        how = "in a user namespace (unshare -rm)" if IN_NAMESPACE in os.environ else "by root"
        return f"the logs are on a tmpfs of {LOGS_BYTES / 2**20:.0f} MiB, mounted {how}"
    if IN_NAMESPACE not in os.environ:
        shutil.rmtree(folder)
        os.environ[IN_NAMESPACE] = "1"
        command = ["unshare", "-rm", sys.executable, "-m", "bench.chaos", *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, check=False).returncode)
    raise SystemExit("a disk that can be full needs root, or a user namespace; leave that fault out with --faults")


@contextlib.contextmanager
def _folder(*, has_full_disk: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nerserve-chaos-"))
    try:
        if has_full_disk:
            print(mounted_logs(folder))
        yield folder
    finally:
        if has_full_disk:
            subprocess.run(["umount", str(folder / "state" / "logs")], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def hurt(
    server: Server, faults: list[Fault], load: Load, *, calm_s: float = CALM_S, longest_s: float = LONGEST_S
) -> list[Span]:
    """Do all *faults* one after the other, each once what the one before broke is whole, or *longest_s* are over."""
    num_workers, num_site_workers = len(server.workers()), len(server.site_workers())
    spans = []
    time.sleep(calm_s * 2)
    for fault in faults:
        start_s = load.now_s
        fault.strike(server)
        time.sleep(fault.lasts_s)
        fault.heal(server)
        time.sleep(1.0)  # until then a process that was killed may still be listed
        while not (is_whole := server.is_whole(num_workers, num_site_workers)) and load.now_s < start_s + longest_s:
            time.sleep(0.1)
        taken_s = load.now_s - start_s
        time.sleep(calm_s)
        spans.append(Span(fault.name, start_s, taken_s if is_whole else None, load.now_s))
        state = "whole" if is_whole else "NOT WHOLE"
        print(f"{start_s:6.1f} s  {fault.name}: {state} after {taken_s:.1f} s", flush=True)
    return spans


def recovery_s(outcomes: list[Outcome], start_s: float) -> float:
    """Seconds from *start_s* until the last of *outcomes* ended that was not right, or slow; 0 when none was."""
    bad = [outcome.end_s for outcome in outcomes if outcome.kind != RIGHT or outcome.latency_s > SLOW_S]
    return max(bad, default=start_s) - start_s


def row(name: str, outcomes: list[Outcome], span: Span | None = None) -> int:
    """Print one row of the table, with times of recovery for one *span*; wrong answers and hung clients come back."""
    counts = Counter(outcome.kind for outcome in outcomes)
    plain = (RIGHT, WRONG, HUNG, LOST, REFUSED)
    errors = {kind: count for kind, count in sorted(counts.items()) if kind not in plain}
    slowest_s = max((outcome.latency_s for outcome in outcomes), default=0.0)
    times = f"{'-':>9} {'-':>7}"
    if span:
        whole = "NEVER" if span.whole_after_s is None else f"{span.whole_after_s:.1f}"
        times = f"{recovery_s(outcomes, span.start_s):9.1f} {whole:>7}"
    print(
        f"{name:42} {len(outcomes):8} {counts[RIGHT]:7} {counts[WRONG]:5} {counts[HUNG]:4} "
        f"{counts[LOST] + counts[REFUSED]:7} {slowest_s:7.1f} {times}  "
        f"{', '.join(f'{kind}: {count}' for kind, count in errors.items()) or '-'}"
    )
    return counts[WRONG] + counts[HUNG]


def main() -> int:
    """Run it and print the table; 0 when no answer was wrong, no client hung, and all was whole after each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second to the site (%(default)g)")
    parser.add_argument("--bare-rate", type=float, default=10.0, help="and to TorchServe's own port (%(default)g)")
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--faults", nargs="+", choices=names, default=names, metavar="FAULT", help="; ".join(names))
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if fault.name in arguments.faults]
    expected = entities_of(TEXTS)
    with _folder(has_full_disk=any("full" in fault.name for fault in faults)) as folder, running(folder) as server:
        site = Load(server.site, text_requests("/api/predict", expected), SITE_DEADLINE_S)
        bare = Load(server.inference, text_requests("/predictions/en", expected), BARE_DEADLINE_S)
        site.start(arguments.rate)
        bare.start(arguments.bare_rate)
        spans = hurt(server, faults, site)
        site.stop()
        bare.stop()
    print(f"\n{arguments.rate:g} requests/s to the site, {arguments.bare_rate:g} to TorchServe's own port\n")
    print(f"{'':42} requests   right wrong hung    lost  slowest recovered  whole  errors by status and code")
    print(f"{'':42} {'':8} {'':7} {'':5} {'':4} {'':7}       s   after s after s")
    bad = sum(span.whole_after_s is None for span in spans)
    for title, load in (("site", site), ("port", bare)):
        for span in spans:
            phase = [outcome for outcome in load.outcomes if span.start_s <= outcome.due_s < span.end_s]
            row(f"{title}: {span.name}", phase, span)
        bad += row(f"{title}: all", load.outcomes)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
