"""JSON as its standard has it: what Python's reader lets pass beyond that is refused."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from web.errors import MalformedRequestError


def load(text: str, expected: str) -> Any:
    """What *text* says; raises MalformedRequestError, which begins with *expected* and holds nothing of the text.

    NaN, Infinity, a key that comes twice in one object, and numbers or brackets without end are refused.
    """
    try:
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise MalformedRequestError(f"{expected}, got invalid JSON: {error.msg} at character {error.pos}.") from error
    except _DuplicateKeyError as error:
        raise MalformedRequestError(f"{expected}, got a key twice.") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequestError(f"{expected}, got JSON that cannot be read.") from error


def kind(value: object) -> str:
    """What JSON calls a value.

    >>> [kind(value) for value in ([], {}, "", None, True, 1.5)]
    ['a list', 'an object', 'a string', 'null', 'a boolean', 'a number']
    """
    names = {list: "a list", dict: "an object", str: "a string", type(None): "null", bool: "a boolean"}
    return names.get(type(value), "a number")


class _DuplicateKeyError(ValueError):
    """An object has a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKeyError
    return found


def refuse_constant(name: str) -> NoReturn:
    """For ``json.loads``: raise ValueError for NaN and the infinities, which Python would read."""
    raise ValueError(f"{name} is not JSON")
