"""``nerserve bench``: its options; the modules that measure are imported when they run."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from bench.errors import BenchInputError
from bench.needs import RIVALS, require, require_for
from contract.argument_types import DIR, FILE, count, listed, one_of, whole_number
from contract.exit_status import ExitStatus, exit_status_help

#: What runs without the name of a section.
STANDARD: Final = ("process", "served", "start", "scaling")

SECTIONS: Final = {
    "process": "tokens/s and latency of one text without a server, one thread: against the same weights run the plain "
    "way (nn.LSTM on one sentence), spaCy's recogniser, and the core's matrix products",
    "served": "requests/s, p50, p95, p99 and CPU time at 1 to 128 clients (wrk), one text a request and 32: the "
    "inference port and the site, against a TorchServe that does nothing, Flask's own server, gunicorn and LitServe",
    "start": "seconds until the first correct answer, warm and cold, and the memory of every process",
    "scaling": "one worker or two; longer texts, larger batches, more models",
    "all": "the four above, as without a name",
    "long": "time and memory by kind and length of a text, and one of 1,000,000 characters against 100 of 10,000",
    "training": "tokens/s of nerserve train on one core, against a plain PyTorch loop",
    "storage": "the loss of F1 when the vectors of a bundle are stored smaller",
    "words": "how the share of distinct words in the texts grows",
}

MAX_CLIENTS: Final = 1_000

#: Kinds and lengths of the texts that ``long`` measures.
KINDS: Final = ("ordinary", "unended", "punctuation", "han", "one word")
LENGTHS: Final = (10_000, 100_000, 1_000_000)

#: Read when numpy and torch are imported, here and in every process that we start: one thread each.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_EPILOG: Final = """\
examples:
  nerserve bench                                       process, served, start and scaling: about an hour
  nerserve bench --quick                               the same in some minutes: fewer and shorter turns
  nerserve bench process --texts mine.txt              with your own texts, one a line
  nerserve bench served --connections 8,32 --without spacy,litserve
  nerserve bench --out bench.json --plots plots        the numbers of every round, and a PNG for each chart

Contestants take turns in rounds (A B C, C B A, ...) and get the same texts within a round.  A number is the median of
the rounds, with the lowest and the highest in brackets; a ratio is taken within each round.  Nothing else should run on
the machine: the file of --out has the load average.  docs/performance.md says more.

needs, beside the checkout:
  scripts/install serve web archive bench              spaCy, LitServe, matplotlib, psutil; about 500 MB
  scripts/install serve web archive train bench        for training and storage
  sudo apt-get install wrk                             for served and scaling

A signal stops it; what was measured until then is printed and written.  The bars at the end may hold or not: the exit
status is 0 all the same.

"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command of this package."""
    parser = subparsers.add_parser(
        "bench",
        help="measure how fast nerserve is, beside what else people would use",
        description="Measure nerserve on this machine, each comparison in turns within one run.",
        epilog=_EPILOG + exit_status_help(ExitStatus.BAD_MODEL),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser)
    parser.set_defaults(run=_run, what="all", own=())
    sections = parser.add_subparsers(title="sections", metavar="SECTION")
    for name, measured in SECTIONS.items():
        # SUPPRESS: what is not given behind the name does not replace what was given before it.
        section = sections.add_parser(name, help=measured, description=measured, argument_default=argparse.SUPPRESS)
        section.set_defaults(what=name, own=_add_own_options(section, name))
        _add_options(section)


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every section."""
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer and shorter turns: a first look")
    add("--rounds", type=count, metavar="N", help="turns of each contestant (default: 5, quick: 3)")
    add("--seconds", type=count, metavar="S", help="length of a turn of load (default: 5, quick: 2)")
    add("--workers", type=count, metavar="N", help="model processes of each server (default: the cores, 2 to 4)")
    clients = f"concurrent clients, up to {MAX_CLIENTS:,} (default: 1,8,32,128, quick: 1,32)"
    add("--connections", type=listed(whole_number("clients", 1, MAX_CLIENTS)), metavar="N[,N...]", help=clients)
    add("--texts", **FILE, help="texts to send, one a line (default: our own)")
    add("--without", type=listed(one_of(*RIVALS)), metavar="RIVAL[,RIVAL...]", help=f"omit: {', '.join(RIVALS)}")
    add("--out", **FILE, help="write every number of every round as JSON")
    add("--json", action="store_true", help="print the same JSON at the end; the tables go to stderr")
    add("--plots", **DIR, help="write charts as PNG files")


def _add_own_options(parser: argparse.ArgumentParser, section: str) -> list[str]:
    """Add the options that only *section* has; returns their names."""
    add, added = parser.add_argument, []
    if section == "long":
        added = [
            add("--kinds", type=listed(one_of(*KINDS)), default=KINDS, metavar="KIND[,KIND...]", help=", ".join(KINDS)),
            add(
                "--sizes",
                type=listed(count),
                default=LENGTHS,
                metavar="N[,N...]",
                help="characters of each text",
            ),
        ]
    elif section == "training":
        added = [
            add("--train", **FILE, help="CoNLL or .jsonl (default: generated)"),
            add("--sentences", type=count, default=6000, metavar="N", help="at most (default: %(default)s)"),
        ]
    elif section == "storage":
        choices = "float32:200000,float16:200000,int8:200000,int8:50000,int8:100000,int8:400000"
        stored = "storage and words (default: %(default)s)"
        added = [
            add("bundle", type=Path, metavar="BUNDLE"),
            add("--vectors", nargs="+", **FILE, required=True, help="in the bundle's order"),
            add("--dev", nargs="+", **FILE, required=True, help="CoNLL or .jsonl"),
            add("--choices", type=listed(str), default=choices, metavar="S:N[,S:N...]", help=stored),
        ]
    return [action.dest for action in added]


def _run(options: argparse.Namespace) -> int:
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that every server is stopped
    names = STANDARD if options.what == "all" else (options.what,)
    require_for(names, options.without or ())
    if options.plots:
        require(["matplotlib"], instead="leave out --plots")
    from bench.report import Report, about_this_machine
    from bench.rounds import StatusLine
    from bench.settings import Settings

    settings = Settings(
        num_rounds=options.rounds or (3 if options.quick else 5),
        seconds=options.seconds or (2 if options.quick else 5),
        num_workers=options.workers or min(4, max(2, len(os.sched_getaffinity(0)))),
        connections=tuple(sorted(set(options.connections or ((1, 32) if options.quick else (1, 8, 32, 128))))),
        without=frozenset(options.without or ()),
        texts_file=options.texts,
        is_quick=options.quick,
    )
    about = about_this_machine() | {"texts": settings.texts().name, "rounds": settings.num_rounds}
    report = Report(StatusLine(), about, sys.stderr if options.json else sys.stdout)
    with contextlib.ExitStack() as stack:
        with _option("--out"):
            if options.out:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                json_file = stack.enter_context(options.out.open("w", encoding="utf-8"))
        with _option("--plots"):
            if options.plots:
                options.plots.mkdir(parents=True, exist_ok=True)
        try:
            for name in names:
                run: Callable[..., None] = import_module(f"bench.sections.{name}").run
                run(report, settings, **{own: getattr(options, own) for own in options.own})
        finally:
            report.finish()
            if options.out:
                json_file.write(report.as_json())
            if options.json:
                print(report.as_json(), end="")
            if options.plots:
                from bench.plots import draw

                draw(report.tables, options.plots)
    return 0


@contextlib.contextmanager
def _option(name: str) -> Iterator[None]:
    """Names the option whose file or folder cannot be created."""
    try:
        yield
    except OSError as error:
        raise BenchInputError(f"{name}: {error}") from error
