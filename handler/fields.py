"""JSON objects to frozen dataclasses, each value checked by its field's type.

Unknown and missing keys, repeated keys and wrong types are errors, so that a typo never becomes a default.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from handler.errors import ConfigError

_Config = TypeVar("_Config")


def require(holds: bool, owner: str, key: str, expected: str, value: object) -> None:
    """Raise ConfigError, with the key of *owner* and its *value*, unless *holds*."""
    if not holds:
        raise ConfigError(f"{owner}.{key}: expected {expected}, got {value!r}")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in *path*; raises ConfigError if it is missing, unreadable or none, or repeats a key."""
    try:
        document = json.loads(path.read_bytes(), object_pairs_hook=_distinct)
    except FileNotFoundError as error:
        raise ConfigError(f"{path.name}: missing") from error
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name}: expected JSON: {error}") from error
    require(isinstance(document, dict), path.name, "*", "an object", document)
    found: dict[str, Any] = document
    return found


def check_keys(owner: str, values: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise ConfigError, with the key, unless the keys of *values* are those that are *known*."""
    expected = set(known)
    for key in sorted(values.keys() - expected):
        raise ConfigError(f"{owner}.{key}: unknown key{suggestion(key, expected)}")
    for key in sorted(expected - values.keys()):
        raise ConfigError(f"{owner}.{key}: missing")


def suggestion(key: str, known: Iterable[str]) -> str:
    """What the end of a message says if *key* looks like one of those that are *known*.

    >>> suggestion("epochs", ["max_epochs", "seed"]), suggestion("x", ["seed"])
    ('; did you mean max_epochs?', '')
    """
    close = difflib.get_close_matches(key.lower().replace("-", "_"), list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def dataclass_from(
    cls: type[_Config], owner: str, values: object, defaults: Mapping[str, object] = MappingProxyType({})
) -> _Config:
    """A *cls* from *values*, parsed from JSON, which must have all keys not in *defaults*; raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(f"{owner}: expected an object, got {values!r}")
    hints = get_type_hints(cls)
    merged = {**defaults, **values}
    check_keys(owner, merged, hints)
    return cls(**{key: converted(owner, key, value, hints[key]) for key, value in merged.items()})


def converted(owner: str, key: str, value: object, hint: Any) -> Any:
    """*value*, parsed from JSON, as the field type *hint*; raises ConfigError."""
    if is_dataclass(hint) and isinstance(hint, type):
        return dataclass_from(hint, f"{owner}.{key}", value)
    expected, holds, convert = _TYPES.get(hint, _TYPES[str])  # others are literals
    require(holds(value), owner, key, expected, value)
    return convert(value)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ConfigError(f"config: repeated key {next(key for key in keys if keys.count(key) > 1)!r}")
    return document


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    largest = sys.float_info.max
    return (_is_int(value) or isinstance(value, float)) and -largest <= value <= largest  # NaN is not


def _is_list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(holds, value))


def _is_object_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: {key: convert(item) for key, item in value.items()}


#: Field type: its name in messages, whether a value parsed from JSON has it, and the conversion.
_TYPES: dict[object, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    str: ("a string", _is_string, str),
    str | None: ("a string or null", lambda value: value is None or _is_string(value), lambda value: value),
    int: ("a whole number", _is_int, int),
    float: ("a number", _is_number, float),
    tuple[str, ...]: ("a list of strings", _is_list_of(_is_string), tuple),
    tuple[int, ...]: ("a list of whole numbers", _is_list_of(_is_int), tuple),
    Mapping[str, str]: ("an object of strings", _is_object_of(_is_string), dict),
    Mapping[str, int]: ("an object of whole numbers", _is_object_of(_is_int), dict),
    Mapping[str, float]: ("an object of numbers", _is_object_of(_is_number), _each(float)),
    Mapping[str, tuple[str, ...]]: (
        "an object of lists of strings",
        _is_object_of(_is_list_of(_is_string)),
        _each(tuple),
    ),
}
