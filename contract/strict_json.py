"""JSON as RFC 8259 has it: no key twice in one object, no NaN, no number beyond a double; written in ASCII."""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring_ascii
from typing import Any, NoReturn

from contract.errors import MalformedRequestError

#: The JSON of a value, in ASCII and without spaces.
to_json = json.JSONEncoder(separators=(",", ":")).encode

#: The same of a string, several times as fast.
quoted = encode_basestring_ascii


def parse_json(text: str, expected: str) -> Any:
    """The value that *text* stands for.

    Raises:
        MalformedRequestError: begins with *expected*, says what came, and quotes nothing.
    """
    try:
        if text.startswith("\ufeff"):
            raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedRequestError(f"{expected}, got invalid JSON: {error.msg} at character {error.pos}.") from error
    except _RefusedError as error:
        raise MalformedRequestError(f"{expected}, got {error}.") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise MalformedRequestError(f"{expected}, got JSON that cannot be read.") from error


def kind(value: object) -> str:
    """What JSON calls a value.

    >>> [kind(value) for value in ([], {}, "", None, True, 1.5)]
    ['a list', 'an object', 'a string', 'null', 'a boolean', 'a number']
    """
    names = {list: "a list", dict: "an object", str: "a string", type(None): "null", bool: "a boolean"}
    return names.get(type(value), "a number")


def refuse_constant(name: str) -> NoReturn:
    """For ``json.loads``: raise ValueError for NaN and the infinities, which Python would read."""
    raise _RefusedError(f"{name}, which JSON has not")


class _RefusedError(ValueError):
    """What Python's reader takes and JSON has not; the message ends one of ours."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _RefusedError("a key twice")
    return document


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _RefusedError("a number that is too large")
    return number


#: json.loads would make one for each body.
_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_float=_finite, parse_constant=refuse_constant)
