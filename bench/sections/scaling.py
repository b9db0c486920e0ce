"""The gain from more workers, and the cost of longer texts, larger batches and more models."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch

from bench import ROOT, wrk
from bench.contestants import Contestant, port_of
from bench.report import Chart, Report, Table
from bench.rounds import Spread, each, interleaved, ratio, spreads
from bench.sections.process import batches
from bench.serving import BUNDLE, running
from bench.settings import Settings
from bench.wrk import Measured
from handler.tagger import Tagger
from handler.text.tokens import tokenize

LENGTHS: Final = (10, 20, 50, 100, 200, 500, 1_000, 5_000)
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
CLIENTS: Final = 32
SECOND_BUNDLE: Final = ROOT / "models" / "en-social"

_TURN_WORDS: Final = 5_000
_TURN_TEXTS: Final = 256
_NUM_REQUESTS: Final = {1: 10_000, 32: 1_000}


def run(report: Report, settings: Settings) -> None:
    """Measure everything and add it to *report*."""
    torch.set_num_threads(1)
    tagger = Tagger.load(BUNDLE)
    lengths(report, settings, tagger)
    batch_sizes(report, settings, tagger)
    _workers(report, settings)
    _models(report, settings)


def lengths(report: Report, settings: Settings, tagger: Tagger) -> None:
    """Cost by the length of a text, one text at a time."""
    table = Table(
        "In process: one text of so many words",
        ("words", "ms", "us a token", "tokens/s"),
        note="CPU time, one thread, sentences joined to a text; new texts in each turn",
        charts=[Chart("us a token", "words", kind="lines")],
    )
    stream = settings.texts(seed=10)
    words = (word for _ in itertools.count() for word in stream.take(1)[0].split())

    def turn(length: int) -> tuple[float, float]:
        own = [" ".join(itertools.islice(words, length)) for _ in range(max(1, _TURN_WORDS // length))]
        began_s = time.process_time()
        for text in own:
            tagger.tag_texts([text])
        taken_s = time.process_time() - began_s
        return taken_s / len(own), taken_s / sum(len(tokenize(text)) for text in own)

    turn(LENGTHS[0])
    _add_costs(report, settings, table, LENGTHS, turn)


def batch_sizes(report: Report, settings: Settings, tagger: Tagger) -> None:
    """Cost by the number of texts in a batch."""
    table = Table(
        "In process: batches of so many texts",
        ("batch", "ms a batch", "us a token", "tokens/s"),
        note="CPU time, one thread, mixed texts, new in each turn",
        charts=[Chart("tokens/s", "batch", kind="lines")],
    )
    texts = settings.texts(seed=11)

    def turn(size: int) -> tuple[float, float]:
        own = texts.take(_TURN_TEXTS)
        began_s = time.process_time()
        groups = [tagger.tag_texts(group) for group in batches(own, size)]
        taken_s = time.process_time() - began_s
        return taken_s / len(groups), taken_s / sum(one.num_tokens for group in groups for one in group)

    turn(BATCH_SIZES[-1])
    _add_costs(report, settings, table, BATCH_SIZES, turn)


def _add_costs(
    report: Report, settings: Settings, table: Table, sizes: Sequence[int], turn: Callable[[int], tuple[float, float]]
) -> None:
    """A row for each of *sizes* from *turn*: seconds a call, and seconds a token."""
    report.progress.begin(table.title, settings.num_rounds * len(sizes))
    turns = {str(size): lambda _, size=size: turn(size) for size in sizes}
    for size, results in interleaved(turns, settings.num_rounds, report.progress).items():
        calls, tokens = zip(*results, strict=True)
        columns = [one * 1e3 for one in calls], [one * 1e6 for one in tokens], [1 / one for one in tokens]
        table.rows.append([int(size), *map(Spread.of, columns)])
    report.add(table)


def _workers(report: Report, settings: Settings) -> None:
    """Throughput with one worker and with two."""
    table = Table(
        f"Served: {CLIENTS} clients on the inference port, one worker or two",
        ("texts a request", "workers", "requests/s", "p50 ms", "p99 ms", "/ one worker"),
        charts=[Chart("requests/s", "workers", "texts a request")],
    )
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {}
        for count in (1, 2):
            server = stack.enter_context(running(folder / str(count), num_workers=count, options=["--no-site"]))
            server.wait_for_workers()
            ports[count] = port_of(server)
        for num_texts in (1, 32):
            file = _requests(folder / f"{num_texts}.txt", settings, num_texts, ["/predictions/en"])
            report.progress.begin(f"{table.title}, {num_texts} texts", settings.num_rounds * len(ports))
            turns = {str(count): _turn(port, file, num_texts, settings) for count, port in ports.items()}
            results = interleaved(turns, settings.num_rounds, report.progress)
            for name, loads in results.items():
                compared = _over(loads, results["1"]) if name != "1" else ""
                table.rows.append([num_texts, int(name), *spreads(loads, "rate", "p50_ms", "p99_ms"), compared])
    report.add(table)


def _models(report: Report, settings: Settings) -> None:
    """The cost of a second model: loaded only, and used."""
    table = Table(
        f"Served: models loaded, {settings.num_workers} workers each, {CLIENTS} clients",
        ("loaded", "asked", "requests/s", "p50 ms", "p99 ms", "unique MB in all", "/ en alone"),
        note="unique MB: of the JVM and all workers, without the site",
    )
    both = [BUNDLE.name, SECOND_BUNDLE.name]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports: dict[tuple[str, str], Contestant] = {}
        turns: dict[str, Callable[[int], Measured]] = {}
        for models, all_asked in ((both[:1], [both[:1]]), (both, [both[:1], both])):
            loaded = " and ".join(models)
            started = running(folder / loaded, models=models, num_workers=settings.num_workers, options=["--no-site"])
            server = stack.enter_context(started)
            server.wait_for_workers()
            for asked in all_asked:
                case = loaded, " and ".join(asked)
                ports[case] = port_of(server)
                file = _requests(folder / str(case), settings, 1, [f"/predictions/{model}" for model in asked])
                turns[str(case)] = _turn(ports[case], file, 1, settings)
        report.progress.begin(table.title, settings.num_rounds * len(turns))
        results = interleaved(turns, settings.num_rounds, report.progress)
        first = next(iter(results.values()))
        for (case, port), loads in zip(ports.items(), results.values(), strict=True):
            unique_mb = sum(one.memory_full_info().uss for one in port.tree()[1:]) / 1e6
            compared = _over(loads, first) if loads is not first else ""
            table.rows.append([*case, *spreads(loads, "rate", "p50_ms", "p99_ms"), unique_mb, compared])
    report.add(table)


def _over(loads: Sequence[Measured], others: Sequence[Measured]) -> Spread:
    return ratio(each(loads, "rate"), each(others, "rate"))


def _requests(file: Path, settings: Settings, num_texts: int, paths: Sequence[str]) -> Path:
    """*file*, written with requests of *num_texts* texts each to *paths* in turn."""
    texts = settings.texts(seed=12).take(_NUM_REQUESTS[num_texts] * num_texts)
    wrk.write_requests(file, list(zip(itertools.cycle(paths), wrk.bodies(texts, num_texts), strict=False)))
    return file


def _turn(contestant: Contestant, file: Path, num_texts: int, settings: Settings) -> Callable[[int], Measured]:
    """The contestant's turn, after a second of warm-up."""

    def turn(number: int) -> Measured:
        first = number * _NUM_REQUESTS[num_texts] // (settings.num_rounds + 1)
        return contestant.load(file, connections=CLIENTS, seconds=settings.seconds, first=first)

    contestant.load(file, connections=8, seconds=1)
    return turn
