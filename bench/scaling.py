"""``nerserve bench scaling``: what more workers give, and what longer texts, larger batches and more models cost."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
import torch

from bench import wrk
from bench.contestants import Contestant
from bench.in_process import batches
from bench.report import Chart, Report, Table
from bench.rounds import Spread, interleaved, ratio
from bench.serving import running
from bench.settings import BUNDLE, SECOND_BUNDLE, Settings
from handler.tagger import Tagger
from handler.tokens import tokenize

LENGTHS: Final = (10, 20, 50, 100, 200, 500, 1_000, 5_000)
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
CLIENTS: Final = 32

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
    """Cost against the length of a text, one text at a time."""
    table = Table(
        "In process: one text of so many words",
        ("words", "ms", "us a token", "tokens/s"),
        note="CPU time, one thread, sentences joined to a text; texts are fresh in each turn",
        charts=[Chart("us a token", "words", kind="lines")],
    )
    stream = settings.texts(seed=10)
    words = (word for _ in itertools.count() for word in stream.take(1)[0].split())

    def turn(length: int, _number: int) -> tuple[float, float]:
        own = [" ".join(itertools.islice(words, length)) for _ in range(max(1, _TURN_WORDS // length))]
        began_s = time.process_time()
        for text in own:
            tagger.tag_texts([text])
        taken_s = time.process_time() - began_s
        return taken_s / len(own), taken_s / sum(len(tokenize(text)) for text in own)

    turn(LENGTHS[0], 0)

    report.progress.begin(table.title, settings.num_rounds * len(LENGTHS))
    turns = {str(length): lambda number, length=length: turn(length, number) for length in LENGTHS}
    for length, results in interleaved(turns, settings.num_rounds, report.progress).items():
        table.rows.append(_cost_row(int(length), results))
    report.add(table)


def _cost_row(number: int, results: Sequence[tuple[float, float]]) -> list[Any]:
    """A row about *number*, of the seconds a call and the seconds a token in each round."""
    return [
        number,
        Spread.of([a_call * 1e3 for a_call, _ in results]),
        Spread.of([a_token * 1e6 for _, a_token in results]),
        Spread.of([1 / a_token for _, a_token in results]),
    ]


def batch_sizes(report: Report, settings: Settings, tagger: Tagger) -> None:
    """Cost against the number of texts in a batch."""
    table = Table(
        "In process: batches of so many texts",
        ("batch", "ms a batch", "us a token", "tokens/s"),
        note="CPU time, one thread, mixed texts, fresh in each turn",
        charts=[Chart("tokens/s", "batch", kind="lines")],
    )
    texts = settings.texts(seed=11)

    def turn(size: int, _number: int) -> tuple[float, float]:
        own = texts.take(_TURN_TEXTS)
        began_s = time.process_time()
        groups = [tagger.tag_texts(group) for group in batches(own, size)]
        taken_s = time.process_time() - began_s
        return taken_s / len(groups), taken_s / sum(one.num_tokens for group in groups for one in group)

    turn(BATCH_SIZES[-1], 0)

    report.progress.begin(table.title, settings.num_rounds * len(BATCH_SIZES))
    turns = {str(size): lambda number, size=size: turn(size, number) for size in BATCH_SIZES}
    for size, results in interleaved(turns, settings.num_rounds, report.progress).items():
        table.rows.append(_cost_row(int(size), results))
    report.add(table)


def _workers(report: Report, settings: Settings) -> None:
    """Requests a second with one worker and with two."""
    table = Table(
        f"Served: {CLIENTS} clients on the inference port, one worker or two",
        ("texts a request", "workers", "requests/s", "p50 ms", "p99 ms", "/ one worker"),
        charts=[Chart("requests/s", "workers", "texts a request")],
    )
    counts = (1, 2)
    with contextlib.ExitStack() as stack:
        urls = {}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for count in counts:
            (folder / str(count)).mkdir()
            server = stack.enter_context(running(folder / str(count), num_workers=count, options=["--no-site"]))
            process = psutil.Process(server.process.pid)
            urls[count] = Contestant(f"{count} workers", server.inference, "/predictions/en", process)
        for num_texts in (1, 32):
            file = folder / f"{num_texts}.txt"
            _write(file, settings, num_texts, ["/predictions/en"])
            report.progress.begin(f"{table.title}, {num_texts} texts", settings.num_rounds * len(counts))
            turns = {
                str(count): _turn(urls[count], file, num_texts, settings.seconds, settings.num_rounds)
                for count in counts
            }
            results = interleaved(turns, settings.num_rounds, report.progress)
            for name, loads in results.items():
                rates = [load.rate for load in loads]
                table.rows.append([
                    num_texts,
                    int(name),
                    Spread.of(rates),
                    Spread.of([load.p50_ms for load in loads]),
                    Spread.of([load.p99_ms for load in loads]),
                    ratio(rates, [load.rate for load in results["1"]]) if name != "1" else "",
                ])  # fmt: skip
    report.add(table)


def _models(report: Report, settings: Settings) -> None:
    """What a second model that is loaded costs the first, and what asking both costs."""
    table = Table(
        f"Served: models loaded, {settings.num_workers} workers each, {CLIENTS} clients",
        ("loaded", "asked", "requests/s", "p50 ms", "p99 ms", "unique MB in all", "/ en alone"),
        note="unique MB: of the JVM and all workers, without the site",
    )
    both = [BUNDLE.name, SECOND_BUNDLE.name]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        turns: dict[str, Callable[[int], wrk.Measured]] = {}
        shown: dict[str, tuple[str, str, psutil.Process]] = {}
        for loaded, asks in ((both[:1], [both[:1]]), (both, [both[:1], both])):
            name = " and ".join(loaded)
            (folder / name).mkdir()
            server = stack.enter_context(
                running(folder / name, models=loaded, num_workers=settings.num_workers, options=["--no-site"])
            )
            process = psutil.Process(server.process.pid)
            for asked in asks:
                file = folder / f"{name}-{len(asked)}.txt"
                _write(file, settings, 1, [f"/predictions/{model}" for model in asked])
                case = f"{name}: {' and '.join(asked)}"
                contestant = Contestant(case, server.inference, "/predictions/en", process)
                turns[case] = _turn(contestant, file, 1, settings.seconds, settings.num_rounds)
                shown[case] = name, " and ".join(asked), process
        report.progress.begin(table.title, settings.num_rounds * len(turns))
        results = interleaved(turns, settings.num_rounds, report.progress)
        alone = [load.rate for load in next(iter(results.values()))]
        for number, (case, loads) in enumerate(results.items()):
            loaded_name, asked_name, process = shown[case]
            rates = [load.rate for load in loads]
            table.rows.append([
                loaded_name,
                asked_name,
                Spread.of(rates),
                Spread.of([load.p50_ms for load in loads]),
                Spread.of([load.p99_ms for load in loads]),
                sum(one.memory_full_info().uss for one in process.children(recursive=True)) / 1e6,
                ratio(rates, alone) if number else "",
            ])  # fmt: skip
    report.add(table)


def _write(file: Path, settings: Settings, num_texts: int, paths: Sequence[str]) -> None:
    """Requests with *num_texts* texts each to *paths* in turn."""
    texts = settings.texts(seed=12).take(_NUM_REQUESTS[num_texts] * num_texts)
    bodies = [
        json.dumps({"texts": group} if num_texts > 1 else {"text": group[0]}).encode()
        for group in batches(texts, num_texts)
    ]
    wrk.write_requests(file, [(paths[i % len(paths)], body) for i, body in enumerate(bodies)])


def _turn(
    contestant: Contestant, file: Path, num_texts: int, seconds: float, num_rounds: int
) -> Callable[[int], wrk.Measured]:
    def turn(number: int) -> wrk.Measured:
        first = number * _NUM_REQUESTS[num_texts] // (num_rounds + 1)
        load = wrk.run(contestant.url, file, connections=CLIENTS, seconds=seconds, first=first)
        contestant.settle()
        return load

    wrk.run(contestant.url, file, connections=8, seconds=1)
    contestant.settle()
    return turn
