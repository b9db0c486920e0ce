"""Types of command-line arguments; argparse reports what they refuse as wrong usage."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from contract.errors import SettingError
from contract.names import MODEL_NAME_RULE, VERSION_RULE, is_model_name, is_version


def setting(
    environ: Mapping[str, str], variable: str, default: str | None, parse: Callable[[str], Any]
) -> dict[str, Any]:
    """Type and default of an option for which *variable* may stand; a wrong value there is a SettingError."""
    value = environ.get(variable, default)

    def parse_named(text: str) -> Any:
        try:
            return parse(text)
        except ArgumentTypeError as error:
            if text is value:  # argparse hands over the default itself
                raise SettingError(f"{variable}: {error}") from error
            raise

    return {"type": parse_named, "default": value}


def model_name(text: str) -> str:
    """The name of a model."""
    if not is_model_name(text):
        raise ArgumentTypeError(f"expected {MODEL_NAME_RULE}, got {text!r}")
    return text


def model_names(text: str) -> tuple[str, ...]:
    """Names of models, each once, with commas between them."""
    names = tuple(model_name(name.strip()) for name in text.split(","))
    if len(set(names)) != len(names):
        raise ArgumentTypeError(f"expected each model once, got {text!r}")
    return names


def version(text: str) -> str:
    """One version of a model."""
    if not is_version(text):
        raise ArgumentTypeError(f"expected {VERSION_RULE}, got {text!r}")
    return text


def listed(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Several *item*, each once, with commas between them.

    >>> listed(int)("1, 2,3")
    [1, 2, 3]
    """

    def parse(text: str) -> list[Any]:
        items = [item(part.strip()) for part in text.split(",")]
        if len(set(items)) != len(items):
            raise ArgumentTypeError(f"expected each once, with commas between them, got {text!r}")
        return items

    return parse


def one_of(*names: str) -> Callable[[str], str]:
    """One of *names*, as an item of a list; alone it is for argparse's own ``choices``."""

    def parse(text: str) -> str:
        if text not in names:
            raise ArgumentTypeError(f"expected some of {', '.join(names)}, with commas between them, got {text!r}")
        return text

    return parse


def label(text: str) -> str:
    """A label; whether the model has it is known later."""
    if not text:
        raise ArgumentTypeError("expected labels with commas between them, got an empty one")
    return text


def integer(text: str) -> int:
    """A whole number, such as a seed."""
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def whole_number(what: str, first: int, last: int) -> Callable[[str], int]:
    """A whole number from *first* to *last*; *what* says of what, for the message."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not first <= int(text) <= last:
            raise ArgumentTypeError(f"expected {what} from {first} to {last}, got {text!r}")
        return int(text)

    return parse


def share(text: str) -> float:
    """A share from 0 to 1."""
    return _number(text, 1.0, "a share from 0 to 1")


def seconds(text: str) -> float:
    """A number of seconds."""
    return _number(text, math.inf, "a number of seconds")


FILE: Final[dict[str, Any]] = {"type": Path, "metavar": "FILE"}
DIR: Final[dict[str, Any]] = {"type": Path, "metavar": "DIR"}
SECONDS: Final[dict[str, Any]] = {"type": seconds, "metavar": "S"}


def _number(text: str, last: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= last or math.isinf(number):
        raise ArgumentTypeError(f"expected {expected}, got {text!r}")
    return number


def server_url(text: str) -> str:
    """The base URL of a server, without a trailing slash."""
    problem = ArgumentTypeError(f"expected http(s)://HOST[:PORT], got {text!r}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise problem from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise problem
    if parts.username is not None or parts.password is not None:
        raise ArgumentTypeError("expected a URL without a user; keys come from --management-key-file")
    return text.rstrip("/")
