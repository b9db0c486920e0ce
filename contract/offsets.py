"""Offsets in code points, as the model counts them, turned into UTF-16 code units or bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from contract.entities import Entity

_SIZES: dict[str, Callable[[str], int]] = {
    "codepoint": len,
    "utf16": lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2,
    "utf8": lambda text: len(text.encode("utf-8", "surrogatepass")),
}

UNITS = tuple(_SIZES)
"""What offsets can be counted in; a lone surrogate is one code point, one UTF-16 unit and three bytes."""


def converter(text: str, offsets: Iterable[int], unit: str) -> Callable[[int], int]:
    """A function from each of *offsets*, code points into *text*, to the same place in *unit*.

    >>> [converter("é😀", [0, 1, 2], unit)(2) for unit in UNITS]
    [2, 3, 6]
    """
    if unit == "codepoint" or text.isascii():
        return int
    size = _SIZES[unit]
    found: dict[int, int] = {}
    before = place = 0
    for offset in sorted(set(offsets)):
        place += size(text[before:offset])
        found[offset] = place
        before = offset
    return found.__getitem__


def in_unit(entities: Iterable[Entity], text: str, unit: str) -> list[Entity]:
    r"""*entities* of *text* with their offsets counted in *unit*.

    >>> [(e.start, e.end) for e in in_unit([Entity("é😀", "X", 1, 3, 0.5)], "😀é😀", "utf16")]
    [(2, 5)]
    """
    found = list(entities)
    if unit == "codepoint" or text.isascii():
        return found
    place = converter(text, (offset for entity in found for offset in (entity.start, entity.end)), unit)
    return [entity._replace(start=place(entity.start), end=place(entity.end)) for entity in found]
