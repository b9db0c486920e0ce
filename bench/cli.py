"""``nerserve bench``: its options; what it does is imported when it runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from bench.needs import RIVALS, require, require_for

if TYPE_CHECKING:
    from bench.report import Report
    from bench.settings import Settings

SECTIONS: Final = ("process", "served", "start", "scaling")
MAX_CLIENTS: Final = 1_000

#: Read when numpy and torch are imported, here and in every process that we start: one thread for all.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_EPILOG: Final = """\
what is measured:
  process   tokens/s and time of one text without a server, one thread: against the same weights run the plain way
            (nn.LSTM on one sentence), spaCy's recogniser, and the matrix products that the core can do
  served    requests/s, p50, p95, p99 and CPU time at 1 to 128 clients (wrk), one text a request and 32: the inference
            port and the site, against a TorchServe that does nothing, Flask's own server, gunicorn and LitServe
  start     seconds until the first right answer, warm and cold, and the memory of every process
  scaling   one worker or two; longer texts, larger batches, more models

examples:
  nerserve bench                                       everything, about an hour
  nerserve bench --quick                               everything, in some minutes: fewer and shorter turns
  nerserve bench process --texts mine.txt              with your own texts, one a line
  nerserve bench served --connections 32 --without litserve
  nerserve bench --json bench.json --plots plots       the numbers of every round, and a PNG for each chart

How to read it: contestants take turns in rounds (A B C, C B A, ...), each round with the same texts for all.  A number
is the median of the rounds, with the lowest and the highest in brackets; a ratio is taken within each round.  Let
nothing else run on the machine: the load average stands in the JSON.  docs/performance.md says more.

needs, beside the checkout:
  scripts/install serve web archive bench              spaCy, LitServe, matplotlib, psutil; about 500 MB
  sudo apt-get install wrk                             for served and scaling

exit status:
  0        measured; the bars at the end may hold or not
  1        something is missing, does not start or answers otherwise than the tagger; the last line says what
  2        wrong usage
  128 + N  stopped by signal N; what was measured until then is printed and written
"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command of this package."""
    parser = subparsers.add_parser(
        "bench",
        help="measure how fast nerserve is, beside what else people would use",
        description="Measure nerserve on this machine, each comparison in turns within one run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", nargs="?", choices=[*SECTIONS, "all"], default="all", metavar="WHAT",
        help="process, served, start, scaling or all (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns: a first look")
    parser.add_argument("--rounds", type=_count, metavar="N", help="turns of each contestant (default: 5, quick: 3)")
    parser.add_argument("--seconds", type=_count, metavar="S", help="length of a turn of load (default: 5, quick: 2)")
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="processes with a model in each server (default: the cores, 2 to 4)"
    )
    parser.add_argument(
        "--connections", type=_clients, nargs="+", metavar="N",
        help=f"clients at once, up to {MAX_CLIENTS:,} (default: 1 8 32 128, quick: 1 32)",
    )  # fmt: skip
    parser.add_argument("--texts", type=Path, metavar="FILE", help="texts to ask, one a line (default: our own)")
    parser.add_argument("--without", nargs="+", choices=RIVALS, default=[], metavar="RIVAL",
                        help=f"leave out: {', '.join(RIVALS)}")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number of every round")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write charts as PNG files")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # and so every server is ended
    sections = SECTIONS if options.what == "all" else (options.what,)
    require_for(sections, options.without)
    if options.plots:
        require(["matplotlib"], instead="leave out --plots")
    from bench.report import Report, about_this_machine
    from bench.rounds import Progress
    from bench.settings import Settings

    cores = len(os.sched_getaffinity(0))
    settings = Settings(
        num_rounds=options.rounds or (3 if options.quick else 5),
        seconds=options.seconds or (2 if options.quick else 5),
        num_workers=options.workers or min(4, max(2, cores)),
        connections=tuple(sorted(set(options.connections or ((1, 32) if options.quick else (1, 8, 32, 128))))),
        without=frozenset(options.without),
        texts_file=options.texts,
        is_quick=options.quick,
    )
    texts = settings.texts().name
    report = Report(Progress(), about_this_machine() | {"texts": texts, "rounds": settings.num_rounds})
    with contextlib.ExitStack() as stack:
        json_file = stack.enter_context(_opened(options.json)) if options.json else None
        if options.plots:
            _make_folder(options.plots, "--plots")
        try:
            for section in sections:
                _section(section)(report, settings)
        finally:
            report.finish()
            if json_file:
                json_file.write(report.as_json())
            if options.plots:
                from bench.plots import draw

                draw(report.tables, options.plots)
    return 0


def _opened(path: Path) -> TextIO:
    """The file of ``--json``, in a folder that is made; SystemExit when it cannot be written."""
    _make_folder(path.parent, "--json")
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"nerserve bench: --json: {path} cannot be written: {error}") from error


def _make_folder(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"nerserve bench: {option}: {folder} cannot be made: {error}") from error


def _section(name: str) -> Callable[[Report, Settings], None]:
    """What measures the section *name*."""
    from importlib import import_module

    module = import_module(f"bench.{'in_process' if name == 'process' else name}")
    run: Callable[[Report, Settings], None] = module.run
    return run


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _clients(text: str) -> int:
    count = _count(text)
    if count > MAX_CLIENTS:
        raise argparse.ArgumentTypeError(f"expected at most {MAX_CLIENTS:,} clients, got {text}")
    return count
