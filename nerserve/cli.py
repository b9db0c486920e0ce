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
import ops.cli
import training.cli
import training.data_cli
from contract.errors import SettingError
from contract.settings import read_settings
from ops.errors import OpsError, StartError

_EPILOG = """\
examples:
  nerserve up                          serve model-store/en.mar, with the site, on this machine only
  nerserve up --models en,de           two models; the first is the site's default
  nerserve up --no-site                TorchServe alone
  nerserve key                         the key for the inference port, for curl and your programs
  nerserve models                      what is served, with how many workers
  nerserve scale en --workers 4        more or fewer workers, while requests come
  nerserve COMMAND --help              more on one command

default ports, all on 127.0.0.1:
  8000 site    8080 inference    7070 gRPC    8081 management    8082 metrics
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of *arguments*, by default the process's; returns the exit status."""
    try:
        options = make_parser().parse_args(arguments)
        read_settings(os.environ)  # a misspelt name is an error for every command
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except SettingError as error:
        print(f"nerserve: {error}", file=sys.stderr)
        return 2  # as for other wrong usage
    except OpsError as error:
        with suppress(OSError):  # the terminal may be gone
            for line in error.details if isinstance(error, StartError) else ():
                print(f"  | {line}", file=sys.stderr)
            print(f"nerserve: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def make_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand; whoever runs the parsed command calls its ``run``."""
    parser = argparse.ArgumentParser(
        prog="nerserve",
        description="Serve a BiLSTM-CRF named-entity recogniser with TorchServe and a small site.",
        epilog=_EPILOG,
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
    archive.cli.add_parsers(subparsers)
    training.cli.add_parsers(subparsers)
    training.data_cli.add_parsers(subparsers)
    if find_spec("bench"):  # the images are without
        import_module("bench.cli").add_parsers(subparsers)
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
