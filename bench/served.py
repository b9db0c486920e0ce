"""``nerserve bench served``: nerserve under load, between a TorchServe that does nothing and what others would use.

All contestants are up at once and have the same texts, weights, number of
processes and threads; their answers are compared with the tagger's before
anything is timed.  Only one is asked at a time, in rounds.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psutil
import torch

from bench import contestants as servers
from bench import wrk
from bench.cli import MAX_CLIENTS
from bench.contestants import CEILING, CLASSIC, GUNICORN, LITSERVE, PORT, SITE, Contestant
from bench.in_process import batches, check_plain
from bench.load import RIGHT, Load, Request, quantiles
from bench.report import Cell, Chart, Report, Table
from bench.rounds import Result, Spread, interleaved, ratio
from bench.settings import BUNDLE, Settings
from handler.tagger import Tagger
from handler.tokens import tokenize

#: Texts in a request, and the most clients that ask with so many: a plain server needs seconds for 32 at a time.
FORMS: Final = {1: MAX_CLIENTS, 32: 32}

#: Requests in the file that wrk goes round; each round begins elsewhere.  A fast server comes back to what an earlier
#: round asked, but only after many times the words that nerserve remembers.
NUM_REQUESTS: Final = {1: 20_000, 32: 1_500}

IN_PROCESS: Final = "in process"

#: Of the classic way's best requests/s in a closed loop: it carries the largest of them in an open one at which it
#: answers everything in every turn, and 99 of 100 requests within so many seconds.
OPEN_LOOP_SHARES: Final = (0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25)
CARRIED_P99_S: Final = 0.05

_CHECKED: Final = 32
_WARM_UP_S: Final = 1.0
_POLL_S: Final = 2.0


class Turn(NamedTuple):
    """What a contestant did in its turn: what wrk saw, and seconds of processor time a request."""

    load: wrk.Measured
    cpu_s: float


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
            counts = [count for count in settings.connections if count <= most]
            if counts:
                bench = _Bench(report, settings, contestants, folder, num_texts)
                best[num_texts] = bench.closed_loop(counts)
        if settings.has("classic"):
            _open_loop(report, settings, contestants, best[1][CLASSIC])


def check_answers(contestants: Sequence[Contestant], settings: Settings) -> None:
    """Do nothing when all find what the tagger finds; SystemExit names the one that does not."""
    texts = settings.texts(seed=5).take(_CHECKED)
    expected = [[entity._asdict() for entity in entities] for entities in Tagger.load(BUNDLE).tag(texts)]
    plain = [[{key: one[key] for key in one if key != "score"} for one in entities] for entities in expected]
    for contestant in contestants:
        if not contestant.has_entities:
            continue
        right = expected if contestant.has_scores else plain
        with contestant.in_turn():
            alone = [contestant.ask({"text": text})["entities"] for text in texts]
            together = [result["entities"] for result in contestant.ask({"texts": texts})["results"]]
        if alone != right or together != right:
            raise SystemExit(f"nerserve bench: {contestant.name} answers otherwise than the tagger")
    for contestant in contestants:
        contestant.rest()


def _add_idle(report: Report, contestants: Sequence[Contestant]) -> None:
    """How much of a core the contestants use while nobody asks."""
    own = [one for one in contestants if one.name != SITE]  # which shares its processes with the port
    for one in own:
        one.settle()
    before = [one.cpu_s() for one in own]
    time.sleep(_POLL_S)
    used = [(one.cpu_s() - cpu_s) / _POLL_S for one, cpu_s in zip(own, before, strict=True)]
    rows: list[list[Cell]] = [
        [one.name, f"{100 * share:.1f} %", "stopped between its turns" if one.is_restless else ""]
        for one, share in zip(own, used, strict=True)
    ]
    report.add(Table("Idle: share of a core while nobody asks", ("contestant", "share", ""), rows))


class _Bench:
    """Requests of one form, *num_texts* texts each, to all contestants."""

    def __init__(
        self, report: Report, settings: Settings, contestants: Sequence[Contestant], folder: Path, num_texts: int
    ) -> None:
        self._report, self._settings, self._num_texts = report, settings, num_texts
        self._contestants = {one.name: one for one in contestants}
        texts = settings.texts(seed=6).take(NUM_REQUESTS[num_texts] * num_texts)
        sample = texts[:1000]
        self._tokens_a_text = sum(len(tokenize(text)) for text in sample) / len(sample)
        self._texts = texts[:: max(1, num_texts // 8)]
        documents = [{"texts": group} if num_texts > 1 else {"text": group[0]} for group in batches(texts, num_texts)]
        bodies = [json.dumps(document).encode() for document in documents]
        self._files = {one.name: folder / f"{i}-{num_texts}.txt" for i, one in enumerate(contestants)}
        for one in contestants:
            wrk.write_requests(self._files[one.name], [(one.path, body) for body in bodies])

    def closed_loop(self, counts: Sequence[int]) -> dict[str, float]:
        """Each contestant's requests a second with those of *counts* clients that it is best with, by the median.

        The table goes to the report.
        """
        names = list(self._contestants)
        texts = "1 text" if self._num_texts == 1 else f"{self._num_texts} texts"
        title = f"Served, {texts} a request, {self._settings.num_workers} processes each"
        charts = [Chart(value, "clients", "contestant") for value in ("requests/s", "p50 ms", "p99 ms")]
        table = Table(
            title,
            ("clients", "contestant", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/request", "refused",
             "port's requests/s / its"),
            note="requests/s: answers with a status below 400; refused: the others, and requests without a reply;\n"
            "  latency and CPU are of all replies, refusals included;\n"
            "  CPU: of all the server's processes, with what they finish when nobody waits any more;\n"
            "  in process: one text at a time, or 32 in as many processes as the servers have; "
            f"{self._tokens_a_text:.1f} tokens a text",
            charts=charts,
        )  # fmt: skip
        self._report.progress.begin(title, len(counts) * (self._settings.num_rounds + 1) * len(names))
        best = dict.fromkeys(names, 0.0)
        for count in counts:
            turns: dict[str, Callable[[int], Turn]] = {name: partial(self._turn, name, count) for name in names}
            interleaved({name: partial(self._warm_up, name) for name in names}, 1, self._report.progress)
            if count == 1 and self._num_texts == 1:
                turns[IN_PROCESS] = _InProcess(self._texts).turn
            with contextlib.ExitStack() as stack:
                if self._num_texts > 1 and count == counts[-1]:
                    workers = _workers(self._settings.num_workers, self._texts)
                    turns[IN_PROCESS] = stack.enter_context(workers)
                results = interleaved(turns, self._settings.num_rounds, self._report.progress)
            self._add_rows(table, count, results)
            self._expect(count, results)
            for name in names:
                best[name] = max(best[name], statistics.median(turn.load.rate for turn in results[name]))
        self._report.add(table)
        return best

    def _turn(self, name: str, connections: int, number: int, seconds: float | None = None) -> Turn:
        contestant = self._contestants[name]
        first = (number + 1) * NUM_REQUESTS[self._num_texts] // (self._settings.num_rounds + 2)
        with contestant.in_turn():
            before_s = contestant.cpu_s()
            load = wrk.run(
                contestant.url,
                self._files[name],
                connections=connections,
                seconds=seconds or self._settings.seconds * (1 if self._num_texts == 1 else 2),
                first=first,
            )
            contestant.settle()
            return Turn(load, (contestant.cpu_s() - before_s) / (load.requests + connections))

    def _warm_up(self, name: str, _number: int) -> Turn:
        return self._turn(name, 8, -1, seconds=_WARM_UP_S)

    def _add_rows(self, table: Table, count: int, results: Mapping[str, Sequence[Turn]]) -> None:
        rates = {name: [turn.load.rate for turn in turns] for name, turns in results.items()}
        for name, turns in results.items():
            loads = [turn.load for turn in turns]
            bad = sum(load.refused + load.broken for load in loads)
            table.rows.append([
                count,
                name,
                Spread.of(rates[name]),
                Spread.of([load.p50_ms for load in loads]),
                Spread.of([load.p95_ms for load in loads]),
                Spread.of([load.p99_ms for load in loads]),
                Spread.of([turn.cpu_s * 1e3 for turn in turns]),
                f"{bad / max(1, sum(load.requests + load.broken for load in loads)):.1%}" if bad else "",
                ratio(rates[PORT], rates[name]) if name != PORT and min(rates[name]) > 0 else "",
            ])  # fmt: skip

    def _expect(self, count: int, results: Mapping[str, Sequence[Turn]]) -> None:
        """The bars that hang on these turns."""
        expect = self._report.expect
        rates = {name: [turn.load.rate for turn in turns] for name, turns in results.items()}
        p50s = {name: [turn.load.p50_ms for turn in turns] for name, turns in results.items()}
        if self._num_texts > 1:
            if IN_PROCESS in results and count >= self._settings.num_workers:  # fewer clients leave workers idle
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


class _InProcess:
    """The tagger in this process as a contestant: one text at a time, wall-clock time."""

    def __init__(self, texts: Sequence[str], num_texts: int = 150) -> None:
        self._tagger, self._texts, self._count = Tagger.load(BUNDLE), texts, num_texts
        self._tagger.tag(texts[-500:])

    def turn(self, number: int) -> Turn:
        """As wrk would have seen it."""
        times = []
        process = psutil.Process()
        before = process.cpu_times()
        for text in self._texts[number * self._count :][: self._count]:
            began_s = time.perf_counter()
            self._tagger.tag_texts([text])
            times.append(time.perf_counter() - began_s)
        after = process.cpu_times()
        p50, p95, p99 = (float(np.quantile(times, share)) * 1e3 for share in (0.5, 0.95, 0.99))
        cpu_s = (after.user + after.system - before.user - before.system) / len(times)
        return Turn(wrk.Measured(len(times), sum(times), 0, 0, p50, p95, p99), cpu_s)


_BATCH: Final = 32
_of_worker: dict[str, Any] = {}


def _load(texts: Sequence[str], barrier: Barrier) -> None:
    torch.set_num_threads(1)
    _of_worker.update(tagger=Tagger.load(BUNDLE), texts=texts, barrier=barrier)
    _of_worker["tagger"].tag(texts[:500])


def _tag_for(seconds: float) -> tuple[int, float, float]:
    """Batches tagged, the seconds that took and those of processor time, in a worker."""
    texts, tagger, num_batches = _of_worker["texts"], _of_worker["tagger"], 0
    _of_worker["barrier"].wait()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - began_s < seconds:
        first = num_batches * _BATCH % (len(texts) - _BATCH)
        tagger.tag_texts(texts[first : first + _BATCH])
        num_batches += 1
    return num_batches, time.perf_counter() - began_s, time.process_time() - cpu_s


@contextlib.contextmanager
def _workers(count: int, texts: Sequence[str]) -> Iterator[Callable[[int], Turn]]:
    """As many processes as the servers have, each with the tagger, as a contestant: batches of 32 texts."""
    context = multiprocessing.get_context("spawn")
    arguments = (list(texts), context.Barrier(count))
    with ProcessPoolExecutor(count, context, initializer=_load, initargs=arguments) as pool:

        def turn(_number: int, seconds: float = 3.0) -> Turn:
            done = list(pool.map(_tag_for, [seconds] * count))
            num_batches = sum(batches for batches, _, _ in done)
            taken_s = sum(seconds for _, seconds, _ in done) / count
            each_ms = taken_s * count / num_batches * 1e3
            load = wrk.Measured(num_batches, taken_s, 0, 0, each_ms, each_ms, each_ms)
            return Turn(load, sum(cpu_s for _, _, cpu_s in done) / num_batches)

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


class OpenTurn(NamedTuple):
    """Latency in an open loop, and how many requests were not answered."""

    p50_s: float
    p95_s: float
    p99_s: float
    num_bad: int

    @property
    def is_carried(self) -> bool:
        """Whether everything was answered, and soon."""
        return not self.num_bad and self.p99_s <= CARRIED_P99_S


def _open_loop(report: Report, settings: Settings, contestants: Sequence[Contestant], best: float) -> None:
    """Latency at a fixed rate of requests a second, one text each, however late the answers are.

    The rate is what the classic way carries, with *best* requests a second in a closed loop.
    """
    texts = settings.texts(seed=7).take(2_000)
    bodies = [json.dumps({"text": text}).encode() for text in texts]

    def turn(contestant: Contestant, rate: float) -> OpenTurn:
        requests = [Request(contestant.path, body) for body in bodies]
        with contestant.in_turn():
            for seconds, own in ((_WARM_UP_S, requests[::-1]), (2 * settings.seconds, requests)):
                load = Load(contestant.url, own, deadline_s=30)
                load.start(rate)
                time.sleep(seconds)
                load.stop()
            contestant.settle()
        right = [outcome for outcome in load.outcomes if outcome.kind == RIGHT]
        p50_s, p95_s, p99_s = quantiles(right, 0.5, 0.95, 0.99)
        return OpenTurn(p50_s, p95_s, p99_s, len(load.outcomes) - len(right))

    classic = next(one for one in contestants if one.name == CLASSIC)

    def measure(rate: float) -> dict[str, list[OpenTurn]] | None:
        """All turns at *rate*; None where the classic way does not carry it, alone before or in its turns."""
        title = f"Open loop, {rate:.0f} requests/s"
        report.progress.begin(f"{title}: whether the classic way carries it", settings.num_rounds)
        for _ in range(settings.num_rounds):
            report.progress.step(CLASSIC)
            if not turn(classic, rate).is_carried:
                return None
        report.progress.begin(title, settings.num_rounds * len(contestants))
        turns = {one.name: lambda _, one=one: turn(one, rate) for one in contestants}
        results = interleaved(turns, settings.num_rounds, report.progress)
        return results if all(one.is_carried for one in results[CLASSIC]) else None

    found = at_highest(best, measure)
    shares = ", ".join(f"{share:.0%}" for share in OPEN_LOOP_SHARES)
    bound = f"{CARRIED_P99_S * 1e3:g} ms"
    if found is None:
        words = f"{CLASSIC} carries none of {shares} of its best, {best:.0f} requests/s, with a p99 of {bound}"
        report.add(Table("Served, 1 text a request, open loop: not measured", ("why",), [[words]]))
        return
    rate, results = found
    table = Table(
        f"Served, 1 text a request, {rate:.0f} requests/s open loop: what the classic way can just carry",
        ("contestant", "p50 ms", "p95 ms", "p99 ms", "not answered", "port's p99 / its"),
        note=f"{rate / best:.0%} of the classic way's best requests/s in a closed loop ({best:.0f}), the largest of "
        f"{shares} at which it answered everything in every turn, with a p99 of {bound} at most;\n"
        "  time counts from when a request was due",
        charts=[Chart("p99 ms", "contestant")],
    )
    p99s = {name: [one.p99_s * 1e3 for one in rounds] for name, rounds in results.items()}
    for name, rounds in results.items():
        times = zip(*((one.p50_s * 1e3, one.p95_s * 1e3, one.p99_s * 1e3) for one in rounds), strict=True)
        compared = ratio(p99s[PORT], p99s[name]) if name != PORT else ""
        table.rows.append([name, *map(Spread.of, times), sum(one.num_bad for one in rounds), compared])
    report.add(table)
    for name in (CLASSIC, GUNICORN, LITSERVE):
        if name in p99s:
            compared = ratio(p99s[PORT], p99s[name])
            report.expect(f"port at {rate:.0f} requests/s: p99 over {name}'s", compared, 1.0, at_most=True)
