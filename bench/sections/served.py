"""nerserve under load, between a TorchServe that does nothing and what others would use.

All contestants are up at once and have the same texts, weights, number of
processes and threads; their answers are compared with the tagger's before
anything is timed.  Only one is under load at a time, in rounds.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bench import contestants as servers
from bench import wrk
from bench.cli import MAX_CLIENTS
from bench.contestants import CEILING, CLASSIC, GUNICORN, LITSERVE, PORT, SITE, Contestant
from bench.errors import BenchError
from bench.load import RIGHT, Load, Request, quantiles
from bench.report import Chart, Report, Table
from bench.rounds import Result, each, interleaved, ratio, spreads
from bench.sections.process import batches, check_plain
from bench.serving import BUNDLE, entities_of
from bench.settings import Settings
from bench.wrk import Measured
from handler.tagger import Tagger
from handler.text.tokens import tokenize

#: Texts in a request, and the most clients for it: a plain server needs seconds for 32 texts from each.
FORMS: Final = {1: MAX_CLIENTS, 32: 32}

#: Requests in wrk's file, which it repeats; each round begins at another one.  A fast server sees a request of an
#: earlier round again, but only after many times the words that nerserve caches.
NUM_REQUESTS: Final = {1: 20_000, 32: 1_500}

IN_PROCESS: Final = "in process"

#: Offered loads of the open loop, as shares of the classic deployment's highest closed-loop throughput.  It carries a
#: load at which it answers everything in every turn, with a p99 of at most CARRIED_P99_S.
OPEN_LOOP_SHARES: Final = (0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25)
CARRIED_P99_S: Final = 0.05

_CHECKED: Final = 32
_WARM_UP_S: Final = 1.0
_IDLE_S: Final = 2.0


def run(report: Report, settings: Settings) -> None:
    """Measure everything and add it to *report*."""
    torch.set_num_threads(1)
    if settings.has("classic") or settings.has("gunicorn"):
        check_plain(settings)
    with contextlib.ExitStack() as stack:
        report.progress.begin("starting the servers")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contestants = servers.all_of(settings, stack)
        _add_idle(report, contestants)
        check_answers(contestants, settings)
        best = {}
        for num_texts, most in FORMS.items():
            if counts := [count for count in settings.connections if count <= most]:
                best[num_texts] = _ClosedLoop(report, settings, contestants, folder, num_texts).measure(counts)
        if settings.has("classic"):
            _open_loop(report, settings, contestants, best[1][CLASSIC])


def check_answers(contestants: Sequence[Contestant], settings: Settings) -> None:
    """Return if all find the tagger's entities; BenchError names the contestant that does not."""
    texts = settings.texts(seed=5).take(_CHECKED)
    expected = entities_of(texts)
    plain = [[{key: one[key] for key in one if key != "score"} for one in entities] for entities in expected]
    for contestant in (one for one in contestants if one.name != CEILING):
        right = expected if contestant.has_scores else plain
        with contestant.in_turn():
            alone = [contestant.ask({"text": text})["entities"] for text in texts]
            together = [result["entities"] for result in contestant.ask({"texts": texts})["results"]]
        if alone != right or together != right:
            raise BenchError(f"{contestant.name} answers otherwise than the tagger")


def _add_idle(report: Report, contestants: Sequence[Contestant]) -> None:
    """CPU use of idle contestants, as a share of a core."""
    own = [one for one in contestants if one.name != SITE]  # it shares its processes with the port
    for one in own:
        one.settle()
    before = [one.cpu_s() for one in own]
    time.sleep(_IDLE_S)
    table = Table("Idle: share of a core without requests", ("contestant", "share", ""))
    for one, cpu_s in zip(own, before, strict=True):
        share = (one.cpu_s() - cpu_s) / _IDLE_S
        table.rows.append([one.name, f"{share:.1%}", "stopped between its turns" if one.polls else ""])
    report.add(table)


class _ClosedLoop:
    """Requests with *num_texts* texts each to all contestants."""

    def __init__(
        self, report: Report, settings: Settings, contestants: Sequence[Contestant], folder: Path, num_texts: int
    ) -> None:
        self._report, self._settings, self._num_texts = report, settings, num_texts
        self._contestants = {one.name: one for one in contestants}
        texts = settings.texts(seed=6).take(NUM_REQUESTS[num_texts] * num_texts)
        sample = texts[:1000]
        self._tokens_a_text = sum(len(tokenize(text)) for text in sample) / len(sample)
        self._texts = texts[:: max(1, num_texts // 8)]
        bodies = wrk.bodies(texts, num_texts)
        self._files = {one.name: folder / f"{i}-{num_texts}.txt" for i, one in enumerate(contestants)}
        for one in contestants:
            wrk.write_requests(self._files[one.name], [(one.path, body) for body in bodies])

    def measure(self, counts: Sequence[int]) -> dict[str, float]:
        """Add the table to the report; returns each contestant's highest median throughput over *counts* of clients."""
        names = list(self._contestants)
        texts = "1 text" if self._num_texts == 1 else f"{self._num_texts} texts"
        table = Table(
            f"Served, {texts} a request, {self._settings.num_workers} processes each",
            ("clients", "contestant", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/request", "refused",
             "port's requests/s / its"),
            note="requests/s: answers with a status below 400; refused: the others, and requests without a reply;\n"
            "  latency and CPU are of all replies, refusals included;\n"
            "  CPU: of all the server's processes, until they are idle again;\n"
            "  in process: one text at a time, or 32 in as many processes as the servers have; "
            f"{self._tokens_a_text:.1f} tokens a text",
            charts=[Chart(value, "clients", "contestant") for value in ("requests/s", "p50 ms", "p99 ms")],
        )  # fmt: skip
        progress, num_rounds = self._report.progress, self._settings.num_rounds
        progress.begin(table.title, len(counts) * (num_rounds + 1) * len(names))
        best = dict.fromkeys(names, 0.0)
        for count in counts:
            turns: dict[str, Callable[[int], Measured]] = {name: partial(self._turn, name, count) for name in names}
            for name in names:
                progress.step(name)
                self._turn(name, 8, -1)
            with contextlib.ExitStack() as stack:
                if count == (1 if self._num_texts == 1 else counts[-1]):
                    num_processes = 1 if self._num_texts == 1 else self._settings.num_workers
                    tagging = _in_process(num_processes, self._num_texts, self._texts)
                    turns[IN_PROCESS] = stack.enter_context(tagging)
                results = interleaved(turns, num_rounds, progress)
            rates = {name: each(loads, "rate") for name, loads in results.items()}
            for name, loads in results.items():
                compared = ratio(rates[PORT], rates[name]) if name != PORT and min(rates[name]) > 0 else ""
                figures = spreads(loads, "rate", "p50_ms", "p95_ms", "p99_ms", "cpu_ms")
                table.rows.append([count, name, *figures, _refused(loads), compared])
            self._expect(count, rates, {name: each(loads, "p50_ms") for name, loads in results.items()})
            best = {name: max(best[name], statistics.median(rates[name])) for name in names}
        self._report.add(table)
        return best

    def _turn(self, name: str, connections: int, number: int) -> Measured:
        first = (number + 1) * NUM_REQUESTS[self._num_texts] // (self._settings.num_rounds + 2)
        seconds = _WARM_UP_S if number < 0 else self._settings.seconds * (1 if self._num_texts == 1 else 2)
        return self._contestants[name].load(self._files[name], connections=connections, seconds=seconds, first=first)

    def _expect(self, count: int, rates: Mapping[str, Sequence[float]], p50s: Mapping[str, Sequence[float]]) -> None:
        """Add the bars for *count* clients."""
        expect = self._report.expect
        if self._num_texts > 1:
            if IN_PROCESS in rates and count >= self._settings.num_workers:  # fewer clients leave workers idle
                share = ratio(rates[PORT], rates[IN_PROCESS])
                expect(f"port, {self._num_texts} texts a request, {count} clients: over in process", share, 0.7)
        elif count == 1:
            base = [noop + own for noop, own in zip(p50s[CEILING], p50s[IN_PROCESS], strict=True)]
            for name, wanted in ((PORT, 1.3), (SITE, 2.0)):
                title = f"{name}, 1 client: p50 over (do-nothing TorchServe's + in process)"
                expect(title, ratio(p50s[name], base), wanted, at_most=True)
        elif count == 32:
            for name, wanted in ((CLASSIC, 4.0), (GUNICORN, 2.0), (LITSERVE, 1.0), (CEILING, 0.4)):
                if name in rates:
                    expect(f"port, {count} clients: requests/s over {name}", ratio(rates[PORT], rates[name]), wanted)


def _refused(loads: Sequence[Measured]) -> str:
    """The share of requests that were refused or got no reply, empty if none."""
    num_bad = sum(load.refused + load.broken for load in loads)
    return f"{num_bad / sum(load.requests + load.broken for load in loads):.1%}" if num_bad else ""


_of_worker: dict[str, Any] = {}


def _load(texts: Sequence[str], size: int, barrier: Barrier) -> None:
    """Prepare a worker: a tagger, batches without end, and the barrier at which all workers begin."""
    torch.set_num_threads(1)
    tagger = Tagger.load(BUNDLE)
    tagger.tag(texts[-500:])
    _of_worker.update(tagger=tagger, batches=itertools.cycle(batches(texts, size)), barrier=barrier)


def _tag_for(seconds: float) -> tuple[list[float], float]:
    """Seconds of each batch that a worker tags within *seconds*, and its CPU time in all."""
    _of_worker["barrier"].wait()
    marks, cpu_s = [time.perf_counter()], time.process_time()
    while marks[-1] - marks[0] < seconds:
        _of_worker["tagger"].tag_texts(next(_of_worker["batches"]))
        marks.append(time.perf_counter())
    return [end - start for start, end in itertools.pairwise(marks)], time.process_time() - cpu_s


@contextlib.contextmanager
def _in_process(count: int, size: int, texts: Sequence[str]) -> Iterator[Callable[[int], Measured]]:
    """*count* processes with a tagger each, without a server, as a contestant: *size* texts at a time."""
    context = multiprocessing.get_context("spawn")
    arguments = (list(texts), size, context.Barrier(count))
    with ProcessPoolExecutor(count, context, initializer=_load, initargs=arguments) as pool:

        def turn(_number: int, seconds: float = 3.0) -> Measured:
            done = list(pool.map(_tag_for, [seconds] * count))
            times = [time_s for times, _ in done for time_s in times]
            p50, p95, p99 = (float(1e3 * one) for one in np.quantile(times, (0.5, 0.95, 0.99)))
            cpu_ms = sum(cpu_s for _, cpu_s in done) / len(times) * 1e3
            return Measured(len(times), sum(times) / count, 0, 0, p50, p95, p99, cpu_ms)

        turn(0, 0.1)
        yield turn


def at_highest(best: float, measure: Callable[[float], Result | None]) -> tuple[float, Result] | None:
    """The highest of OPEN_LOOP_SHARES of *best* at which *measure* has a result, with it; None when it never has.

    >>> at_highest(200.0, lambda rate: "carried" if rate < 60 else None)
    (50.0, 'carried')
    """
    for share in OPEN_LOOP_SHARES:
        result = measure(share * best)
        if result is not None:
            return share * best, result
    return None


def is_carried(turn: Measured) -> bool:
    """Whether everything was answered, and fast enough."""
    return not turn.refused and turn.p99_ms <= CARRIED_P99_S * 1e3


def _open_turn(contestant: Contestant, requests: Sequence[Request], rate: float, seconds: float) -> Measured:
    """*requests* in an open loop at *rate* a second, after a second of warm-up; latency is of the right answers."""
    with contestant.in_turn():
        for length_s, own in ((_WARM_UP_S, requests[::-1]), (seconds, requests)):
            load = Load(contestant.url, own, deadline_s=30, key=contestant.key)
            load.start(rate)
            time.sleep(length_s)
            load.stop()
        contestant.settle()
    right = [outcome for outcome in load.outcomes if outcome.kind == RIGHT]
    percentiles = (1e3 * latency_s for latency_s in quantiles(right, 0.5, 0.95, 0.99))
    return Measured(len(load.outcomes), seconds, len(load.outcomes) - len(right), 0, *percentiles)


def _open_loop(report: Report, settings: Settings, contestants: Sequence[Contestant], best: float) -> None:
    """Latency in an open loop, one text a request, at the load that the classic deployment just carries.

    *best* is its highest throughput in a closed loop.
    """
    bodies = wrk.bodies(settings.texts(seed=7).take(2_000), 1)
    shares = ", ".join(f"{share:.0%}" for share in OPEN_LOOP_SHARES)
    bound = f"{CARRIED_P99_S * 1e3:g} ms"

    def turn(contestant: Contestant, rate: float) -> Measured:
        requests = [Request(contestant.path, body) for body in bodies]
        return _open_turn(contestant, requests, rate, 2 * settings.seconds)

    def measure(rate: float) -> dict[str, list[Measured]] | None:
        """All turns at *rate*; None if the classic deployment does not carry it, alone before or in its turns."""
        title = f"Open loop, {rate:.0f} requests/s"
        report.progress.begin(f"{title}: whether the classic deployment carries it", settings.num_rounds)
        for _ in range(settings.num_rounds):
            report.progress.step(CLASSIC)
            if not is_carried(turn(next(one for one in contestants if one.name == CLASSIC), rate)):
                return None
        report.progress.begin(title, settings.num_rounds * len(contestants))
        turns = {one.name: lambda _, one=one: turn(one, rate) for one in contestants}
        results = interleaved(turns, settings.num_rounds, report.progress)
        return results if all(map(is_carried, results[CLASSIC])) else None

    found = at_highest(best, measure)
    if found is None:
        words = f"{CLASSIC} carries none of {shares} of its best, {best:.0f} requests/s, with a p99 of {bound}"
        report.add(Table("Served, 1 text a request, open loop: not measured", ("why",), [[words]]))
        return
    rate, results = found
    table = Table(
        f"Served, 1 text a request, {rate:.0f} requests/s open loop: the highest load the classic deployment carries",
        ("contestant", "p50 ms", "p95 ms", "p99 ms", "not answered", "port's p99 / its"),
        note=f"{rate / best:.0%} of its best closed-loop throughput ({best:.0f} requests/s), the largest of {shares} "
        f"at which it answered everything in every turn, with a p99 of {bound} at most;\n"
        "  latency counts from when a request was due",
        charts=[Chart("p99 ms", "contestant")],
    )
    p99s = {name: each(rounds, "p99_ms") for name, rounds in results.items()}
    for name, rounds in results.items():
        compared = ratio(p99s[PORT], p99s[name])
        num_bad = sum(one.refused for one in rounds)
        table.rows.append(
            [name, *spreads(rounds, "p50_ms", "p95_ms", "p99_ms"), num_bad, compared if name != PORT else ""]
        )
        if name in (CLASSIC, GUNICORN, LITSERVE):
            report.expect(f"port at {rate:.0f} requests/s: p99 over {name}'s", compared, 1.0, at_most=True)
    report.add(table)
