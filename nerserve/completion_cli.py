"""``nerserve completion``: what a shell needs to complete commands, options, choices and files."""

from __future__ import annotations

import argparse
from typing import Final

from contract.exit_status import exit_status_help

_SHELLS: Final = ("bash", "zsh", "fish", "tcsh")

_EPILOG = """\
examples:
  nerserve completion bash > ~/.local/share/bash-completion/completions/nerserve
  source <(nerserve completion bash)                                             for this shell alone
  nerserve completion zsh > ~/.zfunc/_nerserve                                   fpath has ~/.zfunc before compinit
  nerserve completion fish > ~/.config/fish/completions/nerserve.fish

Write it again after an upgrade: it knows the commands and options of the version that wrote it.

"""

#: What stands for a file or a folder in the help.
_FILES: Final = frozenset({"FILE", "ARCHIVE", "BUNDLE|ARCHIVE", "TEXT|FILE"})
_FOLDERS: Final = frozenset({"BUNDLE", "DATA", "DIR"})


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print what a shell needs to complete nerserve",
        description="Print a script for your shell that completes commands, options, choices, files and folders.",
        epilog=_EPILOG + exit_status_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=_SHELLS, help="which one")
    parser.set_defaults(run=_completion)


def _completion(options: argparse.Namespace) -> int:
    import shtab

    from nerserve.cli import make_parser

    parser = make_parser()
    _mark(parser, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(parser, shell=options.shell))
    return 0


def _mark(parser: argparse.ArgumentParser, files: object, folders: object) -> None:
    """Say of each argument of *parser* and its sub-parsers what completes it, as shtab reads it."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for child in action.choices.values():
                _mark(child, files, folders)
        elif action.metavar in _FILES | _FOLDERS:
            action.complete = files if action.metavar in _FILES else folders  # type: ignore[attr-defined]
