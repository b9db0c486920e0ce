"""The parser of the command line: argparse, with messages that say what was expected and what was probably meant."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from contract.exit_status import ExitStatus
from nerserve.spellings import WORDS

_NEGATIVE_NUMBER = re.compile(r"-\d*\.?\d+")


class Parser(argparse.ArgumentParser):
    """An argparse parser whose sub-parsers are of this class too.

    A beginning of an option stands for it, as argparse has it, but with a warning: the next option may begin so, too.
    """

    _commands: argparse._SubParsersAction[Any] | None = None

    def add_subparsers(self, **kwargs: Any) -> argparse._SubParsersAction[Any]:
        """What argparse has, remembered."""
        self._commands = super().add_subparsers(**kwargs)
        return self._commands

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """What argparse has, once every option is known; without anything where a command is expected, the help."""
        given = sys.argv[1:] if args is None else list(args)
        if self._commands is not None and self._commands.required and not given:
            self.print_help(sys.stderr)
            self.exit(ExitStatus.UNUSABLE)
        self._check_options(given)
        options, more = super().parse_known_args(given, namespace)
        if more:
            models = "--models" in self._option_string_actions
            self.error(f"unexpected argument {more[0]!r}{_meant([f'--models {more[0]}'] if models else [])}")
        return options, more

    def error(self, message: str) -> NoReturn:
        """End with status 2 and *message* in the form that all our errors have."""
        message = message.removeprefix("argument ")
        self.exit(ExitStatus.UNUSABLE, f"nerserve: {message}\nMore: {self.prog} --help\n")

    def _check_options(self, given: Sequence[str]) -> None:
        """End with an error if one of *given*, up to a command of this parser, is no option of it."""
        commands = self._commands.choices if self._commands is not None else ()
        for argument in given:
            if argument == "--" or argument in commands:
                return
            name = argument.partition("=")[0]
            is_option = argument.startswith("-") and argument != "-" and " " not in argument
            if not is_option or _NEGATIVE_NUMBER.fullmatch(argument):
                continue
            known = self._option_string_actions
            is_short = not name.startswith("--") and name[:2] in known
            if name not in known and not is_short and not super()._get_option_tuples(argument):
                self.error(f"no option {name}{_meant(self._like(name))}")

    def _like(self, name: str) -> list[str]:
        """The options that somebody may have meant who wrote *name*."""
        known = [
            option
            for option, action in self._option_string_actions.items()
            if action.help != argparse.SUPPRESS and option.startswith("--")
        ]
        if len(name) == 2:
            return [option for option in known if option[2] == name[1]][:3]
        return closest(name, known)

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        found = super()._get_option_tuples(option_string)
        if len(found) == 1:
            short, whole = option_string.partition("=")[0], found[0][1]
            sys.stderr.write(f"nerserve: warning: {short} is read as {whole}; the next release wants it in full\n")
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = list(map(str, action.choices))
        if action is not self._commands:
            listed = ", ".join(choices)
            raise argparse.ArgumentError(action, f"expected one of {listed}, got {value!r}")
        if " " in str(value):
            self.error(f"no command {value!r}; for the entities of a text: nerserve predict TEXT")
        words = {word: command for word, command in WORDS.items() if command.partition(" ")[0] in choices}
        meant = dict.fromkeys(words.get(word, word) for word in closest(value, [*words, *choices]))
        self.error(f"no {str(action.metavar).lower()} {value!r}{_meant(list(meant))}")


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Those of *known* that are most like *name*, the best first; empty if none is.

    >>> closest("--modle-store", ["--models", "--model-store", "--port"])
    ['--model-store']
    """
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return [other for other in found if _likeness(name, other) > _likeness(name, found[0]) - 0.05]


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()


def _meant(others: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(others)}?" if others else ""
