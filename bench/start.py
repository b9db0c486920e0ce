"""``nerserve bench start``: seconds from start to the first right answer, and what the processes hold in memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from bench import contestants as servers
from bench.contestants import CEILING, NOOP, START_TIMEOUT_S
from bench.report import Cell, Chart, Report, Table
from bench.rounds import Spread, interleaved, ratio
from bench.serving import Server, ready_workers, running
from bench.settings import BUNDLE, Settings
from handler.tagger import Tagger

ALONE: Final = "nerserve's archive"
UP: Final = "nerserve up --no-site"

_TEXT: Final = "Barack Obama was born in Hawaii and worked for the United Nations in New York."
_DROP: Final = Path("/proc/sys/vm/drop_caches")
_COUNTS: Final = (1, 2, 4)
_WARM_UP_REQUESTS: Final = 200
_MB: Final = 1e6


def run(report: Report, settings: Settings) -> None:
    """Measure everything and add it to *report*."""
    _starts(report, settings)
    _memory(report, settings)


def _starts(report: Report, settings: Settings) -> None:
    (found,) = Tagger.load(BUNDLE).tag([_TEXT])
    expected = [entity._asdict() for entity in found]
    table = Table(
        "Start: seconds until the first right answer",
        ("page cache", "contestant", "s", f"/ {CEILING}"),
        note=f"a TorchServe each, started directly with the same settings, {settings.num_workers} workers; and "
        "nerserve up, which checks the archive first",
        charts=[Chart("s", "page cache", "contestant")],
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for own in ("en", NOOP, "up"):
            (folder / own).mkdir()
        for model, build in (("en", servers.build_en), (NOOP, servers.build_noop)):
            build(folder / model / "model-store", settings.num_workers)

        def alone(model: str) -> float:
            began_s = time.monotonic()
            with servers.torchserve_alone(folder / model, model) as server:
                url = f"{server.inference}/predictions/{model}"
                _wait_for([] if model == NOOP else expected, url, server.process)
                return time.monotonic() - began_s

        def up() -> float:
            with running(folder / "up", options=["--no-site"], num_workers=settings.num_workers) as server:
                # It is ready when a worker has loaded the model and a canary sentence has been answered.
                return time.time() - psutil.Process(server.process.pid).create_time()

        starts: dict[str, Callable[[], float]] = {ALONE: lambda: alone("en"), CEILING: lambda: alone(NOOP), UP: up}
        report.progress.begin(f"{table.title}, once without measuring", len(starts))
        for contestant, first in starts.items():
            report.progress.step(contestant)
            first()
        has_class_data = all(any((folder / own).rglob("classes-*.jsa")) for own in ("en", NOOP, "up"))
        class_data = "in place" if has_class_data else "not in place"
        table = replace(table, note=f"{table.note};\n  the JVM's class data was {class_data}")
        for state in ("warm", "cold"):
            if state == "cold" and not _drop_page_cache():
                for contestant in starts:
                    table.rows.append(["cold", contestant, "not measured: the page cache cannot be dropped here", ""])
                continue

            def start(name: str, state: str = state) -> float:
                if state == "cold":
                    _drop_page_cache()
                return starts[name]()

            report.progress.begin(f"{table.title}, {state}", settings.num_rounds * len(starts))
            turns = {name: lambda _, name=name: start(name) for name in starts}
            taken = interleaved(turns, settings.num_rounds, report.progress)
            for contestant, seconds in taken.items():
                compared = ratio(seconds, taken[CEILING]) if contestant != CEILING else ""
                table.rows.append([state, contestant, Spread.of(seconds), compared])
            if state == "warm":
                compared = ratio(taken[ALONE], taken[CEILING])
                report.expect(
                    "warm start until the first right answer, over a do-nothing's", compared, 1.3, at_most=True
                )
    report.add(table)


def _wait_for(expected: Sequence[dict[str, Any]], url: str, process: psutil.Process) -> None:
    """Return when *url* answers with the entities *expected*; SystemExit when it ends, is wrong or is silent."""
    began_s = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() - began_s < START_TIMEOUT_S and process.is_running():
            with contextlib.suppress(requests.RequestException):
                reply = session.post(url, json={"text": _TEXT}, timeout=30)
                if reply.ok:
                    if reply.json()["entities"] != expected:
                        raise SystemExit(f"nerserve bench: {url} answers otherwise than the tagger")
                    return
            time.sleep(0.02)
    raise SystemExit(f"nerserve bench: {url} does not answer")


def _drop_page_cache() -> bool:
    """Whether files must be read from the disk again now; only root may have it so, and not in every container."""
    os.sync()
    try:
        _DROP.write_text("1\n", "ascii")
    except OSError:
        return False
    return True


def _memory(report: Report, settings: Settings) -> None:
    """What each process holds after some hundred requests."""
    table = Table(
        "Memory in MB: resident, and unique (what its end would free)",
        ("workers", "server", "process", "resident", "unique"),
        note="workers: one row each, the oldest first; the site: its master and its workers together; after "
        f"{_WARM_UP_REQUESTS} requests a worker",
    )
    counts = _COUNTS[:2] if settings.is_quick else _COUNTS
    report.progress.begin(table.title, 2 * len(counts))
    texts = settings.texts(seed=8)
    for count in counts:
        report.progress.step(f"{count} workers")
        with tempfile.TemporaryDirectory() as name, running(Path(name), num_workers=count) as server:
            _ask_all(f"{server.inference}/predictions/en", texts.take(count * _WARM_UP_REQUESTS))
            _ask_all(f"{server.site}/api/predict", texts.take(_WARM_UP_REQUESTS))
            ours = server.workers()
            _add_processes(table, count, "nerserve", server.java(), ours)
            site = [server.gunicorn(), *server.site_workers()]
            sizes = [_sizes(one) for one in site]
            table.rows.append([count, "nerserve", f"site ({len(site)} processes)", *map(sum, zip(*sizes, strict=True))])
            unique = [_sizes(one)[1] for one in ours]
            mapped = _vectors(server)
        report.progress.step(f"{count} do-nothing workers")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            servers.build_noop(folder / "model-store", count)
            with servers.torchserve_alone(folder, NOOP) as alone:
                _wait_for([], f"{alone.inference}/predictions/{NOOP}", alone.process)
                _wait_for_workers(alone.management, count)
                _ask_all(f"{alone.inference}/predictions/{NOOP}", texts.take(count * _WARM_UP_REQUESTS))
                workers = ready_workers(alone.management, NOOP)
                _add_processes(table, count, CEILING, alone.process, workers)
                idle = [_sizes(one)[1] for one in workers]
        if count == 2:
            adds = Spread.of([unique[1] - idle[1]])
            report.expect("memory: the second worker adds over a do-nothing one", adds, 40, at_most=True, unit=" MB")
            report.expect("memory: copies of the vectors in each worker", mapped, 1, at_most=True, unit=" MB")
    report.add(table)


def _add_processes(
    table: Table, count: int, name: str, java: psutil.Process, workers: Sequence[psutil.Process]
) -> None:
    rows: list[tuple[str, psutil.Process]] = [("JVM", java)]
    rows += [(f"worker {number}", worker) for number, worker in enumerate(workers, 1)]
    for process, one in rows:
        cells: list[Cell] = [count, name, process, *_sizes(one)]
        table.rows.append(cells)


def _sizes(process: psutil.Process) -> tuple[float, float]:
    """Resident and unique memory in MB."""
    memory = process.memory_full_info()
    return memory.rss / _MB, memory.uss / _MB


def _vectors(server: Server) -> Spread:
    """Of the mapped vectors' table, the MB that each worker has a copy of its own of."""
    own = [
        area.anonymous / _MB  # a page of the file itself, however dirty, is no copy
        for worker in server.workers()
        for area in worker.memory_maps()
        if area.path.endswith("vectors/table.npy")
    ]
    if not own:
        raise SystemExit("expected each worker to map vectors/table.npy, found none that does")
    return Spread.of(own)


def _wait_for_workers(management: str, count: int) -> None:
    began_s = time.monotonic()
    while len(ready_workers(management, NOOP)) < count:
        if time.monotonic() - began_s > START_TIMEOUT_S:
            raise SystemExit(f"nerserve bench: not all of {count} workers start")
        time.sleep(0.1)


def _ask_all(url: str, texts: Sequence[str]) -> None:
    """Ask *url* about *texts*, eight at a time, so that every worker has its share; SystemExit when one is refused."""

    def ask(text: str) -> bool:
        return requests.post(url, json={"text": text}, timeout=60).ok

    with ThreadPoolExecutor(8) as pool:
        if not all(pool.map(ask, texts)):
            raise SystemExit(f"nerserve bench: {url} refused a text")
