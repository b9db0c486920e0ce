"""Seconds from the start to the first correct answer, and the memory of the processes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from archive.build import build_mar
from bench import contestants as servers
from bench.contestants import CEILING, NOOP, TEXT
from bench.errors import BenchError
from bench.load import authorization
from bench.report import Chart, Report, Table
from bench.rounds import Spread, each, interleaved, ratio
from bench.serving import BUNDLE, Server, entities_of, model_config, ready_workers, running, wait_until
from bench.settings import Settings

ALONE: Final = "nerserve's archive"
UP: Final = "nerserve up --no-site"

Processes = Sequence[psutil.Process]

_DROP: Final = Path("/proc/sys/vm/drop_caches")
_COUNTS: Final = (1, 2, 4)
_WARM_UP_REQUESTS: Final = 200
_MB: Final = 1e6


def run(report: Report, settings: Settings) -> None:
    """Measure everything and add it to *report*."""
    with tempfile.TemporaryDirectory() as folder:
        _starts(report, settings, Path(folder))
    _memory(report, settings)


def _starts(report: Report, settings: Settings, folder: Path) -> None:
    """Starts with the page cache warm and cold."""
    starts = _contestants(folder, settings.num_workers)
    title = "Start: seconds until the first correct answer"
    report.progress.begin(f"{title}, once without measuring", len(starts))
    for contestant, first in starts.items():
        report.progress.step(contestant)
        first()
    has_class_data = all(any(own.rglob("classes-*.jsa")) for own in folder.iterdir())
    table = Table(
        title,
        ("page cache", "contestant", "s", f"/ {CEILING}"),
        note=f"a TorchServe each, started directly with the same settings, {settings.num_workers} workers; and "
        "nerserve up, which checks the archive first;\n"
        f"  the JVM's class data was {'in place' if has_class_data else 'not in place'}",
        charts=[Chart("s", "page cache", "contestant")],
    )
    for state in ("warm", "cold"):
        if state == "cold" and not _drop_page_cache():
            for contestant in starts:
                table.rows.append(["cold", contestant, "not measured: the page cache cannot be dropped here", ""])
            continue

        def start(name: str, _number: int, state: str = state) -> float:
            if state == "cold":
                _drop_page_cache()
            return starts[name]()

        report.progress.begin(f"{title}, {state}", settings.num_rounds * len(starts))
        turns = {name: partial(start, name) for name in starts}
        taken = interleaved(turns, settings.num_rounds, report.progress)
        for contestant, seconds in taken.items():
            compared = ratio(seconds, taken[CEILING]) if contestant != CEILING else ""
            table.rows.append([state, contestant, Spread.of(seconds), compared])
        if state == "warm":
            compared = ratio(taken[ALONE], taken[CEILING])
            report.expect("warm start until the first correct answer, over a do-nothing's", compared, 1.3, at_most=True)
    report.add(table)


def _contestants(folder: Path, num_workers: int) -> dict[str, Callable[[], float]]:
    """What starts each contestant, with its files in *folder*, and returns the seconds that took."""
    (folder / "en").mkdir()
    build_mar(BUNDLE, folder / "en" / "model-store", model_config=model_config(folder / "en", num_workers))
    servers.build_noop(folder / NOOP / "model-store", num_workers)
    expected: dict[str, list[dict[str, Any]]] = {"en": entities_of([TEXT])[0], NOOP: []}

    def alone(model: str) -> float:
        began_s = time.monotonic()
        with servers.torchserve_alone(folder / model, model) as server:
            server.wait(expected[model], every_s=0.02)
            return time.monotonic() - began_s

    def up() -> float:
        with running(folder / "up", options=["--no-site"], num_workers=num_workers) as server:
            # Ready means that a worker has loaded the model and answered a canary sentence.
            return time.time() - server.process.create_time()

    return {ALONE: partial(alone, "en"), CEILING: partial(alone, NOOP), UP: up}


def _drop_page_cache() -> bool:
    """Drop the page cache; False where that is not permitted: it takes root, and not every container lets it."""
    os.sync()
    try:
        _DROP.write_text("1\n", "ascii")
    except OSError:
        return False
    return True


def _memory(report: Report, settings: Settings) -> None:
    """The memory of each process after some hundred requests."""
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
            server.wait_for_workers()
            url = f"{server.inference}/predictions/en"
            _send_all(url, texts.take(count * _WARM_UP_REQUESTS), server.inference_key)
            _send_all(f"{server.site}/api/predict", texts.take(_WARM_UP_REQUESTS))
            site = [server.gunicorn(), *server.site_workers()]
            unique = _add_processes(table, (count, "nerserve"), server.java(), server.workers(), site)
            copied = _vectors(server)
        report.progress.step(f"{count} do-nothing workers")
        idle = _add_noop(table, count, texts.take(count * _WARM_UP_REQUESTS))
        if count == 2:
            adds = Spread.of([unique[1] - idle[1]])
            report.expect("memory: the second worker adds over a do-nothing one", adds, 40, at_most=True, unit=" MB")
            report.expect("memory: copies of the vectors in each worker", copied, 1, at_most=True, unit=" MB")
    report.add(table)


def _add_noop(table: Table, count: int, texts: Sequence[str]) -> list[float]:
    """Add rows for a do-nothing TorchServe with *count* workers; returns the unique memory of the workers."""
    with tempfile.TemporaryDirectory() as name:
        servers.build_noop(Path(name) / "model-store", count)
        with servers.torchserve_alone(Path(name), NOOP) as server:
            workers = partial(ready_workers, server.management, NOOP)
            wait_until(lambda: len(workers()) == count, server.process, CEILING)
            _send_all(f"{server.url}{server.path}", texts)
            return _add_processes(table, (count, CEILING), server.process, workers())


def _add_processes(
    table: Table, cells: tuple[int, str], java: psutil.Process, workers: Processes, site: Processes = ()
) -> list[float]:
    """Add rows that begin with *cells* for a server's processes; returns the unique memory of the workers."""
    groups = {"JVM": [java]} | {f"worker {number}": [one] for number, one in enumerate(workers, 1)}
    groups |= {f"site ({len(site)} processes)": list(site)} if site else {}
    unique = []
    for name, processes in groups.items():
        memories = [one.memory_full_info() for one in processes]
        unique.append(sum(each(memories, "uss", 1 / _MB)))
        table.rows.append([*cells, name, sum(each(memories, "rss", 1 / _MB)), unique[-1]])
    return unique[1 : 1 + len(workers)]


def _vectors(server: Server) -> Spread:
    """The MB of the mapped vectors' table of which each worker has a copy of its own."""
    own = [
        area.anonymous / _MB  # a page of the file itself, however dirty, is no copy
        for worker in server.workers()
        for area in worker.memory_maps()
        if area.path.endswith("vectors/table.npy")
    ]
    if not own:
        raise BenchError("expected each worker to map vectors/table.npy, found none that does")
    return Spread.of(own)


def _send_all(url: str, texts: Sequence[str], key: Path | None = None) -> None:
    """Send *texts* to *url*, eight at a time, so that every worker gets some; BenchError if one is refused.

    *key* is the file with its key, if it asks for one.
    """

    def is_taken(text: str) -> bool:
        return requests.post(url, json={"text": text}, headers=authorization(key), timeout=60).ok

    with ThreadPoolExecutor(8) as pool:
        if not all(pool.map(is_taken, texts)):
            raise BenchError(f"{url} refused a text")
