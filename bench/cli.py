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

from bench.needs import RIVALS, require, require_for

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
  nerserve bench served --connections 32 --without litserve
  nerserve bench --json bench.json --plots plots       the numbers of every round, and a PNG for each chart

Contestants take turns in rounds (A B C, C B A, ...) and get the same texts within a round.  A number is the median of
the rounds, with the lowest and the highest in brackets; a ratio is taken within each round.  Nothing else should run on
the machine: the JSON has the load average.  docs/performance.md says more.

needs, beside the checkout:
  scripts/install serve web archive bench              spaCy, LitServe, matplotlib, psutil; about 500 MB
  scripts/install serve web archive train bench        for training and storage
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
    add("--rounds", type=_count, metavar="N", help="turns of each contestant (default: 5, quick: 3)")
    add("--seconds", type=_count, metavar="S", help="length of a turn of load (default: 5, quick: 2)")
    add("--workers", type=_count, metavar="N", help="model processes of each server (default: the cores, 2 to 4)")
    clients = f"concurrent clients, up to {MAX_CLIENTS:,} (default: 1 8 32 128, quick: 1 32)"
    add("--connections", type=_clients, nargs="+", metavar="N", help=clients)
    add("--texts", type=Path, metavar="FILE", help="texts to send, one a line (default: our own)")
    add("--without", nargs="+", choices=RIVALS, metavar="RIVAL", help=f"omit: {', '.join(RIVALS)}")
    add("--json", type=Path, metavar="FILE", help="write every number of every round")
    add("--plots", type=Path, metavar="DIR", help="write charts as PNG files")


def _add_own_options(parser: argparse.ArgumentParser, section: str) -> list[str]:
    """Add the options that only *section* has; returns their names."""
    add, added = parser.add_argument, []
    if section == "long":
        added = [
            add("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=", ".join(KINDS)),
            add("--sizes", nargs="+", type=_count, default=LENGTHS, metavar="CHARS", help="lengths of texts"),
        ]
    elif section == "training":
        added = [
            add("--train", type=Path, default=None, metavar="FILE", help="CoNLL or .jsonl (default: generated)"),
            add("--sentences", type=_count, default=6000, metavar="N", help="at most (%(default)s)"),
        ]
    elif section == "storage":
        choices = "float32:200000 float16:200000 int8:200000 int8:50000 int8:100000 int8:400000"
        added = [
            add("bundle", type=Path, metavar="BUNDLE"),
            add("--vectors", nargs="+", type=Path, required=True, metavar="FILE", help="in the bundle's order"),
            add("--dev", nargs="+", type=Path, required=True, metavar="FILE", help="CoNLL or .jsonl"),
            add("--choices", nargs="+", default=choices.split(), metavar="S:N", help=f"storage and words ({choices})"),
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
    report = Report(StatusLine(), about)
    with contextlib.ExitStack() as stack:
        with _option("--json"):
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                json_file = stack.enter_context(options.json.open("w", encoding="utf-8"))
        with _option("--plots"):
            if options.plots:
                options.plots.mkdir(parents=True, exist_ok=True)
        try:
            for name in names:
                run: Callable[..., None] = import_module(f"bench.sections.{name}").run
                run(report, settings, **{own: getattr(options, own) for own in options.own})
        finally:
            report.finish()
            if options.json:
                json_file.write(report.as_json())
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
        raise SystemExit(f"nerserve bench: {name}: {error}") from error


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _clients(text: str) -> int:
    count = _count(text)
    if count > MAX_CLIENTS:
        raise argparse.ArgumentTypeError(f"expected at most {MAX_CLIENTS:,} clients, got {text}")
    return count
