"""Faults under steady load, through the site and on TorchServe's own port.

Workers, the JVM and the site's workers are killed and stopped, TorchServe is
restarted, and the disk with the logs is filled.  Every answer is compared with
the same model's in this process; every request must be answered before its
deadline, with whatever status.

    scripts/test tests/drills/test_chaos.py                        every fault, about two minutes
    scripts/test tests/drills/test_chaos.py --drill-faults JVM     some of them

The logs are on a small tmpfs in a mount namespace of the server's own, so that
filling it affects nothing else.  Without root that takes a user namespace.
"""

import contextlib
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import requests

from bench.load import HUNG, LOST, REFUSED, RIGHT, WRONG, Load
from bench.serving import running
from tests.drills.sentences import text_requests

pytestmark = [pytest.mark.drill, pytest.mark.timeout(0)]

SITE_DEADLINE_S = 12.0
"""The site's own deadline of 10 s, and time for its reply."""

PORT_DEADLINE_S = 30.0
"""TorchServe has no deadline of its own; a client of its port must have one."""

SLOW_S = 1.0
"""A right answer that took longer counts as not recovered yet."""

PORT_SHARE = 1 / 6
"""Of the site's rate, what is sent to TorchServe's own port."""

CALM_S = 4.0
LONGEST_S = 90.0
LOGS_BYTES = 48 * 2**20


class Fault(NamedTuple):
    """A fault by name: *strike* causes it, *heal* undoes after *lasts_s* what does not end by itself."""

    name: str
    strike: Callable
    heal: Callable = lambda _server: None
    lasts_s: float = 0.0


class Span(NamedTuple):
    """From one fault to the next, in seconds of the load's clock.

    ``whole_after_s``: from its start until every process was back; None if not all were within LONGEST_S.
    """

    name: str
    start_s: float
    whole_after_s: float | None
    end_s: float


def logs_of(server):
    """The logs as the server sees them, in its mount namespace."""
    return Path(f"/proc/{server.process.pid}/root{server.folder}/state/logs")


def fill_logs(server):
    """Leave no byte on the disk with the logs, then have a worker replaced, which is when most is logged."""
    with (logs_of(server) / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    assert not shutil.disk_usage(logs_of(server)).free
    server.workers()[0].kill()


def stop_java(server):
    """Stop TorchServe in good order, and return once it has ended: until then it answers as if nothing were wrong."""
    java = server.java()
    java.send_signal(signal.SIGTERM)
    java.wait(LONGEST_S)


FAULTS = [
    Fault("worker kill -9", lambda server: server.workers()[0].kill()),
    Fault("worker SIGSTOP", lambda server: server.workers()[0].suspend()),
    Fault("JVM kill -9", lambda server: server.java().kill()),
    Fault("JVM SIGSTOP", lambda server: server.java().suspend()),
    Fault("TorchServe restart (SIGTERM)", stop_java),
    Fault(
        "logs' disk full, worker kill -9",
        fill_logs,
        lambda server: (logs_of(server) / "filler").unlink(),
        lasts_s=20.0,
    ),
    Fault("site worker kill -9", lambda server: server.site_workers()[0].kill()),
    Fault("site worker SIGSTOP", lambda server: server.site_workers()[0].suspend()),
]


def own_logs(folder):
    """The prefix of a command that mounts a tmpfs for the logs in *folder* in a mount namespace of its own."""
    logs = folder / "state" / "logs"
    logs.mkdir(parents=True, mode=0o700)
    mount = f'mount -t tmpfs -o size={LOGS_BYTES},mode=0700 tmpfs "{logs}"'
    for flags in ("-m", "-rm"):  # root needs no user namespace
        prefix = ["unshare", flags, "sh", "-c", f'{mount} && exec "$@"', "sh"]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    return pytest.fail("a disk that can be full takes root or a user namespace; --drill-faults leaves that fault out")


def is_whole(server, num_workers, num_site_workers):
    """Whether both tiers have all their workers, running, and the site says that it is ready."""
    bad = {psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED}
    with contextlib.suppress(requests.RequestException, psutil.Error, LookupError):
        alive = [one for one in (*server.workers(), *server.site_workers()) if one.status() not in bad]
        return (
            len(alive) == num_workers + num_site_workers
            and requests.get(f"{server.site}/readyz", timeout=3).status_code == requests.codes.ok
        )
    return False


def hurt(server, faults, load, *, calm_s=CALM_S, longest_s=LONGEST_S, is_whole=is_whole):
    """The spans of *faults*, each caused once all is whole after the one before, or *longest_s* are over."""
    num_workers, num_site_workers = len(server.workers()), len(server.site_workers())
    spans = []
    time.sleep(calm_s * 2)
    for fault in faults:
        start_s = load.now_s
        fault.strike(server)
        time.sleep(fault.lasts_s)
        fault.heal(server)
        time.sleep(1.0)  # until then a killed process may still be listed
        while not (whole := is_whole(server, num_workers, num_site_workers)) and load.now_s < start_s + longest_s:
            time.sleep(0.1)
        taken_s = load.now_s - start_s
        time.sleep(calm_s)
        spans.append(Span(fault.name, start_s, taken_s if whole else None, load.now_s))
        print(f"{start_s:6.1f} s  {fault.name}: {'whole' if whole else 'NOT WHOLE'} after {taken_s:.1f} s", flush=True)
    return spans


def recovery_s(outcomes, start_s):
    """Seconds from *start_s* until the last of *outcomes* ended that was not right, or slow; 0 if none was."""
    bad = [
        outcome.due_s + outcome.latency_s for outcome in outcomes if outcome.kind != RIGHT or outcome.latency_s > SLOW_S
    ]
    return max(bad, default=start_s) - start_s


def row(name, outcomes, span=None):
    """Print one row of the table, with times of recovery for one *span*; returns the wrong and hung requests."""
    counts = Counter(outcome.kind for outcome in outcomes)
    plain = (RIGHT, WRONG, HUNG, LOST, REFUSED)
    errors = ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()) if kind not in plain)
    slowest_s = max((outcome.latency_s for outcome in outcomes), default=0.0)
    times = f"{'-':>9} {'-':>7}"
    if span:
        whole = "NEVER" if span.whole_after_s is None else f"{span.whole_after_s:.1f}"
        times = f"{recovery_s(outcomes, span.start_s):9.1f} {whole:>7}"
    print(
        f"{name:42} {len(outcomes):8} {counts[RIGHT]:7} {counts[WRONG]:5} {counts[HUNG]:4} "
        f"{counts[LOST] + counts[REFUSED]:7} {slowest_s:7.1f} {times}  {errors or '-'}"
    )
    return counts[WRONG] + counts[HUNG]


def test_faults_give_no_wrong_answer_and_hang_no_client(tmp_path, option, expected):
    rate = option("rate", 60.0)
    faults = [fault for fault in FAULTS if option("faults", "") in fault.name]
    assert faults, f"expected a part of one of {[fault.name for fault in FAULTS]}"
    prefix = own_logs(tmp_path) if any(fault.strike is fill_logs for fault in faults) else ()

    with running(tmp_path, prefix=prefix) as server:
        server.wait_for_workers()
        site = Load(server.site, text_requests("/api/predict", expected), SITE_DEADLINE_S)
        port = Load(
            server.inference, text_requests("/predictions/en", expected), PORT_DEADLINE_S, key=server.inference_key
        )
        site.start(rate)
        port.start(rate * PORT_SHARE)
        spans = hurt(server, faults, site)
        site.stop()
        port.stop()

    print(f"\n{rate:g} requests/s to the site, {rate * PORT_SHARE:g} to TorchServe's own port\n")
    print(f"{'':42} requests   right wrong hung    lost  slowest recovered  whole  errors by status and code")
    print(f"{'':42} {'':8} {'':7} {'':5} {'':4} {'':7}       s   after s after s")
    bad = 0
    for title, load in (("site", site), ("port", port)):
        for span in spans:
            phase = [outcome for outcome in load.outcomes if span.start_s <= outcome.due_s < span.end_s]
            row(f"{title}: {span.name}", phase, span)
        bad += row(f"{title}: all", load.outcomes)
    assert not bad
    assert not [span.name for span in spans if span.whole_after_s is None]
