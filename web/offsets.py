"""Offsets in code points, as the model counts them, turned into UTF-16 code units or bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from web.upstream.reply import Entity


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


_LENGTHS: Final[dict[str, Callable[[str], int]]] = {"codepoint": len, "utf16": _utf16_units, "utf8": _utf8_bytes}

UNITS: Final = tuple(_LENGTHS)
"""What offsets can be counted in; a lone surrogate is one code point, one UTF-16 unit and three bytes."""


def in_unit(entities: Iterable[Entity], text: str, unit: str) -> list[Entity]:
    r"""*entities* of *text*, which are in order and do not overlap, with their offsets counted in *unit*.

    >>> [(e.start, e.end) for e in in_unit([Entity("é😀", "X", 1, 3, 0.5)], "😀é😀", "utf16")]
    [(2, 5)]
    """
    if unit == "codepoint":
        return list(entities)
    length = _LENGTHS[unit]
    converted = []
    position = counted = 0
    for entity in entities:
        start = counted + length(text[position : entity.start])
        counted = start + length(text[entity.start : entity.end])
        position = entity.end
        converted.append(entity._replace(start=start, end=counted))
    return converted
