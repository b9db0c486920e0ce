"""JSON as RFC 8259 has it: no key twice in one object, no NaN, no number beyond a double; written in UTF-8."""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring
from typing import Any, NoReturn

from contract.errors import MalformedRequestError

_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
"""Written as ``\\uXXXX`` though JSON does not ask for it: what some readers of lines take for the end of one, and
surrogates, which UTF-8 has not.  JSON itself escapes all other ends of a line.
"""


class Encoder(json.JSONEncoder):
    r"""Writes JSON whose every character can be sent in UTF-8, in one line for every reader of lines.

    >>> Encoder().encode({"é": "a\u2028b\ud800"})
    '{"é": "a\\u2028b\\ud800"}'
    """

    def __init__(self, *, separators: tuple[str, str] | None = None) -> None:
        super().__init__(ensure_ascii=False, separators=separators)

    def encode(self, o: object) -> str:
        """The JSON of *o*."""
        return _escaped(super().encode(o))


#: The JSON of a value, without spaces.
to_json = Encoder(separators=(",", ":")).encode


def quoted(text: str) -> str:
    """The same of a string, several times as fast."""
    return _escaped(encode_basestring(text))


def _escaped(document: str) -> str:
    """*document*, which is JSON, with escapes; that there is nothing to escape is seen faster than by a pattern."""
    if document.isascii():
        return document
    if not ("\x85" in document or "\u2028" in document or "\u2029" in document):
        try:
            document.encode()
        except UnicodeEncodeError:  # a surrogate
            pass
        else:
            return document
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


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
