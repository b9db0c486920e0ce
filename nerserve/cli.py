"""The command ``nerserve``: the one module that knows all packages; each registers its own subcommands.

Nothing heavy is imported before a command runs: ``--help`` takes about 0.1 s.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import archive.cli
import nerserve.completion_cli
import nerserve.predict_cli
import ops.cli
import training.cli
import training.data_cli
from contract.exit_status import ExitStatus, NerserveError, exit_status_help
from contract.settings import read_settings
from nerserve.parser import Parser
from nerserve.spellings import with_new_spellings

_EPILOG = """\
examples:
  nerserve up                          serve model-store/en.mar, with the site, on this machine only
  nerserve up --models en,de           two models; the first is the site's default
  nerserve up --detach                 in the background; nerserve status, logs -f and down are for that one
  nerserve up --port-base 18000 --state-dir .nerserve-2    a second one; its commands get the same --state-dir
  nerserve predict "Kofi Annan was born in Kumasi."      entities without a server
  nerserve key                         the key for the inference port, for curl and your programs
  nerserve models                      what is served, with how many workers
  nerserve scale en --workers 4        more or fewer workers, while requests come
  nerserve COMMAND --help              more on one command

default ports, all on 127.0.0.1; nerserve up --port-base moves all:
  8000 site    8080 inference    7070 gRPC    8081 management    8082 metrics

"""

#: Packages that a command may miss, and the sets of requirements that bring them.
_PACKAGES = {
    **dict.fromkeys(("numpy", "requests", "torch", "ts", "yaml"), "serve"),
    **dict.fromkeys(("flask", "gevent", "gunicorn"), "serve web"),
    **dict.fromkeys(("model_archiver", "shtab"), "serve archive"),
    **dict.fromkeys(("gensim", "jinja2", "matplotlib", "scipy", "tqdm"), "serve web archive train"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of *arguments*, by default the process's; returns the exit status."""
    given = with_new_spellings(sys.argv[1:] if arguments is None else arguments, _warn)
    if given[:1] in (["help"], ["version"]):
        given = [*given[1:], f"--{given[0]}"]
    try:
        options = make_parser().parse_args(given)
        read_settings(os.environ)  # a misspelt name is an error for every command
        run: Callable[[argparse.Namespace], int] = options.run
        status = run(options)
        sys.stdout.flush()
        return status
    except NerserveError as error:
        _report(str(error), error.details)
        return error.exit_status
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        _report(f"not installed: {package}; install it with: scripts/install {_PACKAGES[package]}")
        return ExitStatus.FAILED
    except BrokenPipeError:  # as of `nerserve models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more when it ends
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _report(message: str, details: Sequence[str] = ()) -> None:
    with suppress(OSError):  # the terminal may be gone
        for line in details:
            print(f"  | {line}", file=sys.stderr)
        print(f"nerserve: {message}", file=sys.stderr)


def _warn(message: str) -> None:
    _report(f"warning: {message}")


def make_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand; whoever runs the parsed command calls its ``run``."""
    parser = Parser(
        prog="nerserve",
        description="Serve a BiLSTM-CRF named-entity recogniser with TorchServe and a small site.",
        epilog=_EPILOG + exit_status_help(*ExitStatus),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="print the version",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    ops.cli.add_parsers(subparsers)
    nerserve.predict_cli.add_parsers(subparsers)
    archive.cli.add_parsers(subparsers)
    training.cli.add_parsers(subparsers)
    training.data_cli.add_parsers(subparsers)
    if find_spec("bench"):  # the images are without
        import_module("bench.cli").add_parsers(subparsers)
    nerserve.completion_cli.add_parsers(subparsers)
    return parser


class _Version(argparse.Action):
    """``--version``; argparse's own wants the version of every start, and ``importlib.metadata`` takes its time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        try:
            version = metadata.version("nerserve")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"nerserve {version}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
