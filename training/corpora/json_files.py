"""JSON files as values with the lines they begin in: one on each line, a list of them, or some over many lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from training.errors import CorpusError

_SPACE = re.compile(r"[ \t\n]*")


class Value(NamedTuple):
    """A decoded value, the line it begins in, and the file and line (and item of a list), for messages."""

    value: Any
    line: int
    where: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def is_json(text: str, suffix: str) -> bool:
    """True if *text* begins with a JSON object or a list of objects or lists; in doubt, *suffix* decides.

    >>> is_json('[{"text": "Ann"},', ".txt"), is_json("[ O", ".conll"), is_json('{"text: 1}', ".jsonl")
    (True, False, True)
    """
    begin = _skip_space(text, 0)
    inner = _skip_space(text, begin + 1)
    if text[begin : begin + 1] == "[":
        if text[inner : inner + 1] not in {"{", "[", '"', "]"}:
            return False
        begin = inner if text[inner] in "{[" else begin  # the list may be long, its first item will do
    elif text[begin : begin + 1] != "{":
        return False
    if suffix in {".json", ".jsonl", ".ndjson"}:
        return True
    if text.startswith(('{"', '[{"', '[["')) and "\t" not in text.partition("\n")[0]:  # a tab is before a tag
        return True
    try:
        _, end = _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return False
    return text[end : (text + "\n").index("\n", end)].strip(" \t,]") == ""


def has_value_a_line(text: str) -> bool:
    """True if the first line of *text* that is not blank is a JSON value."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        _DECODER.decode(first)
    except (ValueError, RecursionError):
        return False
    return True


def read_values(path: Path, text: str) -> Iterator[Value]:
    """The values of *text*, the content of *path*: of a list, its items.

    Raises:
        CorpusError: names the line of a value that is no JSON.
    """
    if not has_value_a_line(text):
        yield from _over_lines(path, text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                value = _DECODER.decode(line)
            except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
                raise CorpusError(f"{where}: expected a JSON object: {error}") from error
            if isinstance(value, list) and not is_pair(value):
                yield from (Value(item, number, f"{where}, item {i}") for i, item in enumerate(value, 1))
            else:
                yield Value(value, number, where)


def is_pair(value: object) -> bool:
    """True if *value* is a text with notes, as spaCy has them in Python: ``["Ann", {"entities": []}]``."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _over_lines(path: Path, text: str) -> Iterator[Value]:
    """:func:`read_values` of values over any number of lines."""
    at, line, counted, in_list = _skip_space(text, 0), 1, 0, False
    while at < len(text):
        line += text.count("\n", counted, at)
        counted = at
        where = f"{path}:{line}"
        inner = _skip_space(text, at + 1)
        if text[at] == "[" and not in_list and text[inner : inner + 1] in {"{", "["}:
            at, in_list = inner, True
            continue
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}: expected a JSON object: {error}") from error
        yield Value(value, line, where)
        at = _skip_space(text, at)
        if in_list:
            if text[at : at + 1] not in {",", "]"}:
                raise CorpusError(
                    f"{path}:{line + text.count(chr(10), counted, at)}: expected a JSON list to go on or end"
                )
            in_list = text[at] == ","
            at = _skip_space(text, at + 1)


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at
