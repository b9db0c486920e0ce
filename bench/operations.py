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
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import requests

from archive import mar
from archive.build import build_mar
from handler.tagger import Tagger

ROOT = Path(__file__).parents[1]
NERSERVE = Path(sys.executable).with_name("nerserve")
NUM_SENDERS = 160
CALIBRATION_S = 6.0
TIMEOUT_S = 20.0

TEXTS = [
    "Barack Obama was born in Hawaii and worked for the United Nations in New York.",
    "Angela Merkel met Emmanuel Macron in Paris on Tuesday, a spokesman said.",
    "Shares of Deutsche Bank fell in Frankfurt after the report.",
    "Nothing of the kind was found here.",
    "Kofi Annan of Ghana led the United Nations from 1997 to 2006.",
    "The Iraqi government said on Friday that troops had left Basra.",
    "She moved from London to Los Angeles to work for Warner Brothers.",
    "Mr. Smith went to Washington.",
    "The European Union and Japan signed the agreement in Tokyo.",
    "i can haz cheeseburger",
    "Toyota and Honda build cars in Ohio, Indiana and Alabama.",
    "In 2009 he flew to Oslo, where the Norwegian Nobel Committee gave him the Nobel Peace Prize.",
]

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


class Outcome(NamedTuple):
    """What became of one request; ``problem`` is empty for the right answer."""

    due_s: float
    latency_s: float
    problem: str


@dataclass
class Traffic:
    """Requests to *url* at *rate* a second until told to stop."""

    url: str
    rate: float
    expected: Sequence[list[dict[str, Any]]]
    num_senders: int = NUM_SENDERS
    outcomes: list[Outcome] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start sending."""
        self._began_s = time.monotonic()
        for number in range(self.num_senders):
            self._threads.append(threading.Thread(target=self._send, args=(number,), daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """Stop sending, and wait for what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        session = requests.Session()
        session.trust_env = False
        turn = number
        while not self._stop.is_set():
            due_s = self._began_s + turn / self.rate
            if self._stop.wait(max(0.0, due_s - time.monotonic())):
                return
            problem = ask(session, self.url, TEXTS[turn % len(TEXTS)], self.expected[turn % len(TEXTS)])
            self.outcomes.append(Outcome(due_s - self._began_s, time.monotonic() - due_s, problem))
            turn += self.num_senders


def ask(session: requests.Session, url: str, text: str, expected: list[dict[str, Any]]) -> str:
    """What is wrong with the answer to *text*, or an empty string."""
    try:
        reply = session.post(url, json={"text": text}, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        return type(error).__name__
    if reply.status_code != requests.codes.ok:
        return f"status {reply.status_code}"
    return "" if reply.json()["entities"] == expected else "WRONG"


def capacity(url: str, expected: Sequence[list[dict[str, Any]]]) -> float:
    """Requests a second that *url* answers when eight senders never pause."""
    stop_s = time.monotonic() + CALIBRATION_S
    counts = [0] * 8

    def send(number: int) -> None:
        session = requests.Session()
        session.trust_env = False
        while time.monotonic() < stop_s:
            ask(session, url, TEXTS[counts[number] % len(TEXTS)], expected[counts[number] % len(TEXTS)])
            counts[number] += 1

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / CALIBRATION_S


@dataclass(frozen=True)
class Server:
    """A running ``nerserve up``."""

    site: str
    inference: str
    management: str
    model_store: Path

    def environment(self) -> dict[str, str]:
        """The environment in which nerserve's commands speak to this server."""
        urls = {"NERSERVE_MANAGEMENT_URL": self.management, "NERSERVE_INFERENCE_URL": self.inference}
        return {**os.environ, **urls}

    def switch(self, version: str) -> None:
        """Make *version* the default."""
        requests.put(f"{self.management}/models/en/{version}/set-default", timeout=10).raise_for_status()

    def versions(self) -> list[dict[str, Any]]:
        """All versions of the model as TorchServe describes them."""
        described: list[dict[str, Any]] = requests.get(f"{self.management}/models/en/all", timeout=10).json()
        return described


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A nerserve with models/en and one worker, stopped at the end."""
    store = folder / "model-store"
    build_mar(ROOT / "models" / "en", store)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        site, inference, management, metrics = (one.getsockname()[1] for one in sockets)
    config = (ROOT / "config.properties").read_text("utf-8")
    for name, port in (("inference", inference), ("management", management), ("metrics", metrics)):
        config = re.sub(rf"(?m)^{name}_address=.*$", f"{name}_address=http://127.0.0.1:{port}", config)
    (folder / "config.properties").write_text(config, "utf-8")
    command = [
        *(str(NERSERVE), "up", "--config", str(folder / "config.properties"), "--model-store", str(store)),
        *("--state-dir", str(folder / "state"), "--port", str(site)),
    ]
    output = folder / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        while "Press Ctrl-C" not in output.read_text("utf-8"):
            if process.poll() is not None:
                raise SystemExit(f"nerserve up ended:\n{output.read_text('utf-8')}")
            time.sleep(0.1)
        yield Server(
            site=f"http://127.0.0.1:{site}",
            inference=f"http://127.0.0.1:{inference}",
            management=f"http://127.0.0.1:{management}",
            model_store=store,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


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
        command = [str(NERSERVE), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=server.environment())
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
    latencies = sorted(outcome.latency_s for outcome in outcomes)
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    wrong = problems.count("WRONG")
    p50, p95, p99 = (latencies[min(len(latencies) - 1, int(len(latencies) * q))] * 1e3 for q in (0.5, 0.95, 0.99))
    print(
        f"{name:32} {len(outcomes):8} {len(problems) - wrong:7} {wrong:6} "
        f"{p50:7.0f} {p95:7.0f} {p99:7.0f} {latencies[-1] * 1e3:7.0f}"
    )
    kinds = {problem: problems.count(problem) for problem in sorted(set(problems))}
    if kinds:
        print(f"{'':32} {kinds}")
    return len(problems)


def main() -> int:
    """Run it and print the table; 0 when no answer through the site failed or was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (%(default)g)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second, at most (%(default)g)")
    arguments = parser.parse_args()
    tagger = Tagger.load(ROOT / "models" / "en")
    expected = [[entity._asdict() for entity in entities] for entities in tagger.tag(TEXTS)]
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as server:
        steps = changes(server, Path(name))
        site_url, bare_url = f"{server.site}/api/predict", f"{server.inference}/predictions/en"
        most = capacity(site_url, expected)
        rate = min(arguments.rate, most / 2)
        print(f"capacity through the site {most:.0f}/s, sending {rate:.0f}/s for {arguments.seconds:g} s")
        site = Traffic(site_url, rate, expected)
        bare = Traffic(bare_url, rate / 10, expected, num_senders=16)
        began_s = time.monotonic()
        site.start()
        bare.start()
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
    print(f"\n{'':32} requests  failed  wrong   p50ms   p95ms   p99ms   maxms")
    for (start, what), end in zip(marks, [*(mark for mark, _ in marks[1:]), float("inf")], strict=True):
        phase = [outcome for outcome in site.outcomes if start <= outcome.due_s < end]
        if phase:
            report(f"site: {what}", phase)
    bad = report("site: all", site.outcomes)
    report("TorchServe's own port: all", bare.outcomes)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
